//! The promise table: what each kind of store promises under each class of faults.

use std::collections::BTreeSet;

use quorate_check::{Guarantee, Kind, Violation};
use quorate_cluster::config::{AntiEntropy, Conflict, Durability, EngineKind, QuorumKind, StoreDefinition};
use serde::{Deserialize, Serialize};

use crate::fault::{FaultKind, Plan};
use crate::words::words;

words! {
    /// A row of the table.
    pub enum Property {
        /// No get returns what nobody wrote there.
        NoPhantom = "no-phantom",
        /// After full healing all replicas are equal.
        Converged = "converged",
        /// No values are shown as concurrent of which one's writer had read the other.
        NoFalseSibling = "no-false-sibling",
        /// An acknowledged write or delete stands until superseded by one that read it.
        NoLostWrite = "no-lost-write",
        /// A get covers every write acknowledged before it.
        NoStaleRead = "no-stale-read",
        /// Reads never go back across clients; linearizable.
        Linearizable = "linearizable",
        /// A put that is owed success succeeds.
        Available = "available",
        /// Under `interval:T` only writes acknowledged less than T before a power cut are lost.
        BoundedLoss = "bounded-loss",
        /// A change of the members that was asked for is over soon after everything was healed.
        MembersSettle = "members-settle",
        /// A store that forgets deletes has forgotten them all once everything was healed.
        TombstonesCollected = "tombstones-collected",
        /// What is asked through a core that is in order while others are not is answered.
        CoreServes = "core-serves",
    }
}

impl Property {
    /// Whether `violation` breaks it. [`Property::BoundedLoss`] is a matter of when, too, and
    /// [`Property::MembersSettle`], [`Property::TombstonesCollected`] and [`Property::CoreServes`] none of what clients saw: they
    /// are judged apart. A lost update that a later get no longer shows was only read too early:
    /// that is a stale read, not a lost write.
    #[must_use]
    pub fn is_broken_by(self, violation: &Violation) -> bool {
        match violation.kind {
            Kind::Phantom => self == Self::NoPhantom,
            Kind::NotConverged => self == Self::Converged,
            Kind::FalseSibling => self == Self::NoFalseSibling,
            Kind::Lost | Kind::Resurrected => self == Self::NoLostWrite,
            Kind::LostUpdate if violation.lasting == Some(false) => self == Self::NoStaleRead,
            Kind::LostUpdate => self == Self::NoLostWrite,
            Kind::Stale => self == Self::NoStaleRead,
            Kind::NotLinearizable => self == Self::Linearizable,
            // What one session is owed nobody promised.
            Kind::Session => {
                self == Self::Linearizable && violation.guarantee == Some(Guarantee::ReadsGoBack)
            }
            Kind::Unavailable => self == Self::Available,
        }
    }
}

words! {
    /// Something a directed scenario must show under a setting that permits it.
    pub enum Sight {
        /// A get that missed an acknowledged write.
        Stale = "stale",
        /// An acknowledged write that is gone.
        Lost = "lost",
        /// Of two writes that read the same, one silently replaced the other.
        LostUpdate = "lost-update",
        /// A value that came back.
        Resurrected = "resurrected",
        /// Values shown as concurrent that are not.
        FalseSibling = "false-sibling",
        /// Replicas that differ after healing.
        NotConverged = "not-converged",
        /// A history of a register that has no order.
        NotLinearizable = "not-linearizable",
        /// A get that missed what an earlier get had shown.
        ReadsGoBack = "reads-go-back",
        /// A put that the store refused for want of a quorum.
        Refused = "refused",
    }
}

impl Sight {
    /// Whether a violation shows it.
    #[must_use]
    pub fn is_shown_by(self, violation: &Violation) -> bool {
        self.kind() == Some(violation.kind)
            && (violation.kind != Kind::Session || violation.guarantee == Some(Guarantee::ReadsGoBack))
    }

    /// The kind of violation that shows it; none for what is no violation.
    #[must_use]
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Stale => Some(Kind::Stale),
            Self::Lost => Some(Kind::Lost),
            Self::LostUpdate => Some(Kind::LostUpdate),
            Self::Resurrected => Some(Kind::Resurrected),
            Self::FalseSibling => Some(Kind::FalseSibling),
            Self::NotConverged => Some(Kind::NotConverged),
            Self::NotLinearizable => Some(Kind::NotLinearizable),
            Self::ReadsGoBack => Some(Kind::Session),
            Self::Refused => None,
        }
    }
}

