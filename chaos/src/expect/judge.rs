//! The judging of one run: every checker that fits the store, weighed by the promise table.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_check::availability::Window;
use quorate_check::history::{History, LineError, Operation, Outcome};
use quorate_check::{Kind, Model, NotJudged, Options, Report, Verdict, Violation, check};
use quorate_cluster::config::{Conflict, StoreDefinition, Timing};
use quorate_cluster::marks::Mark;
use serde::{Deserialize, Serialize};

use super::core::unserved;
use super::late::late_losses;
use super::{
    Availability, FaultClass, Owed, Promise, Property, Sight, fault_classes, judge_availability, promise,
};
use crate::fault::{Plan, PlannedFault, Span, Timeline};
use crate::members::Era;
use crate::scenario::Scenario;
use crate::workload::Rest;
use crate::world::Played;

/// Violations of one kind that a verdict lists; all are counted.
const LISTED_MAX: usize = 10;

/// How one property fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PropertyVerdict {
    /// The property.
    pub property: Property,
    /// What was promised of it under the faults of the run.
    pub promise: Promise,
    /// How often it was broken.
    pub broken: u64,
}

impl PropertyVerdict {
    /// Whether a promise was broken.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.promise == Promise::Holds && self.broken > 0
    }
}

/// What became of one run. Holds no wall-clock values: a replay gives the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunVerdict {
    /// The scenario's name.
    pub scenario: String,
    /// The store's name.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// `invalid` if a promise was broken, `unknown` if something could not be judged, else `valid`.
    pub verdict: Verdict,
    /// Classes of faults of the run.
    pub classes: Vec<FaultClass>,
    /// Every property in the order of the promise table.
    pub properties: Vec<PropertyVerdict>,
    /// How often each thing was seen that a scenario may have to show.
    pub seen: BTreeMap<String, u64>,
    /// How often each rare state of the nodes was reached that was; none where nobody can count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marks: Option<BTreeMap<String, u64>>,
    /// Operations of clients, final reads included.
    pub operations: usize,
    /// Keys that they were about.
    pub keys: usize,
    /// Whether the store came to rest after healing.
    pub rest: Rest,
    /// The change of the members that was still not over when nobody waited for it any more, and how
    /// far it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck_change: Option<String>,
    /// Why deletes were not forgotten although the store says that they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncollected: Option<String>,
    /// What the core did not serve, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unserved: Vec<String>,
    /// Operations that clients were told of as done, by the era that they fell into whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acknowledged_by_era: Vec<u64>,
    /// How puts fared.
    pub availability: Availability,
    /// How many violations of each kind there are, promised or not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub violation_counts: BTreeMap<String, u64>,
    /// What was broken, promised or not, at most ten of a kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
    /// What could not be judged, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_judged: Vec<NotJudged>,
}

impl RunVerdict {
    /// The promises that were broken.
    pub fn violated(&self) -> impl Iterator<Item = &PropertyVerdict> {
        self.properties.iter().filter(|p| p.is_violated())
    }

    /// How often the nodes were in a rare state.
    #[must_use]
    pub fn reached(&self, mark: Mark) -> u64 {
        self.marks.as_ref().and_then(|marks| marks.get(mark.as_str())).copied().unwrap_or(0)
    }

    /// How often `sight` was seen.
    #[must_use]
    pub fn seen(&self, sight: Sight) -> u64 {
        self.seen.get(sight.as_str()).copied().unwrap_or(0)
    }
}

