//! `report.html`: one file, no network, no script, in the order of a reader's questions: what was
//! this, what came out, can it be believed, what went wrong, how do I do it again.

mod campaign;
mod header;
mod latency;
mod search;
mod style;
mod verdict;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::data::RunData;

pub use campaign::campaign_page;

/// The page of one run.
#[must_use]
pub fn run_page(run: &RunData) -> String {
    let body = html! {
        (header::summary(run))
        (search::section(run))
        (latency::section(run))
        (verdict::section(run))
        (header::faults(run))
        (header::reproduction(run))
    };
    shell(&run.name(), &body)
}

/// The page around a body.
fn shell(title: &str, body: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Even a page that was tampered with loads nothing from elsewhere.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { (title) " - Quorate" }
                style { (PreEscaped(style::STYLE)) }
            }
            body { (body) }
        }
    };
    page.into_string()
}

/// The class of a word that judges.
fn tone(word: &str) -> &'static str {
    match word {
        "valid" | "held" | "pass" | "ok" => "verdict good",
        "invalid" | "error" | "violated" | "fail" => "verdict bad",
        _ => "verdict unsure",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::fmt::Write as _;

    use serde_json::json;

    use super::*;
    use crate::data::{FaultSpan, Timeseries, Verdict, Violation};

    /// A day of seconds and a thousand violations: as big as a run gets.
    fn big_run() -> RunData {
        let mut csv = "second,get_p99_ms,put_p99_ms\n".to_owned();
        for second in 0..86_400 {
            writeln!(csv, "{second},{},{}", second % 97, second % 89).unwrap();
        }
        let violation = |i| Violation {
            kind: "lost".into(),
            key: json!("<script>alert(1)</script>"),
            operations: (i..i + 200).collect(),
            says: "v1 & v2 are \"gone\" <b>".repeat(20),
        };
        RunData {
            dir: "results/<i>run</i>".into(),
            run: json!({ "command_line": ["quorate", "bench", "--out", "<img src=http://x/>"], "seed": 1 }),
            latencies: None,
            timeseries: Some(Timeseries::parse(&csv).unwrap()),
            faults: (0..2_000)
                .map(|i| FaultSpan {
                    kind: "partition".into(),
                    targets: vec!["n1".into(), "<n2>".into()],
                    from_ns: i * 40_000_000_000,
                    until_ns: Some(i * 40_000_000_000 + 9_000_000_000),
                })
                .collect(),
            verdicts: vec![(
                String::new(),
                Verdict {
                    verdict: "invalid".into(),
                    violations: (0..1_000).map(violation).collect(),
                    ..Verdict::default()
                },
            )],
        }
    }

    #[test]
    fn the_biggest_page_stays_below_500_kb() {
        let page = run_page(&big_run());
        assert!(page.len() < 500_000, "{} bytes", page.len());
        assert!(page.contains("<path"), "it has plots");
    }

    #[test]
    fn nothing_is_loaded_and_nothing_is_run() {
        let page = run_page(&big_run());
        for forbidden in ["<script", "src=\"", "href=\"http", "url(", "@import", "<link", "<img", "<i>run"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("&lt;script&gt;"), "what looks like markup is shown as text");
    }

    #[test]
    fn faults_are_drawn_behind_what_they_did() {
        let mut run = big_run();
        run.faults.truncate(3);
        let page = run_page(&run);
        assert_eq!(page.matches("<rect class=\"band\"").count(), 3 + 1, "three faults and the legend");
        assert!(page.contains("<title>partition n1, &lt;n2&gt;</title>"));
    }

    #[test]
    fn an_empty_run_is_still_a_page() {
        let page = run_page(&RunData::default());
        assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
        assert!(!page.contains("NaN") && !page.contains("null"));
    }
}
