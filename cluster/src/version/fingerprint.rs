//! What stands for an encoded record where only equality matters.
//!
//! Not here: protection against an adversary. Whoever can find two values of one fingerprint can write both
//! of them anyway, and would hide one of his own copies behind the other.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

/// 128 bits of an encoded record (XXH3): equal ones stand for equal records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of a record as [`super::Record::encode`] has it.
    #[must_use]
    pub fn of(encoded: &[u8]) -> Self {
        Self(XxHash3_128::oneshot(encoded))
    }
}
