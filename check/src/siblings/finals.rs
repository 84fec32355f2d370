//! What a key held in the end: the reads marked `final`, made after all faults were healed and the store
//! had come to rest.

use crate::history::{Function, History, Id};

/// The final reads of one key.
#[derive(Debug, Default)]
pub(crate) struct Finals {
    /// What the store answers in the end: its last final read through a quorum, or without one the
    /// union of the nodes' own copies. None if no final read succeeded.
    pub(crate) values: Option<Vec<Id>>,
    /// The reads that `values` comes from.
    pub(crate) reads: Vec<u32>,
    /// Successful reads of single nodes' own copies.
    pub(crate) copies: Vec<u32>,
    /// Final reads of single copies that got no answer.
    pub(crate) copies_failed: usize,
}

impl Finals {
    pub(crate) fn of_key(history: &History, key: usize) -> Finals {
        let mut finals = Finals::default();
        let mut through_quorum = None;
        for &op in history.of_key(key) {
            let entry = history.entry(op);
            match (entry.is_final, entry.is_ok(Function::Get), !history.is_raw(op)) {
                (true, true, true) => through_quorum = Some(op),
                (true, true, false) => finals.copies.push(op),
                (true, false, false) => finals.copies_failed += 1,
                (true, false, true) | (false, _, _) => {}
            }
        }
        finals.reads = through_quorum.map_or_else(|| finals.copies.clone(), |op| vec![op]);
        if !finals.reads.is_empty() {
            let mut values: Vec<Id> =
                finals.reads.iter().flat_map(|&op| history.values_of(op)).copied().collect();
            values.sort_unstable();
            values.dedup();
            finals.values = Some(values);
        }
        finals
    }
}
