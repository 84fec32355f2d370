//! One page that shows why: the operations around the first contradiction on a timeline, one row a
//! process, coloured by value, with the sentence that says what is wrong.
//!
//! Self-contained: no script, no font, no picture from elsewhere. Time is drawn by order, not to scale:
//! what matters is who was over before whom began, and real times stand in the table below.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::history::{Function, History, NEVER, NONE, Outcome};
use crate::report::{Report, Verdict};
use crate::say;

/// Operations drawn at most: what a person can take in.
const DRAWN_MAX: usize = 28;
/// Pixels between two events, for a row, and left of the first event.
const STEP: usize = 52;
const ROW: usize = 46;
const LEFT: usize = 110;
const TOP: usize = 34;

/// The page for a history and what was found out about it.
#[must_use]
pub fn explain(history: &History, report: &Report) -> String {
    let story = Story::of(history, report);
    let mut page = String::new();
    let title = format!("{}: {}", report.file.as_deref().unwrap_or("history"), report.verdict);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title><style>{STYLE}</style></head><body>",
        escape(&title)
    );
    let tone = match report.verdict {
        Verdict::Valid => "good",
        Verdict::Unknown => "unsure",
        Verdict::Invalid | Verdict::Error => "bad",
    };
    let model = report.model.map_or("", |model| model.name());
    let _ = write!(
        page,
        "<h1><span class=\"{tone}\">{}</span> {}</h1><p class=\"facts\">{} operations on {} keys, judged as <b>{model}</b> by {}.</p>",
        report.verdict,
        escape(report.file.as_deref().unwrap_or_default()),
        report.operations,
        report.keys,
        escape(&report.algorithm)
    );
    match &story {
        Some(story) => story.write(history, &mut page),
        None if report.verdict == Verdict::Valid => {
            let proof = report.certified.map_or_else(String::new, |count| {
                format!(" An order of {count} operations proves it, and was verified.")
            });
            let _ = write!(page, "<p>Nothing contradicts the model.{proof}</p>");
        }
        None => {}
    }
    for entry in &report.not_judged {
        let _ = write!(
            page,
            "<p class=\"unsure\">Not judged: {} ({})</p>",
            escape(&entry.what),
            escape(&entry.why)
        );
    }
    page.push_str("</body></html>\n");
    page
}

/// What is drawn.
struct Story {
    says: String,
    kind: String,
    /// In order of invocation.
    drawn: Vec<u32>,
    witness: Vec<u32>,
    culprit: Option<u32>,
    /// Operations that the contradiction needs and that are not drawn.
    left_out: usize,
}

impl Story {
    fn of(history: &History, report: &Report) -> Option<Story> {
        let first = report.first_impossible.map(|first| first.operation);
        let violation = report
            .violations
            .iter()
            .find(|violation| first.is_some_and(|first| violation.operations.contains(&first)))
            .or_else(|| report.violations.first())?;
        let number = |operation: &usize| u32::try_from(*operation).unwrap_or(NONE);
        let named = if first.is_some() { report.witness.as_ref() } else { None };
        let mut witness: Vec<u32> = named.unwrap_or(&violation.operations).iter().map(number).collect();
        witness.sort_unstable();
        let culprit = first.map(|first| number(&first)).or_else(|| witness.last().copied());
        // Of many, those that ended last before the contradiction are the nearest to it.
        let mut nearest = witness.clone();
        nearest.sort_unstable_by_key(|&op| std::cmp::Reverse((history.entry(op).invoke, op)));
        nearest.truncate(DRAWN_MAX - 6);
        nearest.extend(culprit.filter(|culprit| !nearest.contains(culprit)));
        let left_out = witness.len().saturating_sub(nearest.len());
        // And beside them, of the same keys, what ran at the same time as the last of them.
        let end = culprit.map_or(i64::MAX, |culprit| history.entry(culprit).ret);
        let begin = nearest.iter().map(|&op| history.entry(op).invoke).min().unwrap_or(0);
        let key = culprit.map(|culprit| history.entry(culprit).key);
        let mut beside: Vec<u32> = (0_u32..)
            .zip(history.entries())
            .filter(|(op, entry)| {
                key == Some(entry.key)
                    && entry.outcome != Outcome::Fail
                    && entry.invoke <= end
                    && entry.ret >= begin
                    && !nearest.contains(op)
            })
            .map(|(op, _)| op)
            .collect();
        beside.reverse();
        beside.truncate(DRAWN_MAX.saturating_sub(nearest.len()));
        let mut drawn = nearest;
        drawn.extend(beside);
        drawn.sort_unstable();
        drawn.dedup();
        Some(Story {
            says: violation.says.clone(),
            kind: violation.kind.name().to_owned(),
            drawn,
            witness,
            culprit,
            left_out,
        })
    }

