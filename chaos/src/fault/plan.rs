//! What one run does: every target named, every time fixed.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_env::{Random, RandomStream};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{ClockEffect, Direction, FaultKind, FaultSpec, Hosts, Settings, Targets};
use crate::scenario::{RandomFaults, Scenario};

/// A fault of one run. Times are milliseconds from the start of the load.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedFault {
    /// Its number, in order of `from_ms`.
    pub fault: usize,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Nodes and client hosts, sorted.
    pub targets: Vec<String>,
    /// Spare nodes that a `join` or `replace` starts, sorted.
    pub joining: Vec<String>,
    /// When it begins.
    pub from_ms: u64,
    /// When it is healed; changes of the members never are, and end here as they begin.
    pub until_ms: u64,
    /// What else there is to say.
    pub settings: Settings,
}

impl PlannedFault {
    /// Everybody it concerns, sorted: targets and spare nodes.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.targets.iter().chain(&self.joining).cloned().collect();
        hosts.sort();
        hosts
    }

    /// When it is on, as (from, until) in milliseconds, in order: once, unless it comes and goes.
    #[must_use]
    pub fn strikes(&self) -> Vec<(u64, u64)> {
        let every = self.settings.every_ms(self.kind).max(2);
        match self.kind {
            FaultKind::RestartStorm => {
                let count = (self.until_ms - self.from_ms) / every + 1;
                (0..count).map(|i| (self.from_ms + i * every, self.from_ms + i * every)).collect()
            }
            FaultKind::RollingRestart => {
                let times = (0..self.targets.len() as u64).map(|i| self.from_ms + i * every);
                times.take_while(|at| *at <= self.until_ms).map(|at| (at, at)).collect()
            }
            FaultKind::Flapping => {
                let count = (self.until_ms - self.from_ms).div_ceil(every).max(1);
                let strike = |i: u64| {
                    let from = self.from_ms + i * every;
                    (from, (from + every / 2).min(self.until_ms))
                };
                (0..count).map(strike).collect()
            }
            _ => vec![(self.from_ms, self.until_ms)],
        }
    }

    /// Whether it is over at some time that is known before.
    #[must_use]
    pub fn is_healed(&self) -> bool {
        let stays_wrong = self.kind == FaultKind::ClockJump && self.from_ms == self.until_ms;
        !self.kind.changes_members() && !stays_wrong
    }

    /// By how much.
    #[must_use]
    pub fn add(&self) -> Duration {
        self.settings.add(self.kind)
    }

    /// How much, in millionths.
    #[must_use]
    pub fn rate_ppm(&self) -> u32 {
        self.settings.rate_ppm(self.kind)
    }

    /// Which way.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.settings.direction(self.kind)
    }

    /// What it does to clocks, if it is about clocks.
    #[must_use]
    pub fn clock(&self) -> ClockEffect {
        let sign = if self.direction() == Direction::Behind { -1 } else { 1 };
        match self.kind {
            FaultKind::ClockDrift => ClockEffect::Drift(sign * i64::from(self.rate_ppm())),
            _ => ClockEffect::Offset(sign * i64::try_from(self.add().as_nanos()).unwrap_or(i64::MAX)),
        }
    }
}

/// Begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The fault begins.
    Begin,
    /// It is healed; of a change of the members: every member is in the view that it made.
    End,
}

/// One line of `faults.jsonl`: something was done to the world. A fault that comes and goes begins and ends
/// several times; `strike` among its `params` counts them from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultEvent {
    /// The planned fault's number.
    pub fault: usize,
    /// Whether it begins or ends.
    pub event: Phase,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Who is hit.
    pub targets: Vec<String>,
    /// When, in nanoseconds on the clock of the history.
    pub at_ns: u64,
    /// What else there is to say of it, such as that there was nothing to do.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
}

impl FaultEvent {
    /// Which time it was, from 1, of a fault that comes and goes.
    #[must_use]
    pub fn strike(&self) -> &str {
        self.params.get(STRIKE).map_or("1", String::as_str)
    }
}

/// The name among [`FaultEvent::params`] of what [`FaultEvent::strike`] gives.
pub(crate) const STRIKE: &str = "strike";

/// All faults of one run, in order of their beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The faults.
    pub faults: Vec<PlannedFault>,
}

