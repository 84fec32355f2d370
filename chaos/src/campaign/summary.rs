//! A campaign in a table: scenario by store, what held, what broke, what was shown.

use std::collections::BTreeMap;

use quorate_check::{Kind, Verdict, Violation};
use quorate_cluster::marks::Mark;
use serde::Serialize;

use super::{Entry, Outcome};
use crate::expect::{Property, Sight};
use crate::words::words;
use crate::workload::Rest;

words! {
    /// Whether something that must be shown was.
    pub enum Shown {
        /// It was.
        Shown = "shown",
        /// It was not, in as many seeds as should be enough.
        Missing = "missing",
        /// It was not, but too few seeds were run to say.
        TooFewSeeds = "too-few-seeds",
    }
}

/// Something that a scenario must show of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MustShow {
    /// What.
    pub sight: Sight,
    /// Seeds in which it was seen.
    pub seen: u64,
    /// Seeds that should be enough.
    pub within: u64,
    /// The first seed that shows it.
    pub first_seed: Option<u64>,
    /// Whether it was shown.
    pub state: Shown,
}

/// A rare state that the nodes must reach in a scenario with a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MustReach {
    /// Which.
    pub mark: Mark,
    /// Seeds in which it was reached.
    pub reached: u64,
    /// Seeds that should be enough.
    pub within: u64,
    /// The first seed that reaches it.
    pub first_seed: Option<u64>,
    /// Whether it was reached.
    pub state: Shown,
}

/// One scenario with one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// The store's.
    pub profile: String,
    /// Seeds run.
    pub seeds: u64,
    /// Of those, runs in which every promise held.
    pub held: u64,
    /// Runs in which a promise was broken.
    pub violated: u64,
    /// Runs of which something could not be judged.
    pub unknown: u64,
    /// Runs that did not get to their end.
    pub errors: u64,
    /// Operations in all.
    pub operations: u64,
    /// Puts that were owed success, and of those the ones that were denied it.
    pub puts_owed: u64,
    /// See `puts_owed`.
    pub puts_denied: u64,
    /// In how many seeds each thing was seen.
    pub seen: BTreeMap<String, u64>,
    /// What must be shown.
    pub must_show: Vec<MustShow>,
    /// How often each rare state was reached, over all seeds.
    pub marks: BTreeMap<String, u64>,
    /// Rare states that must be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_reach: Vec<MustReach>,
    /// Seeds in which anybody could count rare states.
    #[serde(skip)]
    counted: u64,
}

/// A run that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The scenario's name.
    pub scenario: String,
    /// The store's.
    pub profile: String,
    /// The seed.
    pub seed: u64,
    /// What went wrong, in a sentence.
    pub says: String,
    /// The command that makes the run again.
    pub reproduce: String,
    /// Its directory, if it was kept.
    pub directory: Option<String>,
}

/// What became of a campaign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// One row a scenario and store, in the order given.
    pub rows: Vec<Row>,
    /// Every run that failed, in the order of the rows and seeds.
    pub failures: Vec<Failure>,
    /// How often each rare state was reached in all: 0 for those that never were. Empty where nobody can count.
    pub marks: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn of(entries: &[Entry], outcomes: &[Outcome]) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        for outcome in outcomes {
            let same = |row: &Row| row.scenario == outcome.scenario && row.profile == outcome.profile;
            if !rows.iter().any(same) {
                rows.push(Row::new(entries, outcome));
            }
            if let Some(row) = rows.iter_mut().find(|row| same(row)) {
                row.add(outcome);
            }
        }
        let state = |times, seeds, within| match (times, seeds >= within) {
            (1.., _) => Shown::Shown,
            (0, true) => Shown::Missing,
            (0, false) => Shown::TooFewSeeds,
        };
        for row in &mut rows {
            for shown in &mut row.must_show {
                shown.state = state(shown.seen, row.seeds, shown.within);
            }
            if row.counted == 0 {
                // Real processes count for themselves: nobody can say.
                row.must_reach.clear();
            }
            for reach in &mut row.must_reach {
                reach.state = state(reach.reached, row.counted, reach.within);
            }
        }
        let failures = outcomes.iter().filter(|o| o.is_failure()).map(Failure::of).collect();
        let mut marks = BTreeMap::new();
        if rows.iter().any(|row| row.counted > 0) {
            marks.extend(Mark::NAMES.iter().map(|name| ((*name).to_owned(), 0)));
        }
        for (mark, count) in rows.iter().flat_map(|row| &row.marks) {
            *marks.entry(mark.clone()).or_default() += count;
        }
        Self { rows, failures, marks }
    }

    /// 1 if a promise was broken, a run did not get to its end, or something that must be shown was
    /// not, or a rare state was not reached that must be; else 2 if something could not be judged or too few seeds were run; else 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let must_show = |state| {
            let shown = self.rows.iter().flat_map(|row| &row.must_show).map(|shown| shown.state);
            let reached = self.rows.iter().flat_map(|row| &row.must_reach).map(|reach| reach.state);
            shown.chain(reached).any(|found| found == state)
        };
        if !self.failures.is_empty() || must_show(Shown::Missing) {
            1
        } else if self.rows.iter().any(|row| row.unknown > 0) || must_show(Shown::TooFewSeeds) {
            2
        } else {
            0
        }
    }
}