    fn write(&self, history: &History, page: &mut String) {
        let _ = write!(page, "<p class=\"says\"><b>{}</b>: {}.</p>", escape(&self.kind), escape(&self.says));
        if self.left_out > 0 {
            let _ = write!(
                page,
                "<p class=\"facts\">{} earlier operations belong to the contradiction and are not drawn.</p>",
                self.left_out
            );
        }
        page.push_str("<div class=\"wide\">");
        self.draw(history, page);
        page.push_str(
            "</div><p class=\"facts\"><span class=\"key culprit\"></span>the answer that fits nowhere \
             <span class=\"key witness\"></span>what it contradicts \
             <span class=\"key\"></span>at the same time, on the same key. \
             One colour is one value; a bar that fades out was never answered. Time runs to the right, not to scale.</p>\
             <table><tr><th>operation</th><th>process</th><th>does</th><th>called</th><th>returned</th></tr>",
        );
        for &op in &self.drawn {
            let entry = history.entry(op);
            let class = self.class(op);
            let returned = if entry.ret == NEVER { "never".to_owned() } else { say::time(entry.ret) };
            let _ = write!(
                page,
                "<tr class=\"{class}\"><td>{op}</td><td>{}</td><td>{}</td><td>{}</td><td>{returned}</td></tr>",
                history.process_of(op as usize),
                escape(&label(history, op)),
                say::time(entry.invoke)
            );
        }
        page.push_str("</table>");
    }

    fn class(&self, op: u32) -> &'static str {
        if self.culprit == Some(op) {
            "culprit"
        } else if self.witness.contains(&op) {
            "witness"
        } else {
            "beside"
        }
    }

    fn draw(&self, history: &History, page: &mut String) {
        let mut stamps: Vec<(i64, bool)> = Vec::new();
        let mut rows: BTreeMap<u64, usize> = BTreeMap::new();
        for &op in &self.drawn {
            let entry = history.entry(op);
            // Calls before returns at equal stamps: closed intervals.
            stamps.push((entry.invoke, false));
            stamps.extend(Some((entry.ret, true)).filter(|_| entry.ret != NEVER));
            rows.insert(history.process_of(op as usize), 0);
        }
        stamps.sort_unstable();
        stamps.dedup();
        for (place, row) in rows.values_mut().enumerate() {
            *row = place;
        }
        let x = |stamp: (i64, bool)| LEFT + STEP * stamps.binary_search(&stamp).unwrap_or_else(|place| place);
        let (width, height) = (LEFT + STEP * stamps.len() + 90, TOP + ROW * rows.len() + 12);
        let _ = write!(
            page,
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"timeline\">\
             <defs><linearGradient id=\"open\"><stop offset=\"0\" stop-color=\"#fff\"/><stop offset=\"1\" stop-color=\"#fff\" stop-opacity=\"0\"/></linearGradient>\
             <mask id=\"fade\" maskContentUnits=\"objectBoundingBox\"><rect width=\"1\" height=\"1\" fill=\"url(#open)\"/></mask></defs>"
        );
        for (process, row) in &rows {
            let y = TOP + ROW * row;
            let _ = write!(
                page,
                "<line class=\"rail\" x1=\"{LEFT}\" x2=\"{width}\" y1=\"{0}\" y2=\"{0}\"/><text class=\"who\" x=\"8\" y=\"{1}\">process {process}</text>",
                y + 30,
                y + 34
            );
        }
        let mut hues: BTreeMap<String, usize> = BTreeMap::new();
        for &op in &self.drawn {
            let entry = history.entry(op);
            let open = entry.ret == NEVER;
            let start = x((entry.invoke, false));
            let end = if open { width - 20 } else { x((entry.ret, true)) };
            let y = TOP + ROW * rows.get(&history.process_of(op as usize)).copied().unwrap_or(0);
            let next = hues.len();
            let hue = *hues.entry(colour(history, op)).or_insert(next) * 137 % 360;
            let reads = entry.f == Function::Get;
            let text = label(history, op);
            let room = (end.saturating_sub(start) / 7).max(STEP / 7 - 1);
            let shown: String = text.chars().take(room.max(6)).collect();
            let _ = write!(
                page,
                "<g class=\"{}\"><title>operation {op}: {}</title><rect x=\"{start}\" y=\"{}\" width=\"{}\" height=\"20\" rx=\"4\" style=\"fill:hsl({hue} 65% {}%)\"{}/><text x=\"{}\" y=\"{}\">{}</text></g>",
                self.class(op),
                escape(&say::operation(history, op)),
                y + 20,
                end.saturating_sub(start).max(10),
                if reads { 88 } else { 74 },
                if open { " mask=\"url(#fade)\"" } else { "" },
                start + 2,
                y + 14,
                escape(&shown)
            );
            if self.culprit == Some(op) {
                let _ =
                    write!(page, "<text class=\"cross\" x=\"{}\" y=\"{}\">\u{2717}</text>", end + 4, y + 36);
            }
        }
        page.push_str("</svg>");
    }
}

