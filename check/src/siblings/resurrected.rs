//! Resurrected values: there in the end although a write that had read them was acknowledged.
//!
//! Before the end this is mere staleness. If the superseding value is there beside it, the pair is a
//! false sibling and reported as that.

use super::KeyHistory;
use super::causality::Write;
use super::finals::Finals;
use crate::history::{Function, Outcome};
use crate::report::{Findings, Kind};
use crate::say;

/// Finds resurrected values, each once, with the first write that superseded it.
pub(crate) fn check(key: &KeyHistory<'_>, finals: &Finals, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    let values = finals.values.as_deref().unwrap_or_default();
    for index in values.iter().filter_map(|&value| causality.write_of(value)) {
        // Whoever had read it was called no earlier.
        let call = |write: &Write| history.entry(write.op).invoke;
        let own = call(&causality.writes[index as usize]);
        let start = causality.writes.partition_point(|write| call(write) < own);
        let superseding = (0_u32..).zip(&causality.writes).skip(start).find(|(newer, write)| {
            let entry = history.entry(write.op);
            // When the time is up every look ends at once.
            !causality.tables.deadline.step()
                && entry.outcome == Outcome::Ok
                && (entry.f == Function::Delete || values.binary_search(&entry.value).is_err())
                && causality.covers(causality.past(*newer), index)
        });
        if let Some((_, newer)) = superseding {
            let older = causality.writes[index as usize].op;
            findings.add(Kind::Resurrected, || {
                let says = format!(
                    "{} is back in the end, although {} had read it and was acknowledged",
                    say::value(history, history.entry(older).value),
                    say::operation(history, newer.op)
                );
                let mut operations = vec![older, newer.op];
                let value = history.entry(older).value;
                let mut shows = finals.reads.iter().filter(|&&read| history.values_of(read).contains(&value));
                if history.entry(newer.op).f == Function::Delete {
                    // One read that shows it is proof; else all prove that the newer value is not there.
                    operations.extend(shows.next());
                } else {
                    operations.extend(&finals.reads);
                }
                key.violation(Kind::Resurrected, &operations, says)
            });
        }
    }
}
