//! How copies and hints are laid out in the engine's one ordered key space.
//!
//! `d` partition key: an owner's copy. `h` owner partition key: a hint. `p` partition key: what an
//! owner of a register has promised. Keys are stored under their partition so that a partition is one
//! range.

use crate::config::NodeId;

/// Where an owner's copy lies.
pub(super) fn data(partition: u32, key: &[u8]) -> Vec<u8> {
    let mut stored = partition_prefix(partition);
    stored.extend_from_slice(key);
    stored
}

/// Where lies what an owner of a register has promised. Not with its copy: a promise is a few bytes and
/// concerns nobody else, a copy is as long as its value and is compared with those of the others.
pub(super) fn promise(partition: u32, key: &[u8]) -> Vec<u8> {
    let mut stored = data(partition, key);
    stored[0] = b'p';
    stored
}

/// The partition of a copy or of a promise; nothing for what is neither.
pub(super) fn partition_of_vote(stored: &[u8]) -> Option<u32> {
    let (kind, rest) = stored.split_first()?;
    let partition = rest.first_chunk::<4>()?;
    matches!(kind, b'd' | b'p').then(|| u32::from_be_bytes(*partition))
}

/// What all copies of a partition start with.
pub(super) fn partition_prefix(partition: u32) -> Vec<u8> {
    let mut stored = Vec::with_capacity(64);
    stored.push(b'd');
    stored.extend_from_slice(&partition.to_be_bytes());
    stored
}

/// The key of a copy.
pub(super) fn key_of_data(stored: &[u8]) -> &[u8] {
    stored.get(5..).unwrap_or_default()
}

/// The partition of a copy; nothing for what is no copy.
pub(super) fn partition_of_data(stored: &[u8]) -> Option<u32> {
    let (kind, rest) = stored.split_first()?;
    let partition = rest.first_chunk::<4>()?;
    (*kind == b'd').then(|| u32::from_be_bytes(*partition))
}

/// What all hints start with.
pub(super) const HINTS: &[u8] = b"h";

/// What all hints for `owner` start with.
pub(super) fn hint_prefix(owner: NodeId) -> Vec<u8> {
    let mut stored = Vec::with_capacity(80);
    stored.extend_from_slice(HINTS);
    stored.extend_from_slice(owner.as_bytes());
    stored
}

/// Where a hint lies.
pub(super) fn hint(owner: NodeId, partition: u32, key: &[u8]) -> Vec<u8> {
    let mut stored = hint_prefix(owner);
    stored.extend_from_slice(&partition.to_be_bytes());
    stored.extend_from_slice(key);
    stored
}

/// What all hints for `owner` of a partition start with.
pub(super) fn hints_of_partition(owner: NodeId, partition: u32) -> Vec<u8> {
    hint(owner, partition, b"")
}

/// The owner that a hint is for.
pub(super) fn owner_of_hint(stored: &[u8]) -> Option<NodeId> {
    let padded = stored.get(1..17)?;
    let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
    std::str::from_utf8(&padded[..end]).ok()?.parse().ok()
}

/// Behind every hint for `owner` and before those for the next.
pub(super) fn behind_hints_for(owner: NodeId) -> Vec<u8> {
    let mut stored = hint_prefix(owner);
    // No partition has this number, so no hint lies behind it.
    stored.extend_from_slice(&[0xff; 5]);
    stored
}

/// The partition and key of a hint.
pub(super) fn parts_of_hint(stored: &[u8]) -> Option<(u32, &[u8])> {
    let partition = stored.get(17..21)?.try_into().ok().map(u32::from_be_bytes)?;
    Some((partition, stored.get(21..)?))
}
