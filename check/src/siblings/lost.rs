//! Lost writes: acknowledged, and in the end neither there nor superseded by a write that had read them.
//!
//! An acknowledged write is accounted for if it is in the final values, or if some write that did not
//! fail and whose context holds it is a delete or is itself accounted for. Judged for puts: what a lost
//! delete had removed shows up as resurrected.

use super::KeyHistory;
use super::cover::Cover;
use super::finals::Finals;
use crate::history::{Function, Id};
use crate::report::{Findings, Kind};
use crate::say;

/// Everything that the final values account for.
pub(crate) fn accounted(key: &KeyHistory<'_>, finals: &[Id]) -> Cover {
    let mut cover = key.causality.cover(finals);
    for delete in key.causality.deletes(key.history) {
        if key.causality.tables.deadline.step() {
            break;
        }
        key.causality.join(&mut cover, key.causality.past(delete));
    }
    cover
}

/// Finds lost writes.
pub(crate) fn check(key: &KeyHistory<'_>, finals: &Finals, accounted: &Cover, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    for (index, write) in (0_u32..).zip(&causality.writes) {
        if causality.tables.deadline.step() {
            break;
        }
        let entry = history.entry(write.op);
        let acknowledged_put = entry.is_ok(Function::Put) || entry.is_ok(Function::Cas);
        if !acknowledged_put || causality.covers(accounted.view(), index) {
            continue;
        }
        findings.add(Kind::Lost, || {
            let held = say::values(history, finals.values.as_deref().unwrap_or_default());
            let says = format!(
                "{} was acknowledged, but in the end {} holds {held}, and no write that had read it stands",
                say::operation(history, write.op),
                history.key(key.key)
            );
            let mut operations = vec![write.op];
            operations.extend(&finals.reads);
            key.violation(Kind::Lost, &operations, says)
        });
    }
}