impl Plan {
    /// Draws what the scenario leaves open from `random`. `owners_of` names the nodes that own a key.
    #[must_use]
    pub fn draw(scenario: &Scenario, random: Random, owners_of: &dyn Fn(&str) -> Vec<String>) -> Self {
        let random = random.child("faults");
        let nodes: Vec<String> = scenario.cluster.node_names().collect();
        let spares: Vec<String> = scenario.cluster.spare_names().collect();
        let clients: Vec<String> = scenario.workload.hosts().collect();
        let load = scenario.workload.duration;
        let hosts =
            Hosts { nodes: &nodes, spares: &spares, clients: &clients, zones: &scenario.cluster.zones };
        let listed = scenario.fault.iter().enumerate().map(|(i, spec)| {
            let mut stream = random.stream(&format!("listed-{i}"));
            (spec.clone(), choose(&spec.targets, spec.kind, &hosts, owners_of, &mut stream))
        });
        let drawn = scenario.faults.iter().flat_map(|section| {
            let hosts = &hosts;
            (0..section.count).map(move |i| {
                let mut stream = random.stream(&format!("drawn-{i}"));
                let mut spec = draw_spec(section, section.over(load), &mut stream);
                let targets = choose(&spec.targets, spec.kind, hosts, owners_of, &mut stream);
                draw_settings(&mut spec, &mut random.stream(&format!("drawn-{i}-settings")));
                (spec, targets)
            })
        });
        let mut faults: Vec<PlannedFault> = listed
            .chain(drawn)
            .map(|(spec, targets)| {
                let lasts = match spec.kind {
                    // One node after the other, until all have had their turn.
                    FaultKind::RollingRestart => {
                        let turns = targets.len().saturating_sub(1) as u64;
                        Duration::from_millis(turns * spec.settings.every_ms(spec.kind))
                    }
                    kind if kind.is_instant() => Duration::ZERO,
                    _ => spec.lasts,
                };
                let starts = |name: &String| spec.kind.starts_spares() && spares.contains(name);
                let (joining, targets) = targets.into_iter().partition(starts);
                PlannedFault {
                    fault: 0,
                    kind: spec.kind,
                    targets,
                    joining,
                    from_ms: millis(spec.at),
                    // Healing is never later than the end of the load: what follows is the judging.
                    until_ms: millis((spec.at + lasts).min(load)),
                    settings: spec.settings,
                }
            })
            .collect();
        // Stable: faults of the same instant keep the order of the file.
        faults.sort_by_key(|f| f.from_ms);
        for (i, fault) in faults.iter_mut().enumerate() {
            fault.fault = i;
        }
        assign(&mut faults, &nodes, &spares);
        Self { faults }
    }

    /// The plan as a scenario file lists it, with nothing left to draw.
    #[must_use]
    pub fn to_specs(&self) -> Vec<FaultSpec> {
        self.faults
            .iter()
            .map(|fault| FaultSpec {
                kind: fault.kind,
                targets: Targets::Names(fault.hosts()),
                at: Duration::from_millis(fault.from_ms),
                lasts: match fault.kind {
                    FaultKind::RollingRestart => Duration::ZERO,
                    _ => Duration::from_millis(fault.until_ms - fault.from_ms),
                },
                settings: fault.settings,
            })
            .collect()
    }

    /// All beginnings and ends in the order to do them: by time, and at one instant ends before
    /// beginnings, except of one and the same fault. A change of the members has a beginning only: when
    /// it is over is up to the cluster.
    #[must_use]
    pub fn schedule(&self) -> Vec<Due> {
        let mut events: Vec<(u64, u8, Due)> = Vec::new();
        for (fault, planned) in self.faults.iter().enumerate() {
            for (strike, (from_ms, until_ms)) in planned.strikes().into_iter().enumerate() {
                let due = |at_ms, phase| Due { at_ms, phase, fault, strike };
                events.push((from_ms, 1, due(from_ms, Phase::Begin)));
                if planned.is_healed() {
                    let order = if from_ms == until_ms { 2 } else { 0 };
                    events.push((until_ms, order, due(until_ms, Phase::End)));
                }
            }
        }
        events.sort_by_key(|(at, order, due)| (*at, *order, due.fault));
        events.into_iter().map(|(.., due)| due).collect()
    }
}