impl Row {
    fn new(entries: &[Entry], outcome: &Outcome) -> Self {
        let scenario = entries.iter().map(|e| &e.scenario).find(|s| s.name == outcome.scenario);
        let (sights, within) = scenario.map(|s| s.expect.must_show_for(&outcome.profile)).unwrap_or_default();
        let must_show =
            |sight| MustShow { sight, seen: 0, within, first_seed: None, state: Shown::TooFewSeeds };
        let must_reach =
            |mark| MustReach { mark, reached: 0, within, first_seed: None, state: Shown::TooFewSeeds };
        let marks = scenario.map(|s| s.expect.marks_for(&outcome.profile)).unwrap_or_default();
        Self {
            marks: BTreeMap::new(),
            must_reach: marks.into_iter().map(must_reach).collect(),
            counted: 0,
            scenario: outcome.scenario.clone(),
            profile: outcome.profile.clone(),
            seeds: 0,
            held: 0,
            violated: 0,
            unknown: 0,
            errors: 0,
            operations: 0,
            puts_owed: 0,
            puts_denied: 0,
            seen: BTreeMap::new(),
            must_show: sights.into_iter().map(must_show).collect(),
        }
    }

    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        let Ok(verdict) = &outcome.result else {
            self.errors += 1;
            return;
        };
        match verdict.verdict {
            Verdict::Valid => self.held += 1,
            Verdict::Invalid => self.violated += 1,
            Verdict::Unknown | Verdict::Error => self.unknown += 1,
        }
        self.operations += verdict.operations as u64;
        self.puts_owed += verdict.availability.owed;
        self.puts_denied += verdict.availability.denied;
        for sight in verdict.seen.keys() {
            *self.seen.entry(sight.clone()).or_default() += 1;
        }
        self.counted += u64::from(verdict.marks.is_some());
        for (mark, count) in verdict.marks.iter().flatten() {
            *self.marks.entry(mark.clone()).or_default() += count;
        }
        for reach in &mut self.must_reach {
            if verdict.reached(reach.mark) > 0 {
                reach.reached += 1;
                reach.first_seed.get_or_insert(outcome.seed);
            }
        }
        for shown in &mut self.must_show {
            if verdict.seen(shown.sight) > 0 {
                shown.seen += 1;
                shown.first_seed.get_or_insert(outcome.seed);
            }
        }
    }
}

impl Failure {
    fn of(outcome: &Outcome) -> Self {
        let says = match &outcome.result {
            Err(error) => error.to_string(),
            Ok(verdict) => {
                let broken: Vec<String> = verdict
                    .violated()
                    .map(|p| {
                        let shows = |v: &&Violation| match p.property {
                            // Those that no power cut excuses come first.
                            Property::BoundedLoss => matches!(v.kind, Kind::Lost | Kind::Resurrected),
                            property => property.is_broken_by(v),
                        };
                        let example = verdict.violations.iter().find(shows);
                        let says = match (p.property, example, &verdict.rest, &verdict.stuck_change) {
                            (Property::MembersSettle, _, _, Some(why)) => format!(": {why}"),
                            (Property::TombstonesCollected, ..) => {
                                format!(": {}", verdict.uncollected.as_deref().unwrap_or_default())
                            }
                            (Property::CoreServes, ..) => {
                                format!(": {}", verdict.unserved.first().map_or("", String::as_str))
                            }
                            (_, Some(violation), _, _) => format!(": {}", violation.says),
                            (Property::Converged, None, Rest::NotReached(why), _) => {
                                format!(": the store did not come to rest: {why}")
                            }
                            _ => String::new(),
                        };
                        format!("{} broken {} time(s){says}", p.property, p.broken)
                    })
                    .collect();
                broken.join("; ")
            }
        };
        Self {
            scenario: outcome.scenario.clone(),
            profile: outcome.profile.clone(),
            seed: outcome.seed,
            says,
            reproduce: outcome.reproduce(),
            directory: outcome.directory.as_ref().map(|d| d.display().to_string()),
        }
    }
}