words! {
    /// A cell of the table.
    pub enum Promise {
        /// Must hold.
        Holds = "holds",
        /// May break.
        May = "may",
        /// May break, and some directed scenario must show it.
        Shows = "shows",
        /// Means nothing for this store.
        None = "none",
    }
}

/// What faults do to a cluster, by what they put at risk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FaultClass {
    /// Nothing happened.
    #[serde(rename = "calm")]
    Calm,
    /// Network, pause, slow node, overload.
    #[serde(rename = "N")]
    Network,
    /// Kill, restart, or a power cut under `commit`.
    #[serde(rename = "K")]
    Kill,
    /// Clocks.
    #[serde(rename = "C")]
    Clock,
    /// Join, leave, replace.
    #[serde(rename = "M")]
    Membership,
    /// One copy lost, and refilled before the next.
    #[serde(rename = "L1")]
    OneLoss,
    /// A second copy lost before the refill.
    #[serde(rename = "L2")]
    TwoLosses,
    /// An old disk restored unnoticed.
    #[serde(rename = "B")]
    OldDisk,
}

/// A column of the table: the profile that a store's settings come closest to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// One copy is enough to acknowledge; siblings.
    AlwaysWrite,
    /// Sloppy quorums that would overlap; siblings.
    Dynamo,
    /// Strict quorums that overlap; siblings.
    Quorum,
    /// The last write wins.
    LastWriteWins,
    /// Owners decide by majority, key by key.
    Linearizable,
}

impl Column {
    /// The column for `store`.
    #[must_use]
    pub fn of(store: &StoreDefinition) -> Self {
        let overlap = store.r() + store.w() > store.n();
        match (store.conflict, store.quorum) {
            (Conflict::LastWriteWins, _) => Self::LastWriteWins,
            (Conflict::Single, _) => Self::Linearizable,
            _ if store.w() == 1 || !overlap => Self::AlwaysWrite,
            (_, QuorumKind::Strict) => Self::Quorum,
            (_, QuorumKind::Sloppy) => Self::Dynamo,
        }
    }
}