/// Something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// When, in milliseconds from the start of the load.
    pub at_ms: u64,
    /// Whether the fault begins or ends.
    pub phase: Phase,
    /// The fault's number.
    pub fault: usize,
    /// Which time it is, from 0, of a fault that comes and goes.
    pub strike: usize,
}

/// Gives every `join` and `replace` that names no spare node the next one, and takes care that no
/// node goes twice: who has gone already is replaced by the next member that has not.
fn assign(faults: &mut [PlannedFault], nodes: &[String], spares: &[String]) {
    let named: Vec<String> = faults.iter().flat_map(|f| f.joining.clone()).collect();
    let mut free = spares.iter().filter(|spare| !named.contains(spare));
    let mut gone: Vec<String> = Vec::new();
    for fault in faults.iter_mut().filter(|f| f.kind.changes_members()) {
        for target in &mut fault.targets {
            if gone.contains(target)
                && let Some(at) = nodes.iter().position(|node| node == target)
                && let Some(next) = (1..nodes.len())
                    .map(|step| &nodes[(at + step) % nodes.len()])
                    .find(|node| !gone.contains(node))
            {
                target.clone_from(next);
            }
            gone.push(target.clone());
        }
        fault.targets.sort();
        if fault.kind.starts_spares() && fault.joining.is_empty() {
            let count = fault.targets.len().max(1);
            fault.joining = free.by_ref().take(count).cloned().collect();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn draw_spec(section: &RandomFaults, load: Duration, stream: &mut RandomStream) -> FaultSpec {
    let kind = section.random[stream.random_range(0..section.random.len())];
    let lasts = stream.random_range(millis(section.for_min)..=millis(section.for_max));
    let latest = millis(load).saturating_sub(lasts).max(1);
    let at = stream.random_range(0..latest);
    let add = stream.random_range(20..=300);
    let direction = if stream.random_bool(0.5) { Direction::Out } else { Direction::In };
    let add = Some(Duration::from_millis(add));
    let settings = Settings { add, direction: Some(direction), ..Settings::default() }.fitting(kind);
    FaultSpec {
        kind,
        targets: Targets::Random,
        at: Duration::from_millis(at),
        lasts: Duration::from_millis(lasts),
        settings,
    }
}

/// Draws what the kinds that came later can be told, from a stream of its own: the others keep their draws.
fn draw_settings(spec: &mut FaultSpec, stream: &mut RandomStream) {
    let kind = spec.kind;
    let ms = Duration::from_millis;
    let mut drawn = spec.settings;
    if kind.is_of_clocks() {
        drawn.add = Some(ms(stream.random_range(50..=15_000)));
        let ahead = stream.random_bool(0.5);
        drawn.direction = Some(if ahead { Direction::Ahead } else { Direction::Behind });
    }
    let most = millis(spec.lasts).max(100);
    drawn.every = Some(ms(stream.random_range(100..=2_000).min(most)));
    // Whole thousandths, so that what is written is what was drawn.
    drawn.rate = Some(f64::from(stream.random_range(10..=300_u32)) / 1_000.0);
    drawn.bandwidth = Some(stream.random_range(5_000..=100_000));
    drawn.clients = Some(stream.random_range(10..=40));
    spec.settings = drawn.fitting(kind);
}

fn choose(
    targets: &Targets,
    kind: FaultKind,
    hosts: &Hosts<'_>,
    owners_of: &dyn Fn(&str) -> Vec<String>,
    stream: &mut RandomStream,
) -> Vec<String> {
    let nodes = hosts.nodes;
    let minority = ((nodes.len() - 1) / 2).max(1);
    let majority = nodes.len() / 2 + 1;
    let mut chosen = match targets {
        // A spare node, which is given out once all faults are known.
        Targets::One if kind == FaultKind::Join => Vec::new(),
        Targets::One => sample(nodes, 1, stream),
        Targets::Minority => sample(nodes, minority, stream),
        Targets::Majority => sample(nodes, majority, stream),
        Targets::Halves => sample(nodes, nodes.len() / 2, stream),
        Targets::All => nodes.to_vec(),
        Targets::PrimariesOf(key) => owners_of(key),
        Targets::Zone(zone) => hosts.of_zone(zone),
        Targets::Names(names) => names.clone(),
        Targets::Random if kind == FaultKind::Bridge => sample(nodes, 1, stream),
        Targets::Random if kind == FaultKind::Ring => nodes.to_vec(),
        Targets::Random => {
            let count = stream.random_range(1..=minority);
            let mut chosen = sample(nodes, count, stream);
            if !kind.is_on_nodes() && stream.random_bool(1.0 / 3.0) {
                chosen.extend(sample(hosts.clients, 1, stream));
            }
            chosen
        }
    };
    chosen.sort();
    chosen.dedup();
    chosen
}

/// `count` of `names`, each set equally likely.
fn sample(names: &[String], count: usize, stream: &mut RandomStream) -> Vec<String> {
    let mut left = names.to_vec();
    (0..count.min(names.len())).map(|_| left.swap_remove(stream.random_range(0..left.len()))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn scenario(faults: &str) -> Scenario {
        Scenario::from_toml(&format!("[workload]\nduration = \"20s\"\n{faults}"), "test", "test").unwrap()
    }

    fn draw(scenario: &Scenario, seed: u64) -> Plan {
        Plan::draw(scenario, Random::from_seed(seed), &|key| vec![format!("owner-of-{key}")])
    }

    const FIVE: &str = "[faults]\nrandom = [\"partition\", \"kill\", \"latency\"]\ncount = 5\n";

    #[test]
    fn a_plan_depends_on_the_seed_alone() {
        let scenario = scenario(FIVE);
        assert_eq!(draw(&scenario, 7), draw(&scenario, 7));
        assert_ne!(draw(&scenario, 7), draw(&scenario, 8));
    }

    #[test]
    fn taking_a_fault_away_changes_no_other() {
        let five = draw(&scenario(FIVE), 3);
        let four = draw(&scenario(&FIVE.replace("= 5", "= 4")), 3);
        let plain = |f: &PlannedFault| PlannedFault { fault: 0, ..f.clone() };
        let five: Vec<_> = five.faults.iter().map(plain).collect();
        assert_eq!(four.faults.len(), 4);
        assert!(four.faults.iter().map(plain).all(|f| five.contains(&f)));
    }

    #[test]
    fn targets_are_chosen_as_named() {
        let chosen = |targets: &str| {
            let faults =
                format!("[[fault]]\nkind = \"partition\"\nat = \"1s\"\nfor = \"30s\"\ntargets = {targets}\n");
            draw(&scenario(&faults), 5).faults.remove(0)
        };
        assert_eq!(chosen("\"one\"").targets.len(), 1);
        assert_eq!(chosen("\"minority\"").targets.len(), 2);
        assert_eq!(chosen("\"majority\"").targets.len(), 3);
        assert_eq!(chosen("\"primaries-of k1\"").targets, ["owner-of-k1"]);
        assert_eq!(chosen("[\"n2\", \"c1\"]").targets, ["c1", "n2"]);
        assert_eq!(chosen("\"one\"").until_ms, 20_000, "healed when the load ends");
    }

    #[test]
    fn the_explicit_form_of_a_plan_gives_the_same_plan() {
        let kinds = FaultKind::ALL.iter().filter(|kind| kind.is_for_chance());
        let kinds: Vec<String> = kinds.map(|kind| format!("\"{kind}\"")).collect();
        let all = format!("[faults]\nrandom = [{}]\ncount = 20\n", kinds.join(", "));
        for seed in 0..20 {
            let mut scenario = scenario(&all);
            let plan = draw(&scenario, seed);
            scenario.fault = plan.to_specs();
            scenario.faults = None;
            let written = Scenario::from_toml(&scenario.to_toml(), "test", "test").unwrap();
            assert_eq!(draw(&written, 99), plan);
        }
    }

    #[test]
    fn spare_nodes_are_given_out_in_order_and_nobody_goes_twice() {
        let toml = "[cluster]\nspares = 3\n[workload]\nduration = \"20s\"\n[[fault]]\nkind = \"replace\"\ntargets = [\"n2\"]\nat = \"3s\"\n\
                    [[fault]]\nkind = \"join\"\ntargets = \"one\"\nat = \"1s\"\n\
                    [[fault]]\nkind = \"leave\"\ntargets = \"one\"\nat = \"5s\"\n";
        let mut scenario = Scenario::from_toml(toml, "test", "test").unwrap();
        for seed in 0..20 {
            let plan = draw(&scenario, seed);
            let [join, replace, leave] = plan.faults.as_slice() else { panic!("{plan:?}") };
            assert_eq!((join.targets.len(), join.joining.as_slice()), (0, ["n6".to_owned()].as_slice()));
            assert_eq!(replace.hosts(), ["n2", "n7"]);
            assert!(leave.targets != ["n2"] && leave.joining.is_empty());
            assert_eq!(plan.schedule().len(), 3, "a change of the members is not healed");
            let mut explicit = scenario.clone();
            explicit.fault = plan.to_specs();
            assert_eq!(draw(&explicit, 99), plan);
        }
        scenario.fault.clear();
        assert_eq!(draw(&scenario, 1), Plan::default());
    }

    #[test]
    fn a_partition_that_flaps_is_on_for_half_of_each_period() {
        let fault = "[[fault]]\nkind = \"flapping\"\nat = \"1s\"\nfor = \"1300ms\"\nevery = \"400ms\"\ntargets = \"one\"\n";
        let plan = draw(&scenario(fault), 1);
        let strikes = plan.faults[0].strikes();
        assert_eq!(strikes, [(1_000, 1_200), (1_400, 1_600), (1_800, 2_000), (2_200, 2_300)]);
        let schedule = plan.schedule();
        let phases: Vec<(Phase, usize)> = schedule.iter().map(|due| (due.phase, due.strike)).collect();
        let expected: Vec<_> = (0..4).flat_map(|i| [(Phase::Begin, i), (Phase::End, i)]).collect();
        assert_eq!(phases, expected);
    }

    #[test]
    fn restarts_come_in_quick_succession_or_node_by_node() {
        let strikes = |fault: &str| {
            let fault = format!("[[fault]]\nat = \"1s\"\n{fault}");
            draw(&scenario(&fault), 1).faults.remove(0).strikes()
        };
        let storm = "kind = \"restart-storm\"\ntargets = \"one\"\nfor = \"1s\"\nevery = \"400ms\"\n";
        assert_eq!(strikes(storm), [(1_000, 1_000), (1_400, 1_400), (1_800, 1_800)]);
        let rolling = "kind = \"rolling-restart\"\ntargets = [\"n4\", \"n2\"]\nevery = \"400ms\"\n";
        assert_eq!(strikes(rolling), [(1_000, 1_000), (1_400, 1_400)]);
    }

    #[test]
    fn a_clock_may_stay_wrong() {
        let jump = |rest: &str| {
            let fault = format!("[[fault]]\nkind = \"clock-jump\"\nat = \"1s\"\ntargets = \"one\"\n{rest}");
            draw(&scenario(&fault), 1).schedule().len()
        };
        assert_eq!((jump(""), jump("for = \"2s\"\n")), (1, 2));
    }

    #[test]
    fn zones_and_halves_are_targets() {
        let zones = "[cluster]\nnodes = 5\nzones = [\"a\", \"b\", \"a\", \"b\", \"b\"]\n[[fault]]\nkind = \"partition\"\n\
                     at = \"1s\"\nfor = \"1s\"\ntargets = ";
        let chosen = |targets: &str| {
            let scenario = Scenario::from_toml(&format!("{zones}{targets}\n"), "test", "test").unwrap();
            draw(&scenario, 1).faults.remove(0).targets
        };
        assert_eq!(chosen("\"zone a\""), ["n1", "n3"]);
        assert_eq!(chosen("\"halves\"").len(), 2);
    }

    #[test]
    fn every_fault_begins_before_it_ends() {
        for seed in 0..50 {
            let plan = draw(&scenario(&FIVE.replace("\"kill\"", "\"restart\"")), seed);
            let schedule = plan.schedule();
            assert_eq!(schedule.len(), 10);
            assert!(schedule.windows(2).all(|w| w[0].at_ms <= w[1].at_ms));
            for i in 0..5 {
                let begin = schedule.iter().position(|e| e.phase == Phase::Begin && e.fault == i).unwrap();
                let end = schedule.iter().position(|e| e.phase == Phase::End && e.fault == i).unwrap();
                assert!(begin < end);
            }
        }
    }
}
