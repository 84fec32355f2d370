//! What some kinds of fault can be told besides whom, when and for how long.

use std::time::Duration;

use quorate_cluster::config::{ConfigError, format_duration};
use serde::{Deserialize, Serialize};

use super::FaultKind;
use crate::scenario::{bad, text};
use crate::words::words;

words! {
    /// Which messages a `one-way` fault loses, and which way a clock goes wrong.
    pub enum Direction {
        /// From the targets to the rest.
        Out = "out",
        /// From the rest to the targets.
        In = "in",
        /// Later than it is.
        Ahead = "ahead",
        /// Earlier than it is.
        Behind = "behind",
    }
}

/// The settings of one fault; what is not given has the kind's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// By how much: of `latency`, `slow-node` and `slow-disk` what messages and syncs take longer, of
    /// `reorder` what a message waits at most, default 100ms; of `clock-skew` and `clock-jump` how wrong the clock is, default 10s.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub add: Option<Duration>,
    /// For `one-way`: which messages are lost, default `out`. For clocks: which way, default `ahead`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// For `flapping`: the period, default 1s; half of it the partition is on. For `restart-storm`: from one
    /// to the next, default 1s. For `rolling-restart`: from one node to the next, default 3s.
    #[serde(with = "text::optional", skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// For `clock-drift`: how much too fast or too slow, as a part of the right speed, default 0.1. For
    /// `io-errors`: the part of operations that fail, default 0.05. For `loss` and `corrupt`: the part of
    /// segments that are lost or damaged, default 0.05 and 0.01.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// For `throttle`: bytes a second, default 20000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
    /// For `overload`: how many clients more, default 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<usize>,
}

/// Parts of a million in 1.
pub(super) const MILLION: f64 = 1e6;

/// The kinds that a setting is for, the first as its only example where they are many.
fn kinds_with(setting: &str) -> Vec<FaultKind> {
    FaultKind::ALL.iter().copied().filter(|kind| Settings::known(*kind).contains(&setting)).collect()
}

impl Settings {
    /// Their names in files.
    pub const NAMES: &[&str] = &["add", "direction", "every", "rate", "bandwidth", "clients"];