/// Judges what was played.
///
/// # Errors
/// If the history breaks a rule of its own format: a bug of the harness.
pub fn judge(
    scenario: &Scenario,
    store: &StoreDefinition,
    seed: u64,
    plan: &Plan,
    played: &Played,
    partition_of: &dyn Fn(&str) -> u32,
) -> Result<RunVerdict, (usize, LineError)> {
    let history = History::from_operations(&played.operations)?;
    let mut found = Found::default();
    found.check(&history, store);
    let (availability, denied) = judge_puts(scenario, store, plan, played, &history, partition_of);
    found.violations.extend(denied);
    let late = late_losses(store, &played.operations, &played.events, &found.violations);
    // To the front, so that they are among those that are listed.
    for (place, position) in late.iter().enumerate() {
        let violation = found.violations.remove(*position);
        found.violations.insert(place, violation);
    }
    let unserved = scenario.core.as_ref().map(|core| unserved(core, &scenario.workload, played));
    let unserved = unserved.unwrap_or_default();
    let classes = fault_classes(plan, store);
    let demanded = scenario.expect.holds_for(&store.name);
    let mut properties = weigh(store, &classes, &found.violations);
    for fared in &mut properties {
        if demanded.contains(&fared.property) {
            fared.promise = Promise::Holds;
        }
        match fared.property {
            Property::BoundedLoss => fared.broken = late.len() as u64,
            Property::TombstonesCollected => fared.broken = u64::from(played.uncollected.is_some()),
            Property::CoreServes => match &scenario.core {
                Some(_) => fared.broken = unserved.len() as u64,
                None => fared.promise = Promise::None,
            },
            Property::MembersSettle => fared.broken = u64::from(played.stuck_change.is_some()),
            Property::Converged => fared.broken += u64::from(matches!(played.rest, Rest::NotReached(_))),
            _ => {}
        }
    }
    for read in &played.final_reads_failed {
        found.verdict = found.verdict.merge(Verdict::Unknown);
        found.not_judged.push(NotJudged { what: "final reads".into(), why: read.clone() });
    }
    let invalid = properties.iter().any(PropertyVerdict::is_violated);
    Ok(RunVerdict {
        scenario: scenario.name.clone(),
        profile: store.name.clone(),
        seed,
        verdict: if invalid { Verdict::Invalid } else { found.verdict },
        classes,
        properties,
        seen: found.seen(&availability),
        marks: played.marks.clone(),
        operations: played.operations.len(),
        keys: history.keys(),
        rest: played.rest.clone(),
        stuck_change: played.stuck_change.clone(),
        uncollected: played.uncollected.clone(),
        unserved: unserved.into_iter().take(LISTED_MAX).collect(),
        acknowledged_by_era: played.eras.iter().map(|era| acknowledged_in(era, &played.operations)).collect(),
        availability,
        violation_counts: found.counts(),
        violations: found.listed(),
        not_judged: found.not_judged,
    })
}

/// How often `violations` break each property, in the order of the promise table, and what `store` had
/// promised of it under faults of these `classes`.
#[must_use]
pub fn weigh(
    store: &StoreDefinition,
    classes: &[FaultClass],
    violations: &[Violation],
) -> Vec<PropertyVerdict> {
    let fared = |&property: &Property| PropertyVerdict {
        property,
        promise: promise(store, property, classes),
        broken: violations.iter().filter(|v| property.is_broken_by(v)).count() as u64,
    };
    Property::ALL.iter().map(fared).collect()
}

