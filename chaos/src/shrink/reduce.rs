//! What a smaller scenario is: the ways to take something from it.
//!
//! Faults go first, since each that is left must be understood; then clients and what they do; then what is
//! left of the faults is made shorter and hits fewer; at last the cluster. A candidate is tried with a few
//! seeds, its own first: with something taken away the same seed gives another run, and what fails one time
//! in three should not be kept large by chance.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::minimise::{Oracle, Pass, Spent, descend, fixpoint, leave_out, towards};
use crate::fault::{FaultSpec, Targets};
use crate::scenario::{Legs, Scenario};

/// A scenario with nothing left to draw, and the seed to run it with.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The scenario.
    pub scenario: Scenario,
    /// The seed.
    pub seed: u64,
}

impl Case {
    /// A name that no other case has.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.seed, self.scenario.to_toml())
    }
}

/// Times in scenarios are multiples of this where there is a choice.
const GRAIN_MS: u64 = 100;

/// Shortest load.
const LOAD_LEAST_MS: u64 = 500;

/// Brings `best` down to what cannot spare anything any more. Each candidate is tried with up to `tries`
/// seeds, from that of `best` on.
///
/// # Errors
/// [`Spent`]; `best` is the smallest so far all the same.
pub fn reduce(best: &mut Case, tries: u64, oracle: &mut dyn Oracle<Case>) -> Result<(), Spent> {
    let first = best.seed;
    let ways = Ways { seeds: (0..tries.max(1)).map(|i| first.wrapping_add(i)).collect() };
    let ways = &ways;
    let faults: Pass<'_, Case> = &|best, oracle| {
        leave_out(
            best,
            |case| case.scenario.fault.len(),
            |case, range| ways.without_faults(case, range),
            oracle,
        )
    };
    let descents: [fn(&Ways, &Case) -> Vec<Case>; 10] = [
        Ways::fewer_clients,
        Ways::shorter_load,
        Ways::fewer_operations,
        Ways::fewer_keys,
        Ways::shorter_faults,
        Ways::fewer_targets,
        Ways::sooner,
        Ways::fewer_spares,
        Ways::fewer_nodes,
        Ways::plainer,
    ];
    let descents = descents.map(|way| {
        move |best: &mut Case, oracle: &mut dyn Oracle<Case>| descend(best, |case| way(ways, case), oracle)
    });
    let mut passes = vec![faults];
    passes.extend(descents.iter().map(|pass| pass as Pass<'_, Case>));
    fixpoint(best, &passes, oracle)
}

/// Ways to make a case smaller. Every candidate is smaller in one respect and larger in none.
struct Ways {
    seeds: Vec<u64>,
}

impl Ways {
    /// The case after `change` with each of the seeds, if that is another one and makes sense.
    fn changed(&self, case: &Case, change: impl FnOnce(&mut Scenario)) -> Vec<Case> {
        let mut scenario = case.scenario.clone();
        change(&mut scenario);
        let load = scenario.workload.duration;
        for fault in &mut scenario.fault {
            // The end of the load ends them anyway.
            fault.lasts = fault.lasts.min(load.saturating_sub(fault.at));
        }
        if scenario == case.scenario || !makes_sense(&scenario) {
            return Vec::new();
        }
        let others = self.seeds.iter().copied().filter(|seed| *seed != case.seed);
        std::iter::once(case.seed)
            .chain(others)
            .map(|seed| Case { scenario: scenario.clone(), seed })
            .collect()
    }

    /// One candidate for each number towards `least`.
    fn down(&self, case: &Case, now: u64, least: u64, set: impl Fn(&mut Scenario, u64)) -> Vec<Case> {
        let numbers = towards(now, least);
        numbers.into_iter().flat_map(|n| self.changed(case, |scenario| set(scenario, n))).collect()
    }

    /// The same for a time, in whole grains.
    fn down_ms(
        &self,
        case: &Case,
        now: Duration,
        least_ms: u64,
        set: impl Fn(&mut Scenario, Duration),
    ) -> Vec<Case> {
        let grains = millis(now).div_ceil(GRAIN_MS);
        self.down(case, grains, least_ms.div_ceil(GRAIN_MS), |scenario, grains| {
            set(scenario, Duration::from_millis(grains * GRAIN_MS));
        })
    }

    fn without_faults(&self, case: &Case, range: Range<usize>) -> Vec<Case> {
        self.changed(case, |scenario| {
            scenario.fault.drain(range);
        })
    }

    fn fewer_clients(&self, case: &Case) -> Vec<Case> {
        self.down(case, case.scenario.workload.clients as u64, 1, |scenario, n| {
            scenario.workload.clients = whole(n);
        })
    }

    fn shorter_load(&self, case: &Case) -> Vec<Case> {
        let last = case.scenario.fault.iter().map(|fault| millis(fault.at) + 1).max().unwrap_or(0);
        let least = last.max(LOAD_LEAST_MS);
        self.down_ms(case, case.scenario.workload.duration, least, |scenario, load| {
            scenario.workload.duration = load;
        })
    }

    fn fewer_operations(&self, case: &Case) -> Vec<Case> {
        let workload = &case.scenario.workload;
        let set = |scenario: &mut Scenario, n| scenario.workload.operations = Some(n);
        match workload.operations {
            Some(n) => self.down(case, n, 1, set),
            // Whoever does not wait for answers does twice as many in the mean at the very most.
            None => {
                let think_ms = millis(workload.think_time).max(1);
                let most = 2 * millis(workload.duration) / think_ms;
                let powers = (0_u32..).map(|i| 1_u64 << i).take_while(|n| *n < most.max(2));
                powers.flat_map(|n| self.changed(case, |scenario| set(scenario, n))).collect()
            }
        }
    }

    fn fewer_keys(&self, case: &Case) -> Vec<Case> {
        self.down(case, case.scenario.workload.keys as u64, 1, |scenario, n| {
            scenario.workload.keys = whole(n);
        })
    }

    /// Ended sooner, or begun later.
    fn shorter_faults(&self, case: &Case) -> Vec<Case> {
        let each = case.scenario.fault.iter().enumerate().filter(|(_, fault)| !fault.lasts.is_zero());
        each.flat_map(|(i, fault)| {
            let (at, lasts) = (fault.at, fault.lasts);
            let ended =
                self.down_ms(case, lasts, GRAIN_MS, |scenario, lasts| scenario.fault[i].lasts = lasts);
            let begun = self.down_ms(case, lasts, GRAIN_MS, |scenario, less| {
                scenario.fault[i].at = at + lasts.saturating_sub(less);
                scenario.fault[i].lasts = less;
            });
            ended.into_iter().chain(begun)
        })
        .collect()
    }

    fn fewer_targets(&self, case: &Case) -> Vec<Case> {
        let mut offers = Vec::new();
        // Of a replacement's hosts some go and some come.
        for (i, fault) in case.scenario.fault.iter().enumerate().filter(|(_, f)| !f.kind.starts_spares()) {
            let Targets::Names(names) = &fault.targets else { continue };
            for j in (0..names.len()).filter(|_| names.len() > 1) {
                offers.extend(self.changed(case, |scenario| {
                    if let Targets::Names(names) = &mut scenario.fault[i].targets {
                        names.remove(j);
                    }
                }));
            }
        }
        offers
    }

    /// Everything earlier by as much, so that nothing happens before the first fault but little.
    fn sooner(&self, case: &Case) -> Vec<Case> {
        let Some(wait) = case.scenario.fault.iter().map(|fault| fault.at).min() else { return Vec::new() };
        self.down_ms(case, wait, 0, |scenario, first| {
            let by = wait.saturating_sub(first);
            for fault in &mut scenario.fault {
                fault.at = fault.at.saturating_sub(by);
            }
            if let Some(core) = &mut scenario.core {
                core.from = core.from.saturating_sub(by);
            }
            scenario.workload.duration = scenario.workload.duration.saturating_sub(by);
        })
    }

    /// Only as far as no fault names them: they are numbered through.
    fn fewer_spares(&self, case: &Case) -> Vec<Case> {
        let cluster = &case.scenario.cluster;
        let named = named(&case.scenario.fault);
        let unused = cluster.spare_names().collect::<Vec<_>>().into_iter().rev();
        let unused = unused.take_while(|name| !named.contains(name.as_str())).count();
        let spares = cluster.spares as u64;
        self.down(case, spares, spares - unused as u64, |scenario, n| {
            scenario.cluster.spares = whole(n);
            resize(scenario);
        })
    }

    /// Without the last ones, and what hit only them. Where there are spare nodes, these would be renamed.
    fn fewer_nodes(&self, case: &Case) -> Vec<Case> {
        let cluster = &case.scenario.cluster;
        let replicas = case.scenario.stores().ok().and_then(|stores| stores.first().map(|s| s.n()));
        let Some(least) = replicas.filter(|_| cluster.spares == 0) else { return Vec::new() };
        self.down(case, cluster.nodes as u64, least as u64, |scenario, n| {
            let gone: Vec<String> = scenario.cluster.node_names().skip(whole(n)).collect();
            scenario.cluster.nodes = whole(n);
            resize(scenario);
            for fault in &mut scenario.fault {
                if let Targets::Names(names) = &mut fault.targets {
                    names.retain(|name| !gone.contains(name));
                }
            }
            if let Some(core) = &mut scenario.core {
                core.nodes.retain(|name| !gone.contains(name));
            }
            scenario.fault.retain(|fault| fault.targets != Targets::Names(Vec::new()));
        })
    }

    /// Without what makes nodes, links and operations differ.
    fn plainer(&self, case: &Case) -> Vec<Case> {
        let changes: [fn(&mut Scenario); 8] = [
            |scenario| scenario.cluster.capacities.clear(),
            |scenario| scenario.cluster.zones.clear(),
            |scenario| scenario.network.legs = Legs::default(),
            |scenario| scenario.workload.mix.delete = 0.0,
            |scenario| scenario.workload.mix.get = 0.0,
            |scenario| scenario.workload.blind = 0.0,
            |scenario| scenario.workload.cas = 0.0,
            |scenario| scenario.workload.value_bytes = scenario.workload.value_bytes.min(64),
        ];
        changes.into_iter().flat_map(|change| self.changed(case, change)).collect()
    }
}

/// Fits what is given for each node to their number.
fn resize(scenario: &mut Scenario) {
    let all = scenario.cluster.nodes + scenario.cluster.spares;
    scenario.cluster.capacities.truncate(all);
    scenario.cluster.zones.truncate(all);
}

fn named(faults: &[FaultSpec]) -> BTreeSet<&str> {
    let names = faults.iter().filter_map(|fault| match &fault.targets {
        Targets::Names(names) => Some(names.iter().map(String::as_str)),
        _ => None,
    });
    names.flatten().collect()
}

/// Whether it can be run, and nobody is asked to go who never came.
fn makes_sense(scenario: &Scenario) -> bool {
    if scenario.workload.duration < Duration::from_millis(LOAD_LEAST_MS) || scenario.validate().is_err() {
        return false;
    }
    let mut faults: Vec<&FaultSpec> = scenario.fault.iter().collect();
    faults.sort_by_key(|fault| fault.at);
    let mut absent: BTreeSet<String> = scenario.cluster.spare_names().collect();
    for fault in faults {
        let Targets::Names(names) = &fault.targets else { continue };
        if fault.kind.starts_spares() {
            absent.retain(|spare| !names.contains(spare));
        } else if fault.kind.changes_members() && names.iter().any(|name| absent.contains(name)) {
            return false;
        }
    }
    true
}

fn whole(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    struct Where<F>(F, Vec<Case>);

    impl<F: Fn(&Case) -> bool> Oracle<Case> for Where<F> {
        fn first(&mut self, candidates: &[Case]) -> Result<Option<usize>, Spent> {
            let found = candidates.iter().position(&self.0);
            self.1.extend(candidates.iter().take(found.map_or(usize::MAX, |i| i + 1)).cloned());
            Ok(found)
        }
    }

    const LARGE: &str = r#"
profiles = ["dynamo"]
[cluster]
nodes = 6
spares = 2
capacities = [1, 2, 1, 2, 1, 2, 1, 2]
[workload]
clients = 9
duration = "30s"
[[fault]]
kind = "join"
targets = ["n7"]
at = "1s"
[[fault]]
kind = "partition"
targets = ["c1", "n1", "n4"]
at = "4s"
for = "9s"
[[fault]]
kind = "leave"
targets = ["n7"]
at = "12s"
[[fault]]
kind = "power-cut"
targets = ["n2", "n3", "n6"]
at = "20s"
for = "20s"
"#;

    fn reduced(fails: impl Fn(&Case) -> bool) -> (Case, Vec<Case>) {
        let mut best = Case { scenario: Scenario::from_toml(LARGE, "test", "large").unwrap(), seed: 7 };
        let mut told = Where(fails, Vec::new());
        reduce(&mut best, 2, &mut told).unwrap();
        (best, told.1)
    }

    #[test]
    fn what_always_fails_is_brought_down_to_nothing() {
        let (best, tried) = reduced(|_| true);
        let Scenario { cluster, workload, fault, .. } = &best.scenario;
        assert!(fault.is_empty());
        assert_eq!((workload.clients, workload.keys, workload.operations), (1, 1, Some(1)));
        assert_eq!((cluster.nodes, cluster.spares, cluster.capacities.len()), (3, 0, 0));
        assert_eq!((workload.duration, best.seed), (Duration::from_millis(500), 7));
        assert!(tried.len() < 30, "{}", tried.len());
    }

    #[test]
    fn what_never_fails_again_stays_as_it_is_and_is_tried_with_each_seed() {
        let (best, tried) = reduced(|_| false);
        assert_eq!(best.scenario, Scenario::from_toml(LARGE, "test", "large").unwrap());
        assert!(tried.iter().all(|case| case.scenario.validate().is_ok()));
        assert!([7, 8].iter().all(|seed| tried.iter().any(|case| case.seed == *seed)));
    }

    #[test]
    fn only_the_fault_that_matters_is_left_as_short_and_narrow_as_it_may_be() {
        let matters = |fault: &FaultSpec| {
            let Targets::Names(names) = &fault.targets else { return false };
            fault.kind.cuts_power()
                && names.contains(&"n3".to_owned())
                && fault.lasts >= Duration::from_millis(1_300)
        };
        let (best, _) = reduced(|case| case.seed == 8 && case.scenario.fault.iter().any(matters));
        let [fault] = best.scenario.fault.as_slice() else { panic!("{:?}", best.scenario.fault) };
        assert_eq!(fault.targets, Targets::Names(vec!["n3".into()]));
        assert_eq!((fault.at, fault.lasts), (Duration::ZERO, Duration::from_millis(1_300)));
        assert_eq!((best.scenario.workload.duration, best.scenario.cluster.nodes), (fault.lasts, 3));
        assert_eq!(best.seed, 8, "another seed shows it");
    }

    #[test]
    fn nobody_is_asked_to_leave_who_never_joined() {
        let has_left = |case: &Case| case.scenario.fault.iter().any(|f| f.kind.as_str() == "leave");
        let (best, _) = reduced(has_left);
        let kinds: Vec<&str> = best.scenario.fault.iter().map(|f| f.kind.as_str()).collect();
        assert_eq!(kinds, ["join", "leave"]);
    }
}
