//! False siblings: two values shown as concurrent although one's writer had read the other.
//!
//! Judged on every successful get, of raw copies too: one node's siblings must be minimal as well. A
//! value that is shown twice in one answer is its own false sibling.

use super::KeyHistory;
use crate::report::{Findings, Kind};
use crate::say;

/// Reports a get that shows a value beside one whose writer had read it, or twice.
pub(crate) fn check(key: &KeyHistory<'_>, get: u32, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    let values = history.values_of(get);
    let pair = values.iter().enumerate().find_map(|(place, &newer)| {
        let newer = causality.write_of(newer)?;
        values.iter().enumerate().find_map(|(other_place, &older)| {
            let older = causality.write_of(older)?;
            let twice = older == newer && other_place < place;
            (twice || causality.covers(causality.past(newer), older)).then_some((older, newer))
        })
    });
    let Some((older, newer)) = pair else { return };
    let (older, newer) = (causality.writes[older as usize].op, causality.writes[newer as usize].op);
    findings.add(Kind::FalseSibling, || {
        let shown = say::operation(history, get);
        let name = |op: u32| say::value(history, history.entry(op).value);
        let says = if older == newer {
            format!("{shown} shows {} twice", name(older))
        } else {
            format!(
                "{shown} shows {} beside {}, whose writer had read it ({})",
                name(older),
                name(newer),
                say::operation(history, newer)
            )
        };
        key.violation(Kind::FalseSibling, &[older, newer, get], says)
    });
}
