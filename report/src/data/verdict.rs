//! `verdict.json`: what the checkers found.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One verdict, as far as it is shown. What is not in the file is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// `valid`, `invalid`, `unknown` or `error`.
    pub verdict: String,
    /// What it was judged against.
    pub model: Option<String>,
    /// How.
    pub algorithm: Option<String>,
    /// How many operations were judged.
    pub operations: u64,
    /// How many keys.
    pub keys: u64,
    /// What went wrong, with proof.
    pub violations: Vec<Violation>,
    /// How many of each kind there are in all.
    pub violation_counts: BTreeMap<String, u64>,
    /// The smallest set of operations found that cannot be ordered.
    pub witness: Option<Vec<u64>>,
    /// How far from the newest state the gets were.
    pub staleness: Option<Staleness>,
    /// How each property fared that a store may promise.
    pub properties: Vec<PropertyVerdict>,
    /// What could not be judged, and why.
    pub not_judged: Vec<NotJudged>,
    /// What a reader should know.
    pub warnings: Vec<String>,
    /// Why the history could not be used.
    pub error: Option<String>,
}

/// One thing that went wrong.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Violation {
    /// What kind of thing.
    pub kind: String,
    /// The key it is about.
    pub key: Value,
    /// The operations that prove it, numbered from 0 by invocation.
    pub operations: Vec<u64>,
    /// The story in a sentence.
    pub says: String,
}

/// How far from the newest state the gets were.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Staleness {
    /// In milliseconds.
    pub delta_ms_max: Option<f64>,
    /// In versions.
    pub k_at_least: Option<u64>,
    /// The fraction of gets that are stale for certain.
    pub stale_reads: Option<f64>,
}

/// How one property fared.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PropertyVerdict {
    /// The property.
    pub property: String,
    /// What was promised of it: `holds`, or that it may break.
    pub promise: String,
    /// How often it was broken.
    pub broken: u64,
}

/// What could not be judged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NotJudged {
    /// The property.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Reads a verdict file: one verdict, a list of them, or an object with verdicts by name.
/// Each comes with its name, which may be empty.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Vec<(String, Verdict)>, String> {
    let value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let one = |name: &str, value: &Value| {
        let verdict = Verdict::deserialize(value).map_err(|e| format!("{name}: {e}"))?;
        Ok((name.to_owned(), verdict))
    };
    match &value {
        Value::Array(list) => list.iter().map(|value| one("", value)).collect(),
        Value::Object(fields) if fields.get("violations").is_some() || fields.get("model").is_some() => {
            Ok(vec![one("", &value)?])
        }
        Value::Object(fields) => {
            let named = fields.iter().filter(|(_, value)| value.get("verdict").is_some_and(Value::is_string));
            let named: Vec<_> = named.map(|(name, value)| one(name, value)).collect::<Result<_, _>>()?;
            if named.is_empty() && fields.contains_key("verdict") {
                Ok(vec![one("", &value)?])
            } else {
                Ok(named)
            }
        }
        _ => Err("neither an object nor a list".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    const ONE: &str = r#"{"verdict":"invalid","model":"siblings","operations":7,
        "violations":[{"kind":"lost","key":"k1","operations":[3,5],"says":"v1 is gone"}]}"#;

    #[test]
    fn one_many_and_named_verdicts_are_read() {
        let one = parse(ONE).unwrap();
        assert_eq!(
            (one.len(), one[0].1.operations, one[0].1.violations[0].says.as_str()),
            (1, 7, "v1 is gone")
        );
        assert_eq!(parse(&format!("[{ONE},{ONE}]")).unwrap().len(), 2);
        let named = parse(&format!("{{\"seed\":1,\"siblings\":{ONE}}}")).unwrap();
        assert_eq!(named[0].0, "siblings");
        assert_eq!(parse("{\"verdict\":\"valid\"}").unwrap()[0].1.verdict, "valid");
        assert!(parse("7").is_err() && parse("{").is_err());
    }
}
