//! The kinds of faults, and what follows from the kind alone.

use quorate_cluster::rpc::{PROTOCOL_NEWEST, PROTOCOL_OLDEST};

use crate::words::words;

words! {
    /// What goes wrong.
    pub enum FaultKind {
        /// Messages between the targets and the rest are lost, both ways.
        Partition = "partition",
        /// Messages between the targets and the rest are kept back, then all delivered: an outage
        /// that connections survive.
        Hold = "hold",
        /// Messages from the targets (or to them, by `direction`) are lost, the others arrive.
        OneWay = "one-way",
        /// `kill -9`; started again at the end.
        Kill = "kill",
        /// `kill -9`, and started again at once.
        Restart = "restart",
        /// Power is cut: nobody hears of it and what was not synced is lost. Started again at the end.
        PowerCut = "power-cut",
        /// Every message of the targets takes longer by `add`.
        Latency = "latency",
        /// Like `latency`, and the targets' disks sync more slowly by `add`.
        SlowNode = "slow-node",
        /// Power is cut and the disk is gone: the node comes back at the end with an empty one.
        Wipe = "wipe",
        /// Some bytes of what the targets have stored turn into others, unnoticed; the nodes run on.
        Rot = "rot",
        /// A spare node is started and made a member.
        Join = "join",
        /// A member is asked to leave; its process goes on, to hand over what it holds.
        Leave = "leave",
        /// A member's power is cut for good, and it is removed as dead.
        Remove = "remove",
        /// A member is removed like that, and a spare node joins.
        Replace = "replace",
        /// `kill -9`, and started again at once to speak the newest peer protocol.
        Upgrade = "upgrade",
        /// `kill -9`, and started again at once, held back to the oldest peer protocol.
        Downgrade = "downgrade",
        /// A partition into two halves that only the target still sees both of.
        Bridge = "bridge",
        /// Every target sees only its two neighbours among the targets, by the order of their names.
        Ring = "ring",
        /// Every target is cut off from everyone else, the other targets too.
        Isolate = "isolate",
        /// A partition that comes and goes: on for half of each period `every`, then off.
        Flapping = "flapping",
        /// The targets' time of day is wrong by `add` for a while.
        ClockSkew = "clock-skew",
        /// The targets' time of day is set wrong by `add` at once, for good or for a while.
        ClockJump = "clock-jump",
        /// The targets' time of day goes too fast (or too slow) by the part `rate`, and is set right at
        /// the end.
        ClockDrift = "clock-drift",
        /// The targets' disks have no space left for a while.
        DiskFull = "disk-full",
        /// Of what the targets ask of their disks the part `rate` fails, by chance; at the end they are
        /// killed and started again on a sound disk.
        IoErrors = "io-errors",
        /// The targets' disks sync more slowly by `add`.
        SlowDisk = "slow-disk",
        /// At the end the targets are killed and started again with what their disks held at the
        /// beginning.
        RestoreDisk = "restore-disk",
        /// The part `rate` of what goes over the targets' links is lost and has to be sent again.
        Loss = "loss",
        /// The part `rate` of what goes over the targets' links arrives damaged.
        Corrupt = "corrupt",
        /// Over each link of the targets, each way, only `bandwidth` bytes get through in a second.
        Throttle = "throttle",
        /// Messages of quorum operations to and from the targets as replicas overtake each other: each waits
        /// up to `add`.
        Reorder = "reorder",
        /// As SIGSTOP does it: the targets do nothing, their connections stay, then they go on.
        Pause = "pause",
        /// `kill -9` and started again at once, time and again, every `every`.
        RestartStorm = "restart-storm",
        /// Each of the targets in turn, every `every`: `kill -9`, and started again at once.
        RollingRestart = "rolling-restart",
        /// The targets are asked by `clients` more clients, who hardly pause, for a while.
        Overload = "overload",
    }
}

impl FaultKind {
    /// Whether its targets must be nodes: clients' hosts have links, but nothing to kill.
    #[must_use]
    pub fn is_on_nodes(self) -> bool {
        match self {
            Self::Partition
            | Self::Hold
            | Self::OneWay
            | Self::Latency
            | Self::Isolate
            | Self::Flapping
            | Self::Loss
            | Self::Corrupt
            | Self::Throttle => false,
            Self::Kill
            | Self::Restart
            | Self::PowerCut
            | Self::SlowNode
            | Self::Wipe
            | Self::Rot
            | Self::Join
            | Self::Leave
            | Self::Remove
            | Self::Replace
            | Self::Upgrade
            | Self::Downgrade
            | Self::Bridge
            | Self::Ring
            | Self::ClockSkew
            | Self::ClockJump
            | Self::ClockDrift
            | Self::DiskFull
            | Self::IoErrors
            | Self::SlowDisk
            | Self::RestoreDisk
            | Self::Reorder
            | Self::Pause
            | Self::RestartStorm
            | Self::RollingRestart
            | Self::Overload => true,
        }
    }

    /// Whether it asks for a change of the members. Such a fault is not healed: it is over when
    /// every member is in the view that it made.
    #[must_use]
    pub fn changes_members(self) -> bool {
        matches!(self, Self::Join | Self::Leave | Self::Remove | Self::Replace)
    }

    /// Whether it starts spare nodes.
    #[must_use]
    pub fn starts_spares(self) -> bool {
        matches!(self, Self::Join | Self::Replace)
    }

    /// Whether its targets never run again.
    #[must_use]
    pub fn is_for_good(self) -> bool {
        matches!(self, Self::Remove | Self::Replace)
    }

    /// Whether nothing that a target sent or was sent arrives any more, and what it had not synced
    /// is lost.
    #[must_use]
    pub fn cuts_power(self) -> bool {
        matches!(self, Self::PowerCut | Self::Wipe) || self.is_for_good()
    }

    /// Whether it has a beginning only.
    #[must_use]
    pub fn is_instant(self) -> bool {
        matches!(self, Self::Restart | Self::Rot) || self.speaks().is_some() || self.changes_members()
    }

    /// Whether it may go without `for`: it has a beginning only, or may be meant for good.
    #[must_use]
    pub fn may_have_no_end(self) -> bool {
        self.is_instant() || matches!(self, Self::ClockJump | Self::RollingRestart)
    }

    /// The newest peer protocol that its targets speak from their next start on, if it changes that.
    #[must_use]
    pub fn speaks(self) -> Option<u32> {
        match self {
            Self::Upgrade => Some(PROTOCOL_NEWEST),
            Self::Downgrade => Some(PROTOCOL_OLDEST),
            _ => None,
        }
    }

    /// Whether it is about the time of day.
    #[must_use]
    pub fn is_of_clocks(self) -> bool {
        matches!(self, Self::ClockSkew | Self::ClockJump | Self::ClockDrift)
    }

    /// Whether it is about what a store keeps on its disk, so that there must be something there.
    #[must_use]
    pub fn is_of_disks(self) -> bool {
        matches!(self, Self::Rot | Self::DiskFull | Self::IoErrors | Self::SlowDisk | Self::RestoreDisk)
    }

    /// Whether it divides hosts into sides, so that somebody must be left on the other one.
    #[must_use]
    pub fn has_sides(self) -> bool {
        matches!(self, Self::Partition | Self::Hold | Self::OneWay | Self::Flapping)
    }

    /// Whether it can be drawn at random: how many nodes may lose their data or go is a matter of the
    /// whole plan, not of chance.
    #[must_use]
    pub fn is_for_chance(self) -> bool {
        !self.changes_members() && !matches!(self, Self::Wipe | Self::Rot | Self::RestoreDisk)
    }
}
