//! Reads that go back: a get that began after another had returned misses what that one had shown.
//!
//! Across clients: whoever asked. A value that a delete may have removed meanwhile is not missed.

use super::KeyHistory;
use super::frontier::{Deletes, Frontier, by_return};
use crate::report::{Findings, Kind};
use crate::say;

/// Finds gets that go back, each once.
pub(crate) fn check(key: &KeyHistory<'_>, findings: &mut Findings) {
    let (history, causality) = (key.history, &key.causality);
    let gets = by_return(history, key.key, |op| history.is_read(op));
    let mut next = 0;
    let mut frontier = Frontier::default();
    let mut deletes = Deletes::new(history, causality);
    for &get in history.of_key(key.key).iter().filter(|&&op| history.is_read(op)) {
        let entry = history.entry(get);
        while let Some(&(_, earlier)) = gets.get(next).filter(|(ret, _)| *ret < entry.invoke) {
            for index in history.values_of(earlier).iter().filter_map(|&value| causality.write_of(value)) {
                let write = &causality.writes[index as usize];
                frontier.demand(write.chain, write.position, earlier);
            }
            next += 1;
        }
        let mut cover = causality.cover(history.values_of(get));
        deletes.apply(causality, &mut frontier, (entry.invoke, entry.ret), &mut cover);
        let mut missed = None;
        if frontier.lacks(&cover) {
            missed = frontier.gaps(&cover).next().map(|(chain, _, demanded, earlier)| {
                (causality.chain(chain)[demanded as usize - 1], earlier)
            });
        }
        // The same process's gets that ended at the very stamp at which this one began.
        for &(_, earlier) in gets[next..].iter().take_while(|(ret, _)| *ret == entry.invoke) {
            if missed.is_some() || !history.precedes(earlier, get) {
                continue;
            }
            missed = history
                .values_of(earlier)
                .iter()
                .filter_map(|&value| causality.write_of(value))
                .find(|&index| !frontier.settles(&cover, &causality.writes[index as usize]))
                .map(|index| (index, earlier));
        }
        if let Some((index, earlier)) = missed {
            let put = causality.writes[index as usize].op;
            findings.add(Kind::Session, || {
                let says = format!(
                    "{} misses {}, which {} had already shown",
                    say::operation(history, get),
                    say::value(history, history.entry(put).value),
                    say::operation(history, earlier)
                );
                key.violation(Kind::Session, &[put, earlier, get], says)
            });
        }
    }
}
