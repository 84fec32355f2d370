//! A campaign as a JUnit report: a suite for each scenario and store, a case for each seed.

use std::fmt::Write as _;

use super::{Outcome, Row, Shown, Summary};

pub(super) fn render(summary: &Summary, outcomes: &[Outcome]) -> String {
    let mut xml =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"quorate chaos\">\n");
    for row in &summary.rows {
        let states = |state| demanded(row).filter(|(.., found)| *found == state).count() as u64;
        // Writing to a string does not fail.
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}.{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">",
            escape(&row.scenario),
            escape(&row.profile),
            row.seeds + demanded(row).count() as u64,
            row.violated + states(Shown::Missing),
            row.errors,
            row.unknown + states(Shown::TooFewSeeds),
        );
        let of_row = |o: &&Outcome| o.scenario == row.scenario && o.profile == row.profile;
        for outcome in outcomes.iter().filter(of_row) {
            case(&mut xml, summary, outcome);
        }
        for (what, within, state) in demanded(row) {
            let body = match state {
                Shown::Shown => String::new(),
                Shown::Missing => format!("<failure message=\"not seen in {} seeds\"/>", row.seeds),
                Shown::TooFewSeeds => {
                    format!("<skipped message=\"not seen, but only {} of {within} seeds ran\"/>", row.seeds)
                }
            };
            let _ = writeln!(xml, "    <testcase name=\"{what}\">{body}</testcase>");
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// What must be seen of a row, within how many seeds, and whether it was.
fn demanded(row: &Row) -> impl Iterator<Item = (String, u64, Shown)> {
    let shown = row.must_show.iter().map(|m| (format!("must show {}", m.sight), m.within, m.state));
    shown.chain(row.must_reach.iter().map(|m| (format!("must reach {}", m.mark), m.within, m.state)))
}

fn case(xml: &mut String, summary: &Summary, outcome: &Outcome) {
    let failure = summary
        .failures
        .iter()
        .find(|f| f.seed == outcome.seed && f.scenario == outcome.scenario && f.profile == outcome.profile);
    let body = match (failure, &outcome.result) {
        (Some(failure), result) => {
            let tag = if result.is_ok() { "failure" } else { "error" };
            format!("<{tag} message=\"{}\">{}</{tag}>", escape(&failure.says), escape(&failure.reproduce))
        }
        (None, Ok(verdict))
            if !verdict.not_judged.is_empty() && verdict.verdict != quorate_check::Verdict::Valid =>
        {
            format!("<skipped message=\"{}\"/>", escape(&verdict.not_judged[0].why))
        }
        (None, _) => String::new(),
    };
    let _ = writeln!(xml, "    <testcase name=\"seed {}\">{body}</testcase>", outcome.seed);
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // XML 1.0 has no other control characters at all.
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b> & \"c\"\n"), "a&lt;b&gt; &amp; &quot;c&quot; ");
    }
}
