//! Siblings: what a store that keeps concurrent writes side by side owes its clients (Dynamo, section
//! 4.4), one property per file. Never the store's clock or its version vectors: what a write had read
//! is what its client's token covered, as the client recorded it.
//!
//! | property | file | asks |
//! |---|---|---|
//! | stale | [`stale`] | does a get show every write that was over before it began? |
//! | reads-go-back | [`reads_go_back`] | does a get show what an earlier get showed? |
//! | session | [`session`] | does a get show what it must by what one session did before? |
//! | lost-update | [`lost_update`] | of two writes from one state, did one swallow the other? |
//! | false-sibling | [`false_sibling`] | is one of the values shown read by the other's writer? |
//! | lost | [`lost`] | after healing, is every acknowledged write there or superseded? |
//! | resurrected | [`resurrected`] | after healing, is anything back that was superseded? |
//! | not-converged | [`not_converged`] | after healing, are all copies equal? |
//!
//! Those along the gets share one [`walk`] over them. All but the last two need values that are unique
//! per key. Phantoms are [`crate::phantom`]'s concern.

pub(crate) mod causality;
pub(crate) mod cover;
pub(crate) mod debts;
pub(crate) mod epochs;
pub(crate) mod false_sibling;
pub(crate) mod finals;
pub(crate) mod frontier;
pub(crate) mod limits;
pub(crate) mod lineage;
pub(crate) mod link;
pub(crate) mod lost;
pub(crate) mod lost_update;
pub(crate) mod not_converged;
pub(crate) mod reads_go_back;
pub(crate) mod remembered;
pub(crate) mod resurrected;
pub(crate) mod session;
pub(crate) mod stale;
pub(crate) mod tables;
pub(crate) mod walk;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod scale_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod witness_tests;

use crate::history::History;
use crate::report::{Guarantee, Kind, Violation};
use causality::Causality;

/// One key of a history with what its writes had read.
pub(crate) struct KeyHistory<'h> {
    pub(crate) history: &'h History,
    pub(crate) key: usize,
    pub(crate) causality: Causality,
}

impl KeyHistory<'_> {
    pub(crate) fn violation(&self, kind: Kind, operations: &[u32], says: String) -> Violation {
        let mut operations: Vec<usize> = operations.iter().map(|&number| number as usize).collect();
        operations.sort_unstable();
        operations.dedup();
        Violation {
            kind,
            guarantee: None,
            key: self.history.key(self.key).clone(),
            operations,
            says,
            lasting: None,
        }
    }

    pub(crate) fn session(&self, guarantee: Guarantee, operations: &[u32], says: String) -> Violation {
        Violation { guarantee: Some(guarantee), ..self.violation(Kind::Session, operations, says) }
    }
}
