//! `faults.jsonl`: what was done to the world, one event a line.

use serde::Deserialize;

/// A fault, from its beginning to its healing.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpan {
    /// What went wrong.
    pub kind: String,
    /// Who was hit.
    pub targets: Vec<String>,
    /// When it began, in nanoseconds on the clock of the history.
    pub from_ns: u64,
    /// When it was healed; none if it never was.
    pub until_ns: Option<u64>,
}

#[derive(Deserialize)]
struct Event {
    fault: u64,
    #[serde(alias = "phase")]
    event: String,
    kind: String,
    #[serde(default, alias = "nodes")]
    targets: Vec<String>,
    at_ns: u64,
}

/// Reads the events and pairs each beginning with its end.
///
/// # Errors
/// Which line is wrong, and how.
pub fn parse(text: &str) -> Result<Vec<FaultSpan>, String> {
    let mut spans: Vec<(u64, FaultSpan)> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let event: Event = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", number + 1))?;
        match event.event.as_str() {
            "end" | "stop" => {
                let open = spans.iter_mut().find(|(id, span)| *id == event.fault && span.until_ns.is_none());
                if let Some((_, span)) = open {
                    span.until_ns = Some(event.at_ns);
                }
            }
            _ => {
                let Event { fault, kind, targets, at_ns, .. } = event;
                spans.push((fault, FaultSpan { kind, targets, from_ns: at_ns, until_ns: None }));
            }
        }
    }
    Ok(spans.into_iter().map(|(_, span)| span).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn a_beginning_finds_its_end() {
        let text = r#"
{"fault":0,"event":"begin","kind":"partition","targets":["n1","n2"],"at_ns":5}
{"fault":1,"event":"begin","kind":"kill","targets":["n3"],"at_ns":6}
{"fault":0,"event":"end","kind":"partition","targets":["n1","n2"],"at_ns":9}
"#;
        let spans = parse(text).unwrap();
        assert_eq!((spans[0].from_ns, spans[0].until_ns), (5, Some(9)));
        assert_eq!((spans[1].kind.as_str(), spans[1].until_ns), ("kill", None));
        assert!(parse("\n{\"fault\":").unwrap_err().starts_with("line 2"));
        let other_words = r#"{"fault":0,"phase":"start","kind":"kill","nodes":["n1"],"at_ns":1}
{"fault":0,"phase":"stop","kind":"kill","nodes":["n1"],"at_ns":2}"#;
        assert_eq!(
            (parse(other_words).unwrap()[0].until_ns, parse(other_words).unwrap().len()),
            (Some(2), 1)
        );
    }
}
