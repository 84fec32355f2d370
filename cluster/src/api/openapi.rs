//! Holds the OpenAPI document and the code together, both ways.
//!
//! Every path, method, status and error of the code is in the document, everything in the document
//! is in the code, and whatever a node answers in any test of this crate is what the document says.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;

use hyper::StatusCode;
use serde_json::Value;

use super::resource::Resource;
use super::routes::OPENAPI;

/// Where answers are made.
const SOURCES: [&str; 8] = [
    include_str!("answer.rs"),
    include_str!("archive.rs"),
    include_str!("guard.rs"),
    include_str!("kv.rs"),
    include_str!("members.rs"),
    include_str!("mod.rs"),
    include_str!("placement.rs"),
    include_str!("routes.rs"),
];

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

pub(crate) fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// One request of every documented operation: its method and a path that fits.
pub(crate) fn operations() -> Vec<(&'static str, String)> {
    let document = document();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item.get(**method).is_some()) {
            operations.push((*method, example_of(path)));
        }
    }
    operations
}

/// A path of the document with something filled in.
fn example_of(template: &str) -> String {
    template.replace("{key}", "k").replace("{id}", "n9").replace("{partition}", "0")
}

/// Fails unless the document has this answer to this request.
pub(crate) fn check(method: &str, target: &str, status: u16, content_type: &str, body: &[u8]) {
    let document = document();
    let path = target.split('?').next().unwrap();
    let operation = Resource::at(path).map_or(&Value::Null, |resource| {
        &document["paths"][resource.template()][method.to_ascii_lowercase()]
    });
    let status = status.to_string();
    let answers = [&operation["responses"][&status], &document["x-answers-of-any-path"][&status]];
    let answers: Vec<&&Value> = answers.iter().filter(|answer| answer.is_object()).collect();
    let what = format!("{method} {target} answered {status}: {}", String::from_utf8_lossy(body));
    assert!(!answers.is_empty(), "docs/openapi.json does not have this: {what}");
    if content_type != "application/json" {
        return;
    }
    let value: Value = serde_json::from_slice(body).unwrap();
    if let Some(code) = value["error"].as_str() {
        let has = |answer: &&&Value| errors_of(answer).any(|known| known == code);
        assert!(answers.iter().any(has), "docs/openapi.json does not have this error: {what}");
    }
    // What a client stored may call itself JSON too.
    if let Some(schema) = answers[0]["content"]["application/json"].get("schema") {
        conforms(&document, schema, &value, &what);
    }
}

fn errors_of(answer: &Value) -> impl Iterator<Item = &str> {
    answer["x-errors"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Fails unless `value` has the form of `schema`, with nothing in it that the schema does not name.
fn conforms(document: &Value, schema: &Value, value: &Value, what: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap();
        return conforms(document, target, value, what);
    }
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    assert!(types.contains(&name), "{value} is {name}, not {types:?}: {what}");
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{value} is not in {allowed:?}: {what}");
    }
    for item in value.as_array().into_iter().flatten() {
        conforms(document, &schema["items"], item, what);
    }
    let (Some(value), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.contains_key(required.as_str().unwrap()), "{required} is missing: {what}");
    }
    for (key, value) in value {
        let schema = properties.get(key).unwrap_or_else(|| panic!("`{key}` is not documented: {what}"));
        conforms(document, schema, value, what);
    }
}

/// Every status in the sources, and the error beside it if there is one.
fn answers_of_the_code() -> BTreeSet<(u16, Option<String>)> {
    let named = |name: &str| {
        (100..600).filter_map(|code| StatusCode::from_u16(code).ok()).find(|status| {
            let reason = status.canonical_reason().unwrap_or_default();
            reason.to_uppercase().replace([' ', '-'], "_") == name
        })
    };
    let mut answers = BTreeSet::new();
    for source in SOURCES {
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = code.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(");
        for rest in code.split("StatusCode::").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
            let Some(status) = named(&name) else {
                assert!(name.is_empty(), "which status is {name}?");
                continue;
            };
            let error = rest[name.len()..].strip_prefix(", \"").and_then(|rest| rest.split('"').next());
            // Beside some stands a media type instead.
            let error = error.filter(|error| !error.contains('/'));
            answers.insert((status.as_u16(), error.map(str::to_owned)));
        }
    }
    answers
}

/// Every answer of the document, likewise.
fn answers_of_the_document() -> BTreeSet<(u16, Option<String>)> {
    let document = document();
    let operations = document["paths"].as_object().unwrap().values().flat_map(|item| {
        METHODS.iter().filter_map(|method| item.get(*method)?["responses"].as_object()).collect::<Vec<_>>()
    });
    let mut answers = BTreeSet::new();
    for responses in operations.chain(document["x-answers-of-any-path"].as_object()) {
        for (status, answer) in responses {
            let status: u16 = status.parse().unwrap();
            answers.extend(errors_of(answer).map(|error| (status, Some(error.to_owned()))));
            answers.insert((status, None));
        }
    }
    answers
}

#[test]
fn paths_and_methods_are_those_of_the_document() {
    let document = document();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            METHODS.iter().filter(|m| item.get(**m).is_some()).map(|m| (path.clone(), m.to_ascii_uppercase()))
        })
        .collect();
    let known: BTreeSet<(String, String)> = Resource::ALL
        .iter()
        .flat_map(|resource| {
            resource.methods().split(", ").map(|method| (resource.template().to_owned(), method.to_owned()))
        })
        .collect();
    assert_eq!(known, documented);
    for resource in Resource::ALL {
        let path = example_of(resource.template());
        assert_eq!(Resource::at(&path), Some(resource));
    }
}

#[test]
fn statuses_and_errors_are_those_of_the_document() {
    let code = answers_of_the_code();
    assert!(code.len() > 30, "the sources are read: {code:?}");
    let documented = answers_of_the_document();
    let missing: Vec<_> = code.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/openapi.json: {missing:?}");
    let with_error = |(_, error): &&(u16, Option<String>)| error.is_some();
    let gone: Vec<_> = documented.difference(&code).filter(with_error).collect();
    assert!(gone.is_empty(), "in docs/openapi.json and nowhere in the code: {gone:?}");
    let statuses =
        |answers: &BTreeSet<(u16, Option<String>)>| answers.iter().map(|a| a.0).collect::<BTreeSet<_>>();
    assert_eq!(statuses(&code), statuses(&documented));
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn visit(document: &Value, value: &Value) {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
        value.as_array().into_iter().flatten().for_each(|item| visit(document, item));
        value.as_object().into_iter().flatten().for_each(|(_, item)| visit(document, item));
    }
    let document = document();
    visit(&document, &document);
}

#[test]
#[should_panic(expected = "`surprise` is not documented")]
fn an_answer_with_something_new_in_it_is_noticed() {
    let body = br#"{"error":"not_found","message":"m","maybe_applied":false,"surprise":1}"#;
    check("GET", "/kv/k", 404, "application/json", body);
}

#[test]
#[should_panic(expected = "does not have this error")]
fn an_error_of_another_operation_is_noticed() {
    let body = br#"{"error":"bad_member","message":"m","maybe_applied":false}"#;
    check("GET", "/kv/k", 400, "application/json", body);
}
