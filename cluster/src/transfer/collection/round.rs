//! What a round of collection decides, without asking anybody.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::membership::ViewVersion;
use crate::replica::{Fingerprint, Quiet, Tombstone};

/// Why a round collects nothing. The next one begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GivenUp {
    /// Members change, or changed meanwhile.
    Moving,
    /// Somebody does not answer.
    Unreachable,
    /// Somebody is in an earlier view and stays there.
    Behind,
    /// Something that began before a fence goes on for too long.
    Busy,
    /// Somebody keeps hints or copies for others.
    Keeping,
    /// Somebody may lack something, or some record is damaged.
    Lacking,
    /// Some node cannot read or write its disk, or this node its view.
    Disk,
}

impl GivenUp {
    /// All of them, in the order in which metrics name them.
    pub const ALL: [Self; 7] =
        [Self::Moving, Self::Unreachable, Self::Behind, Self::Busy, Self::Keeping, Self::Lacking, Self::Disk];
}

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moving => "moving",
            Self::Unreachable => "unreachable",
            Self::Behind => "behind",
            Self::Busy => "busy",
            Self::Keeping => "keeping",
            Self::Lacking => "lacking",
            Self::Disk => "disk",
        })
    }
}

/// What is waited for on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// That nothing is left from before the view.
    Quiet,
    /// That it is in the view.
    There,
}

/// How one node stands to a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// Nothing more is waited for.
    Done,
    /// Not yet, and why.
    NotYet(GivenUp),
    /// This round comes to nothing.
    Never(GivenUp),
}

/// How a node that said this stands to the view `fence`.
pub(super) fn stands(said: &Quiet, fence: ViewVersion, until: Until) -> Stands {
    if said.view > fence {
        Stands::Never(GivenUp::Moving)
    } else if said.lacks {
        Stands::Never(GivenUp::Lacking)
    } else if said.view < fence {
        Stands::NotYet(GivenUp::Behind)
    } else if until == Until::There {
        Stands::Done
    } else if said.keeps_for_others {
        Stands::NotYet(GivenUp::Keeping)
    } else if said.under_way > 0 {
        Stands::NotYet(GivenUp::Busy)
    } else {
        Stands::Done
    }
}

/// The deleted keys that every owner told of with one and the same record. Nothing for nobody.
pub(super) fn agreed(told: &[Vec<Tombstone>]) -> Vec<Tombstone> {
    let Some((first, others)) = told.split_first() else { return Vec::new() };
    let others: Vec<BTreeMap<&Bytes, &Fingerprint>> = others
        .iter()
        .map(|tombstones| tombstones.iter().map(|one| (&one.key, &one.record)).collect())
        .collect();
    let is_agreed = |one: &&Tombstone| others.iter().all(|other| other.get(&one.key) == Some(&&one.record));
    first.iter().filter(is_agreed).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Phase;

    fn fence(fence: u64) -> ViewVersion {
        ViewVersion { epoch: 1, phase: Phase::Stable, fence }
    }

    #[test]
    fn a_node_is_waited_for_until_nothing_is_left_from_before_the_fence() {
        let quiet = Quiet { view: fence(2), under_way: 0, keeps_for_others: false, lacks: false };
        let of = |said: Quiet| (stands(&said, fence(2), Until::Quiet), stands(&said, fence(2), Until::There));
        let not_yet = Stands::NotYet;
        assert_eq!(of(quiet), (Stands::Done, Stands::Done));
        assert_eq!(of(Quiet { under_way: 1, ..quiet }), (not_yet(GivenUp::Busy), Stands::Done));
        assert_eq!(of(Quiet { keeps_for_others: true, ..quiet }), (not_yet(GivenUp::Keeping), Stands::Done));
        let behind = not_yet(GivenUp::Behind);
        assert_eq!(of(Quiet { view: fence(1), ..quiet }), (behind, behind));
        let moved = Stands::Never(GivenUp::Moving);
        assert_eq!(of(Quiet { view: fence(3), ..quiet }), (moved, moved));
        let lacking = Stands::Never(GivenUp::Lacking);
        assert_eq!(of(Quiet { lacks: true, ..quiet }), (lacking, lacking));
    }

    #[test]
    fn only_what_all_owners_hold_in_the_same_form_is_agreed() {
        let one = |key: &'static str, record: u8| Tombstone { key: key.into(), record: [record; 16] };
        let told = [
            vec![one("a", 1), one("b", 1), one("c", 1)],
            vec![one("a", 1), one("b", 2), one("c", 1)],
            vec![one("a", 1), one("b", 1)],
        ];
        assert_eq!(agreed(&told), [one("a", 1)]);
        assert_eq!(agreed(&told[..1]), told[0], "the only owner agrees with itself");
        assert_eq!(agreed(&[]), []);
        assert_eq!(agreed(&[vec![one("a", 1)], Vec::new()]), []);
    }
}