fn acknowledged_in(era: &Era, operations: &[Operation]) -> u64 {
    let is_within = |op: &&Operation| {
        let ended = op.return_ns.filter(|_| op.outcome == Outcome::Ok && !op.r#final);
        op.invoke_ns >= era.span.from_ns && ended.is_some_and(|ended| ended < era.span.until_ns)
    };
    operations.iter().filter(is_within).count() as u64
}

fn judge_puts(
    scenario: &Scenario,
    store: &StoreDefinition,
    plan: &Plan,
    played: &Played,
    history: &History,
    partition_of: &dyn Fn(&str) -> u32,
) -> (Availability, Vec<Violation>) {
    let nodes: Vec<String> = scenario.cluster.node_names().chain(scenario.cluster.spare_names()).collect();
    let clients: Vec<String> = scenario.workload.hosts().collect();
    let timeline = Timeline::played(plan, &played.events, &nodes, &clients);
    let load_end_ns = played.load_start_ns.saturating_add(nanos(scenario.workload.duration));
    let window = |fault: &PlannedFault| {
        let span = Span::played(fault.fault, &played.events)?;
        Some(Window {
            name: format!("{} {} {}", fault.fault, fault.kind, fault.hosts().join(",")),
            start_ns: span.from_ns,
            end_ns: if span.until_ns == u64::MAX { load_end_ns } else { span.until_ns },
        })
    };
    let windows: Vec<Window> = plan.faults.iter().filter_map(window).collect();
    let owed = Owed {
        store,
        timing: Timing::default(),
        timeline: &timeline,
        eras: &played.eras,
        partition_of,
        deadline_ns: nanos(scenario.workload.deadline),
    };
    judge_availability(&played.operations, history, &windows, &owed)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Found {
    verdict: Verdict,
    violations: Vec<Violation>,
    not_judged: Vec<NotJudged>,
}

impl Found {
    /// Siblings are judged by what writers had read. Where the last write wins there is one value a
    /// key, so how old a get was is a question for the register; that concurrent writes are lost
    /// is still one of what writers had read.
    fn check(&mut self, history: &History, store: &StoreDefinition) {
        let options =
            |model| Options { model: Some(model), violations_max: usize::MAX, ..Options::default() };
        let siblings = check(history, &options(Model::Siblings));
        match store.conflict {
            Conflict::Siblings => self.take(siblings, |_| true),
            // A register is linearizable or it is not; what writers had read is part of that.
            Conflict::Single => {
                self.take(siblings, |v| matches!(v.kind, Kind::Phantom | Kind::NotConverged));
                let register = check(history, &options(Model::CasRegister));
                self.take(register, |v| {
                    matches!(v.kind, Kind::Stale | Kind::NotLinearizable | Kind::Session)
                });
            }
            Conflict::LastWriteWins => {
                // An update that a later get shows again was merely read too early, which the register
                // judges by time.
                self.take(siblings, |v| {
                    !matches!(v.kind, Kind::Stale | Kind::Session | Kind::FalseSibling)
                        && v.lasting != Some(false)
                });
                let register = check(history, &options(Model::Register));
                self.take(register, |v| {
                    matches!(v.kind, Kind::Stale | Kind::NotLinearizable | Kind::Session)
                });
            }
        }
    }

    fn take(&mut self, report: Report, counts: impl Fn(&Violation) -> bool) {
        if matches!(report.verdict, Verdict::Unknown | Verdict::Error) {
            self.verdict = self.verdict.merge(report.verdict);
        }
        if let Some(why) = report.error {
            self.not_judged.push(NotJudged { what: "history".into(), why });
        }
        self.not_judged.extend(report.not_judged);
        self.violations.extend(report.violations.into_iter().filter(counts));
    }

    fn seen(&self, availability: &Availability) -> BTreeMap<String, u64> {
        let count = |sight: &Sight| match sight.kind() {
            // One that a later get no longer shows was only read too early.
            Some(_) => {
                let shows = |v: &&Violation| sight.is_shown_by(v) && v.lasting != Some(false);
                self.violations.iter().filter(shows).count() as u64
            }
            None => availability.refused,
        };
        Sight::ALL.iter().map(|s| (s.as_str().to_owned(), count(s))).filter(|(_, count)| *count > 0).collect()
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for violation in &self.violations {
            *counts.entry(violation.kind.name().to_owned()).or_default() += 1;
        }
        counts
    }

    fn listed(&self) -> Vec<Violation> {
        let mut listed: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut short = self.violations.clone();
        short.retain(|violation| {
            let count = listed.entry(violation.kind).or_default();
            *count += 1;
            *count <= LISTED_MAX
        });
        short
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn judged(stuck_change: Option<&str>) -> RunVerdict {
        let text = "[store]\nname = \"loose\"\nhinted_handoff = false\nanti_entropy = \"off\"\n";
        let scenario = Scenario::from_toml(text, "test", "stuck").unwrap();
        let played = Played {
            operations: Vec::new(),
            events: Vec::new(),
            load_start_ns: 0,
            elapsed_ns: 1,
            rest: Rest::NotAwaited,
            stuck_change: stuck_change.map(str::to_owned),
            uncollected: None,
            final_reads_failed: Vec::new(),
            eras: Vec::new(),
            machine: None,
            logs: Vec::new(),
            marks: None,
            trace: None,
        };
        let store = scenario.store_named("loose").unwrap();
        judge(&scenario, &store, 1, &Plan::default(), &played, &|_| 0).unwrap()
    }

    #[test]
    fn a_change_that_is_never_over_is_a_failure_even_where_copies_may_differ() {
        let stuck = judged(Some("Join(\"n6\") was not accepted: n1 is tired"));
        let broken: Vec<Property> = stuck.violated().map(|p| p.property).collect();
        assert_eq!((broken, stuck.verdict), (vec![Property::MembersSettle], Verdict::Invalid));
        assert!(stuck.stuck_change.is_some_and(|why| why.contains("n1 is tired")));
        assert_eq!(judged(None).violated().count(), 0);
    }
}