/// Rows by columns (always-write, dynamo, quorum, lww, linearizable); each cell has a letter for every
/// class in the order calm N K C M L1 L2 B: H must hold, m may break, S may break and is shown somewhere.
///
/// A linearizable store that lost a majority of some owners refuses, and owes no availability nor equal
/// copies; what it answers is right all the same. An owner that lost its disk, or is new, has no vote until
/// it was filled, so that one fault less may stop puts than in `quorum`.
const TABLE: [(Property, [&str; 5]); 7] = [
    (Property::NoPhantom, ["HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHHHHH"]),
    (Property::Converged, ["HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHHHmH"]),
    (Property::NoFalseSibling, ["HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "--------", "--------"]),
    (Property::NoLostWrite, ["HHHHHSmm", "HHHHHHSH", "HHHHHHSH", "SSSSSSSS", "mmmmmmmm"]),
    (Property::NoStaleRead, ["mSmmmmmm", "HSmmmmmm", "HHHHHHmm", "HSmSmmmm", "HHHHHHHm"]),
    (Property::Linearizable, ["SSSSSSSS", "mmmmmmmm", "mSmmmmmm", "mmmSmmmm", "HHHHHHHm"]),
    (Property::Available, ["HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHHHHH", "HHHHmmmm"]),
];

/// What `store` promises of `property` under all of `classes` at once: the weakest of its cells.
#[must_use]
pub fn promise(store: &StoreDefinition, property: Property, classes: &[FaultClass]) -> Promise {
    if property == Property::BoundedLoss {
        let bounded =
            matches!(store.durability, Durability::Interval(_)) && store.conflict == Conflict::Siblings;
        return if bounded { Promise::Holds } else { Promise::None };
    }
    if property == Property::MembersSettle {
        // Whatever a store promises of its data: who its members are it must be able to change. But not
        // away from a majority of owners whose votes are lost.
        let is_stuck = store.is_linearizable() && classes.contains(&FaultClass::TwoLosses);
        return if is_stuck { Promise::May } else { Promise::Holds };
    }
    if property == Property::CoreServes {
        // A copy that was lost has no vote until it is whole again, and whom it would take may be away.
        let lost = [FaultClass::OneLoss, FaultClass::TwoLosses, FaultClass::OldDisk];
        // After a clock was wrong, the last write to win may be one of the future, and be refused.
        let is_skewed = store.conflict == Conflict::LastWriteWins && classes.contains(&FaultClass::Clock);
        let may_not = is_skewed || lost.iter().any(|class| classes.contains(class));
        return if may_not { Promise::May } else { Promise::Holds };
    }
    if property == Property::TombstonesCollected {
        return if store.collects_tombstones() { Promise::Holds } else { Promise::None };
    }
    let repairs = (store.hinted_handoff || store.is_linearizable()) && store.anti_entropy != AntiEntropy::Off;
    if property == Property::Converged && !repairs {
        return Promise::Shows;
    }
    if property == Property::NoLostWrite && store.quorum == QuorumKind::Sloppy && !store.hinted_handoff {
        // What a fallback took it keeps to itself, and no get asks it once the owners are back.
        return Promise::May;
    }
    if store.actor_limit > 0 && store.conflict == Conflict::Siblings {
        // A context that forgets no longer knows what it superseded.
        match property {
            Property::NoFalseSibling => return Promise::Shows,
            // What was deleted comes back, too.
            Property::NoLostWrite | Property::NoStaleRead => return Promise::May,
            _ => {}
        }
    }
    let column = Column::of(store);
    if column == Column::LastWriteWins
        && property == Property::NoStaleRead
        && store.r() + store.w() <= store.n()
    {
        // The profile has overlapping quorums; a store of its own may not.
        return Promise::Shows;
    }
    let cells = TABLE.iter().find(|(row, _)| *row == property).map_or("", |(_, cells)| match column {
        Column::AlwaysWrite => cells[0],
        Column::Dynamo => cells[1],
        Column::Quorum => cells[2],
        Column::LastWriteWins => cells[3],
        Column::Linearizable => cells[4],
    });
    let weakness = |letter: u8| match letter {
        b'H' => 0,
        b'm' => 1,
        b'S' => 2,
        _ => 3,
    };
    let weakest =
        classes.iter().filter_map(|class| cells.as_bytes().get(*class as usize)).map(|&l| weakness(l)).max();
    match weakest {
        Some(0) => Promise::Holds,
        Some(2) => Promise::Shows,
        Some(3) => Promise::None,
        Some(_) | None => Promise::May,
    }
}

/// The classes that `plan` belongs to for `store`: whether a crash loses data is a matter of its
/// durability. Nodes that lose their copies are counted, each once: what one and the same node loses
/// time and again leaves the others whole. Refills in between are not looked at, which can only
/// promise too little.
#[must_use]
pub fn fault_classes(plan: &Plan, store: &StoreDefinition) -> Vec<FaultClass> {
    let mut classes = Vec::new();
    let mut losers: BTreeSet<&String> = BTreeSet::new();
    let forgets_on_kill = store.engine == EngineKind::Memory || store.durability == Durability::Memory;
    for fault in &plan.faults {
        let (class, loses) = match fault.kind {
            FaultKind::Partition
            | FaultKind::Hold
            | FaultKind::OneWay
            | FaultKind::Latency
            | FaultKind::SlowNode
            | FaultKind::Bridge
            | FaultKind::Ring
            | FaultKind::Isolate
            | FaultKind::Flapping
            | FaultKind::Loss
            | FaultKind::Corrupt
            | FaultKind::Throttle
            | FaultKind::Reorder
            | FaultKind::SlowDisk
            | FaultKind::DiskFull
            | FaultKind::Pause
            | FaultKind::Overload => (FaultClass::Network, false),
            FaultKind::ClockSkew | FaultKind::ClockJump | FaultKind::ClockDrift => (FaultClass::Clock, false),
            FaultKind::Kill
            | FaultKind::Restart
            | FaultKind::RestartStorm
            | FaultKind::RollingRestart
            | FaultKind::IoErrors
            | FaultKind::Upgrade
            | FaultKind::Downgrade => (FaultClass::Kill, forgets_on_kill),
            // What was written since the copy was taken is gone, and that is not noticed.
            FaultKind::RestoreDisk => (FaultClass::OldDisk, true),
            FaultKind::PowerCut => (FaultClass::Kill, store.durability != Durability::Commit),
            FaultKind::Wipe | FaultKind::Rot => (FaultClass::Kill, true),
            FaultKind::Join | FaultKind::Leave => (FaultClass::Membership, false),
            FaultKind::Remove | FaultKind::Replace => (FaultClass::Membership, true),
        };
        if loses {
            losers.extend(&fault.targets);
        }
        classes.push(class);
    }
    match losers.len() {
        0 => {}
        1 => classes.push(FaultClass::OneLoss),
        _ => classes.push(FaultClass::TwoLosses),
    }
    if classes.is_empty() {
        classes.push(FaultClass::Calm);
    }
    classes.sort();
    classes.dedup();
    classes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use std::time::Duration;

    use super::*;
    use crate::fault::{PlannedFault, Settings};

    fn cell(profile: &str, property: Property, classes: &[FaultClass]) -> Promise {
        promise(&StoreDefinition::profile(profile).unwrap(), property, classes)
    }

    #[test]
    fn a_store_whose_contexts_forget_promises_less() {
        let of = |actor_limit, property| {
            let store = StoreDefinition { actor_limit, ..StoreDefinition::profile("quorum").unwrap() };
            promise(&store, property, &[FaultClass::Calm])
        };
        assert_eq!(of(0, Property::NoFalseSibling), Promise::Holds);
        assert_eq!(of(3, Property::NoFalseSibling), Promise::Shows);
        assert_eq!(of(3, Property::NoLostWrite), Promise::May);
        assert_eq!(of(3, Property::Converged), Promise::Holds);
    }

    #[test]
    fn the_table_is_the_one_of_the_design() {
        use FaultClass::{Calm, Clock, Kill, Membership, Network, OldDisk, OneLoss, TwoLosses};
        use Promise::{Holds, May, Shows};
        let all = [Calm, Network, Kill, Clock, Membership, OneLoss, TwoLosses, OldDisk];
        for profile in ["always-write", "dynamo", "quorum", "lww"] {
            for class in all {
                for property in
                    [Property::NoPhantom, Property::Converged, Property::Available, Property::MembersSettle]
                {
                    assert_eq!(cell(profile, property, &[class]), Holds, "{profile} {property} {class:?}");
                }
                let siblings = cell(profile, Property::NoFalseSibling, &[class]);
                assert_eq!(siblings, if profile == "lww" { Promise::None } else { Holds });
                if profile == "lww" {
                    assert_eq!(cell(profile, Property::NoLostWrite, &[class]), Shows);
                }
            }
            for class in [Calm, Network, Kill, Clock, Membership] {
                if profile != "lww" {
                    assert_eq!(cell(profile, Property::NoLostWrite, &[class]), Holds, "{profile} {class:?}");
                }
            }
        }
        assert_eq!(cell("always-write", Property::NoLostWrite, &[OneLoss]), Shows);
        assert_eq!(cell("always-write", Property::NoLostWrite, &[OldDisk]), May);
        for profile in ["dynamo", "quorum"] {
            assert_eq!(cell(profile, Property::NoLostWrite, &[OneLoss]), Holds);
            assert_eq!(cell(profile, Property::NoLostWrite, &[OldDisk]), Holds);
            assert_eq!(cell(profile, Property::NoLostWrite, &[TwoLosses]), Shows);
        }
        let stale = Property::NoStaleRead;
        assert_eq!(
            (cell("always-write", stale, &[Calm]), cell("always-write", stale, &[Network])),
            (May, Shows)
        );
        assert_eq!((cell("dynamo", stale, &[Calm]), cell("dynamo", stale, &[Network])), (Holds, Shows));
        for class in [Network, Kill, Clock, Membership, OneLoss] {
            assert_eq!(cell("quorum", stale, &[class]), Holds);
        }
        assert_eq!((cell("quorum", stale, &[TwoLosses]), cell("quorum", stale, &[OldDisk])), (May, May));
        assert_eq!((cell("lww", stale, &[Network]), cell("lww", stale, &[Clock])), (Shows, Shows));
        assert_eq!(cell("always-write", Property::Linearizable, &[Kill]), Shows);
        assert_eq!(cell("dynamo", Property::Linearizable, &[Network]), May);
        assert_eq!(cell("quorum", Property::Linearizable, &[Network]), Shows);
        assert_eq!(cell("lww", Property::Linearizable, &[Clock]), Shows);
        let register = |property, class| cell("linearizable", property, &[class]);
        for class in all {
            let is_old = class == OldDisk;
            for property in [stale, Property::Linearizable] {
                assert_eq!(
                    register(property, class),
                    if is_old { May } else { Holds },
                    "{property} {class:?}"
                );
            }
            assert_eq!(register(Property::NoPhantom, class), Holds);
            assert_eq!(register(Property::NoFalseSibling, class), Promise::None);
            assert_eq!(register(Property::NoLostWrite, class), May, "a plain put overwrites");
            let healed = if class == TwoLosses { May } else { Holds };
            assert_eq!(
                (register(Property::Converged, class), register(Property::MembersSettle, class)),
                (healed, healed)
            );
            let calm = matches!(class, Calm | Network | Kill | Clock);
            assert_eq!(register(Property::Available, class), if calm { Holds } else { May });
        }
    }

    #[test]
    fn deletes_are_forgotten_in_the_end_where_a_store_says_so_and_only_there() {
        let collects =
            StoreDefinition { tombstone_collection: "1s".parse().unwrap(), ..StoreDefinition::default() };
        let (forgotten, classes) = (Property::TombstonesCollected, [FaultClass::Network, FaultClass::Kill]);
        assert_eq!(promise(&collects, forgotten, &classes), Promise::Holds);
        assert_eq!(cell("dynamo", forgotten, &classes), Promise::None);
    }

    #[test]
    fn the_weakest_cell_counts() {
        let keeps_to_itself =
            StoreDefinition { hinted_handoff: false, ..StoreDefinition::profile("dynamo").unwrap() };
        assert_eq!(promise(&keeps_to_itself, Property::NoLostWrite, &[]), Promise::May);
        let classes = [FaultClass::Network, FaultClass::Kill];
        assert_eq!(cell("dynamo", Property::NoStaleRead, &classes), Promise::Shows);
        assert_eq!(cell("quorum", Property::NoStaleRead, &classes), Promise::Holds);
        let hasty =
            StoreDefinition { durability: "interval:100ms".parse().unwrap(), ..StoreDefinition::default() };
        assert_eq!(promise(&hasty, Property::BoundedLoss, &classes), Promise::Holds);
        assert_eq!(
            cell("dynamo", Property::BoundedLoss, &classes),
            Promise::None,
            "nothing at all may be lost"
        );
        let off = StoreDefinition { anti_entropy: AntiEntropy::Off, ..StoreDefinition::default() };
        assert_eq!(promise(&off, Property::Converged, &classes), Promise::Shows);
    }

    #[test]
    fn whether_a_crash_loses_data_is_a_matter_of_durability() {
        let fault = |(number, &kind): (usize, &FaultKind)| PlannedFault {
            fault: number,
            kind,
            targets: vec![format!("n{}", number + 1)],
            joining: Vec::new(),
            from_ms: 0,
            until_ms: 1,
            settings: Settings::default(),
        };
        let classes = |kinds: &[FaultKind], durability| {
            let plan = Plan { faults: kinds.iter().enumerate().map(fault).collect() };
            fault_classes(&plan, &StoreDefinition { durability, ..StoreDefinition::default() })
        };
        let interval = Durability::Interval(Duration::from_millis(100));
        assert_eq!(classes(&[], Durability::Commit), [FaultClass::Calm]);
        assert_eq!(classes(&[FaultKind::PowerCut], Durability::Commit), [FaultClass::Kill]);
        assert_eq!(classes(&[FaultKind::PowerCut], interval), [FaultClass::Kill, FaultClass::OneLoss]);
        assert_eq!(
            classes(&[FaultKind::PowerCut, FaultKind::PowerCut, FaultKind::Hold], interval),
            [FaultClass::Network, FaultClass::Kill, FaultClass::TwoLosses]
        );
        assert_eq!(classes(&[FaultKind::Kill], interval), [FaultClass::Kill]);
        assert_eq!(classes(&[FaultKind::Wipe], Durability::Commit), [FaultClass::Kill, FaultClass::OneLoss]);
        assert_eq!(
            classes(&[FaultKind::Join, FaultKind::Leave], Durability::Commit),
            [FaultClass::Membership]
        );
        assert_eq!(
            classes(&[FaultKind::RestoreDisk], Durability::Commit),
            [FaultClass::OneLoss, FaultClass::OldDisk]
        );
        assert_eq!(
            classes(&[FaultKind::ClockJump, FaultKind::Ring], Durability::Commit),
            [FaultClass::Network, FaultClass::Clock]
        );
        assert_eq!(
            classes(&[FaultKind::Replace, FaultKind::Kill], Durability::Commit),
            [FaultClass::Kill, FaultClass::Membership, FaultClass::OneLoss]
        );
    }

    #[test]
    fn what_one_node_loses_twice_is_one_loss() {
        let rot = crate::scenario::Scenario::load("rot").unwrap();
        let random = quorate_env::Random::from_seed(1);
        let plan = Plan::draw(&rot, random, &|_| Vec::new());
        assert_eq!(plan.faults.len(), 2);
        for profile in ["dynamo", "quorum"] {
            let store = StoreDefinition::profile(profile).unwrap();
            let classes = fault_classes(&plan, &store);
            assert_eq!(classes, [FaultClass::Kill, FaultClass::OneLoss]);
            assert_eq!(promise(&store, Property::NoLostWrite, &classes), Promise::Holds, "{profile}");
        }
    }
}
