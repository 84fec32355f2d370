//! Hash trees over partitions, and the exchange that finds where two of them differ.
//!
//! Dynamo, section 4.7. A tree holds sums of digests by the leading bits of the keys' hashes,
//! nothing of the keys themselves: a change costs a handful of additions, the order of changes
//! leaves no trace, and trees of different depths compare as far as both go.
//!
//! Pure: no records, no messages, no time. Not here: what a record's bytes are and when a tree
//! changes (`replica`), who asks whom (`transfer`).

mod descent;
mod digest;
mod tree;

pub use descent::Descent;
pub use digest::{Salt, key_hash, record_digest};
pub use tree::{DEPTH_MAX, FANOUT, Node, Root, Tree};
