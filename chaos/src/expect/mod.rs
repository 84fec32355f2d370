//! What a run must show and must not: the promise table, and the judging of one run by it.
//!
//! [`Property`] is a row of the table, [`FaultClass`] what a run did to the cluster, [`Promise`]
//! the cell where they meet for one store. A promise that holds makes a violation a failure of the
//! run; one that may break makes it a remark. What a directed scenario *must show* is judged over
//! a campaign ([`crate::campaign`]), since one seed need not show it.
//!
//! Not here: finding violations in a history (`quorate-check` does, knowing nothing of faults),
//! but for availability, which is owed or not depending on the faults.

mod availability;
mod core;
mod judge;
mod late;
mod table;

pub use availability::{Availability, Owed, judge_availability};
pub use judge::{PropertyVerdict, RunVerdict, judge, weigh};
pub use table::{Column, FaultClass, Promise, Property, Sight, fault_classes, promise};
