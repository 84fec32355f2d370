//! The smallest scenario as a file for people.

use super::Shrunk;

/// The text of `shrunk.toml`. `from` names the run that was shrunk, `again` is the command that shows the
/// failure once more.
#[must_use]
pub fn written(shrunk: &Shrunk, from: &str, again: &str) -> String {
    let (before, after) = (shrunk.before, shrunk.after);
    let says = shrunk.symptom.example(&shrunk.run.verdict).unwrap_or_default();
    let bound = if shrunk.is_minimal {
        "Nothing more could be left out."
    } else {
        "The bound on runs was reached before nothing more could be left out."
    };
    let mut text = String::new();
    for line in [
        format!("Breaks {}. {says}", shrunk.symptom),
        format!("Again: {again}"),
        format!("Shrunk from {from}:"),
        format!(
            "{} faults to {}, {} clients to {}, {} operations to {}. {bound}",
            before.faults, after.faults, before.clients, after.clients, before.operations, after.operations
        ),
    ] {
        // What a store says may hold anything, but not end the comment.
        text.push_str("# ");
        text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&shrunk.case.scenario.to_toml());
    text
}