/// What an operation does, in few words.
fn label(history: &History, op: u32) -> String {
    let entry = history.entry(op);
    match entry.f {
        Function::Get => format!("get {}", say::values(history, history.values_of(op))),
        Function::Cas => format!(
            "cas {}\u{2192}{}",
            say::value(history, history.source_of(op)),
            say::value(history, entry.value)
        ),
        Function::Txn => {
            let steps: Vec<String> = history
                .steps_of(op)
                .iter()
                .map(|step| {
                    let sign = if step.f == Function::Get { "=" } else { "\u{2190}" };
                    format!("{}{sign}{}", say::value(history, step.key), say::value(history, step.value))
                })
                .collect();
            format!("txn {}", steps.join(" "))
        }
        Function::Acquire | Function::Release => entry.f.to_string(),
        _ => format!("{} {}", entry.f, say::value(history, entry.value)),
    }
}

/// What gives an operation its colour: the value that it read or wrote.
fn colour(history: &History, op: u32) -> String {
    let entry = history.entry(op);
    match entry.f {
        Function::Get => say::values(history, history.values_of(op)),
        Function::Delete => "nothing".to_owned(),
        Function::Acquire | Function::Release | Function::Txn => entry.f.to_string(),
        _ => say::value(history, entry.value),
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:90rem}\
h1{font-size:1.3rem}.good{color:#18794e}.bad{color:#c4320a}.unsure{color:#9a6700}.facts{color:#777}\
.says{max-width:70rem;border-left:4px solid #c4320a;padding:.3rem 1rem}.wide{overflow-x:auto;border:1px solid #8884;border-radius:6px}\
svg text{font:12px ui-monospace,monospace;fill:currentColor}.rail{stroke:#8886}.who{fill:#888}\
rect{stroke:#5558;stroke-width:1}.witness rect{stroke:#000a;stroke-width:2.5}.culprit rect{stroke:#c4320a;stroke-width:3.5}\
.beside{opacity:.55}svg text.cross{fill:#c4320a;font-size:20px;font-weight:bold}\
table{border-collapse:collapse;margin-top:1rem}td,th{text-align:left;padding:.15rem .9rem .15rem 0;font-variant-numeric:tabular-nums}\
tr.culprit{color:#c4320a;font-weight:600}tr.witness{font-weight:600}tr.beside{opacity:.6}\
.key{display:inline-block;width:1.4em;height:.8em;margin:0 .4em 0 .8em;border:1px solid #5558;border-radius:3px;opacity:.55}\
.key.witness{border:2.5px solid #000a;opacity:1}.key.culprit{border:3px solid #c4320a;opacity:1}\
@media(prefers-color-scheme:dark){svg g text{fill:currentColor}.witness rect,.key.witness{stroke:#fffc;border-color:#fffc}}";

#[cfg(test)]
mod tests {
    use super::explain;
    use crate::testing::history;
    use crate::{Options, check};

    #[test]
    fn the_page_names_the_operations_of_the_contradiction_and_escapes_what_it_shows() {
        let history = history("1 put <b> 10-20\n 1 put b 30-40\n 3 put c 15-?\n 2 get <b> 50-60");
        let page = explain(&history, &check(&history, &Options::default()));
        assert!(page.contains("not-linearizable") && page.contains("class=\"culprit\""), "{page}");
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>>") && !page.contains("get <b>"), "{page}");
        assert!(page.contains("url(#fade)"), "what never returned fades out");
        assert!(!page.contains("http"), "nothing is fetched from elsewhere");
        assert_eq!(page.matches("<tr class").count(), 4);
    }

    #[test]
    fn a_valid_history_has_a_page_too() {
        let history = history("1 put a 10-20\n 2 get a 30-40");
        let page = explain(&history, &check(&history, &Options::default()));
        assert!(page.contains("Nothing contradicts") && page.contains("order of 2 operations"), "{page}");
    }
}