    /// Those that mean something for `kind`.
    fn known(kind: FaultKind) -> &'static [&'static str] {
        match kind {
            FaultKind::Latency | FaultKind::SlowNode | FaultKind::SlowDisk | FaultKind::Reorder => &["add"],
            FaultKind::OneWay => &["direction"],
            FaultKind::Flapping | FaultKind::RestartStorm | FaultKind::RollingRestart => &["every"],
            FaultKind::IoErrors | FaultKind::Loss | FaultKind::Corrupt => &["rate"],
            FaultKind::Throttle => &["bandwidth"],
            FaultKind::Overload => &["clients"],
            FaultKind::ClockSkew | FaultKind::ClockJump => &["add", "direction"],
            FaultKind::ClockDrift => &["rate", "direction"],
            _ => &[],
        }
    }

    /// Of these settings those that mean something for `kind`.
    #[must_use]
    pub(super) fn fitting(self, kind: FaultKind) -> Self {
        let known = Self::known(kind);
        let fits = |name: &str| known.contains(&name);
        Self {
            add: self.add.filter(|_| fits("add")),
            direction: self.direction.filter(|_| fits("direction")),
            every: self.every.filter(|_| fits("every")),
            rate: self.rate.filter(|_| fits("rate")),
            bandwidth: self.bandwidth.filter(|_| fits("bandwidth")),
            clients: self.clients.filter(|_| fits("clients")),
        }
    }

    /// By how much.
    #[must_use]
    pub fn add(&self, kind: FaultKind) -> Duration {
        let default = if kind.is_of_clocks() { Duration::from_secs(10) } else { Duration::from_millis(100) };
        self.add.unwrap_or(default)
    }

    /// Which way.
    #[must_use]
    pub fn direction(&self, kind: FaultKind) -> Direction {
        self.direction.unwrap_or(if kind.is_of_clocks() { Direction::Ahead } else { Direction::Out })
    }

    /// How often, in milliseconds.
    #[must_use]
    pub fn every_ms(&self, kind: FaultKind) -> u64 {
        let default = Duration::from_secs(if kind == FaultKind::RollingRestart { 3 } else { 1 });
        u64::try_from(self.every.unwrap_or(default).as_millis()).unwrap_or(u64::MAX)
    }

    /// How much, in millionths.
    #[must_use]
    pub fn rate_ppm(&self, kind: FaultKind) -> u32 {
        let default = match kind {
            FaultKind::IoErrors | FaultKind::Loss => 0.05,
            FaultKind::Corrupt => 0.01,
            _ => 0.1,
        };
        (self.rate.unwrap_or(default) * MILLION).round() as u32
    }

    /// Bytes a second.
    #[must_use]
    pub fn bandwidth(&self) -> u64 {
        self.bandwidth.unwrap_or(20_000)
    }

    /// How many clients more.
    #[must_use]
    pub fn clients(&self) -> usize {
        self.clients.unwrap_or(30)
    }

    /// Checks that everything given means something for `kind` and lies in its range.
    pub(super) fn validate(&self, kind: FaultKind) -> Result<(), ConfigError> {
        let given: [(&'static str, &'static str, Option<String>); 6] = [
            ("add", "fault.add", self.add.map(format_duration)),
            ("direction", "fault.direction", self.direction.map(|d| d.to_string())),
            ("every", "fault.every", self.every.map(format_duration)),
            ("rate", "fault.rate", self.rate.map(|rate| rate.to_string())),
            ("bandwidth", "fault.bandwidth", self.bandwidth.map(|bytes| bytes.to_string())),
            ("clients", "fault.clients", self.clients.map(|clients| clients.to_string())),
        ];
        for (setting, field, value) in given {
            if let Some(value) = value.filter(|_| !Self::known(kind).contains(&setting)) {
                let others: Vec<String> = kinds_with(setting).iter().map(ToString::to_string).collect();
                return bad(
                    field,
                    &value,
                    &format!("means nothing for a {kind}; it is for {}", others.join(", ")),
                );
            }
        }
        let (least, most) =
            (Duration::from_millis(1), Duration::from_secs(if kind.is_of_clocks() { 3_600 } else { 60 }));
        if let Some(add) = self.add.filter(|add| *add < least || *add > most) {
            let range = format!("choose {} to {}", format_duration(least), format_duration(most));
            return bad("fault.add", &format_duration(add), &range);
        }
        if let Some(direction) = self.direction {
            let of_clocks = matches!(direction, Direction::Ahead | Direction::Behind);
            if of_clocks != kind.is_of_clocks() {
                let choice = if kind.is_of_clocks() { "ahead or behind" } else { "out or in" };
                return bad("fault.direction", &direction, &format!("for a {kind} choose {choice}"));
            }
        }
        if let Some(every) = self.every.filter(|every| *every < Duration::from_millis(20)) {
            return bad("fault.every", &format_duration(every), "choose at least 20ms");
        }
        if let Some(rate) = self.rate {
            let most = if kind == FaultKind::IoErrors { 1.0 } else { 0.5 };
            if !(rate >= 1.0 / MILLION && rate <= most) {
                return bad("fault.rate", &rate, &format!("a part: more than 0, at most {most}"));
            }
        }
        if let Some(bytes) = self.bandwidth.filter(|bytes| *bytes < 1_000) {
            return bad(
                "fault.bandwidth",
                &bytes,
                "choose at least 1000 bytes a second: nothing got through",
            );
        }
        if let Some(clients) = self.clients.filter(|clients| !(1..=500).contains(clients)) {
            return bad("fault.clients", &clients, "choose 1 to 500");
        }
        Ok(())
    }
}
