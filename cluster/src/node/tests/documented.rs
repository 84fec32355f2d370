//! The HTTP interface against its document, and who may administer.

use std::path::Path;

use quorate_env::disk::SimulatedDisk;

use super::*;
use crate::api::openapi;

#[tokio::test]
async fn every_path_of_the_document_is_answered_and_takes_no_other_method() {
    let (nodes, _) = cluster(3, &StoreDefinition::default()).await;
    let api = &nodes[0].api;
    let operations = openapi::operations();
    assert!(operations.len() >= 10, "{operations:?}");
    for (method, path) in &operations {
        let reply = ask(api, &method.to_ascii_uppercase(), path, &[], b"").await;
        let is_nowhere = reply.status == 404 && reply.error() == "no_such_path";
        let is_there = reply.status != 405 && !is_nowhere;
        assert!(is_there, "{method} {path}: {}", reply.status);
        for other in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"] {
            if operations.iter().any(|(known, at)| at == path && known.eq_ignore_ascii_case(other)) {
                continue;
            }
            let reply = ask(api, other, path, &[], b"").await;
            assert_eq!(reply.status, 405, "{other} {path}");
            let allowed = reply.head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
            assert!(allowed.contains(&method.to_ascii_uppercase()), "{other} {path}: {allowed}");
        }
    }
    let served = ask(api, "GET", "/openapi.json", &[], b"").await;
    assert_eq!(served.json(), openapi::document());
}

/// A node alone that takes this token.
async fn guarded(token_file: Option<&Path>) -> Result<Running, StartError> {
    let store =
        StoreDefinition { replicas: 1, read_quorum: 1, write_quorum: 1, ..StoreDefinition::default() };
    let members = members(1);
    let mut config = config(&members[0], &members, &store);
    config.node.administration = Administration::Guarded;
    config.node.admin_token_file = token_file.map(|path| path.display().to_string());
    start(config, SimulatedDisk::default()).await
}

#[tokio::test]
async fn members_are_changed_only_by_whoever_shows_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.token");
    std::fs::write(&path, "correct horse battery\n").unwrap();
    let node = guarded(Some(&path)).await.unwrap();
    let api = &node.api;
    for (method, path) in [("POST", "/cluster/members"), ("DELETE", "/cluster/members/n1?dead=1")] {
        let stranger = ask(api, method, path, &[], b"").await;
        assert_eq!((stranger.status, stranger.error()), (401, "unauthorized".into()));
        assert!(stranger.head.contains("www-authenticate: Bearer"), "{}", stranger.head);
        assert!(stranger.json()["message"].as_str().unwrap().contains("admin_token_file"));
        let wrong = ask(api, method, path, &[("authorization", "Bearer wrong horse battery")], b"").await;
        assert_eq!((wrong.status, wrong.error()), (403, "forbidden".into()));
        let right = ask(api, method, path, &[("authorization", "Bearer correct horse battery")], b"").await;
        assert!(!matches!(right.status, 401 | 403), "{method} {path}: {}", right.status);
    }
    assert_eq!(metric(api, "quorate_administration_refused_total").await, 4);
    assert_eq!(put(api, "k", None, "v").await.status, 204, "keys are for everybody");
    for path in ["/cluster", "/metrics", "/healthz", "/readyz"] {
        assert_eq!(ask(api, "GET", path, &[], b"").await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn without_a_token_nobody_administers_and_a_bad_one_is_refused_at_the_start() {
    let node = guarded(None).await.unwrap();
    let refused = ask(&node.api, "DELETE", "/cluster/members/n1", &[], b"").await;
    assert_eq!(refused.status, 403);
    assert!(refused.json()["message"].as_str().unwrap().contains("admin_token_file"));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.token");
    let missing = guarded(Some(&path)).await.err().unwrap().to_string();
    assert!(missing.contains("admin_token_file") && missing.contains("admin.token"), "{missing}");
    std::fs::write(&path, "short").unwrap();
    let short = guarded(Some(&path)).await.err().unwrap().to_string();
    assert!(short.contains("at least 16"), "{short}");
}

/// Name, kind and words of every metric in lines of `text`, as `row` finds them.
fn metrics(text: &str, row: impl Fn(&str) -> Option<(String, String, String)>) -> Vec<String> {
    let mut found: Vec<_> =
        text.lines().filter_map(row).map(|(name, kind, says)| format!("{name} ({kind}): {says}")).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn every_metric_is_documented_with_its_kind_and_a_unit() {
    let (nodes, _) = cluster(3, &StoreDefinition::default()).await;
    let text = ask(&nodes[0].api, "GET", "/metrics", &[], b"").await.body;
    let text = String::from_utf8(text).unwrap();
    let shown = metrics(&text, |line| {
        let (name, says) = line.strip_prefix("# HELP ")?.split_once(' ')?;
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")))?;
        Some((name.to_owned(), kind.to_owned(), says.to_owned()))
    });
    let documented = metrics(include_str!("../../../../docs/metrics.md"), |line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind @ ("counter" | "gauge"), unit, says, _] = cells[..] else { return None };
        assert!(unit.len() > 2, "no unit: {line}");
        Some((name.trim_matches('`').to_owned(), kind.to_owned(), says.to_owned()))
    });
    assert!(shown.len() > 60, "{shown:?}");
    assert_eq!(shown, documented);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        assert!(text.contains(&format!("# TYPE {name} ")) && value.parse::<u64>().is_ok(), "{line}");
    }
}
