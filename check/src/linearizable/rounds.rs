//! Many searches side by side: each gets a small budget, then each undecided one four times as much, and
//! so on, so that one hard key does not keep an easy contradiction on another from being found. Once one
//! key is impossible, the keys that are still undecided after that round are not searched further.

use super::machine::Machine;
use super::search::{Progress, Search};
use super::shrink::{self, BySearch};
use super::{Finding, Op};
use crate::deadline::{Deadline, LATE};
use crate::history::{History, NONE};
use crate::say;

/// Limits for the search; zones need none.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    /// Configurations that may be remembered at one time, 17 to 68 bytes each.
    pub(crate) configurations: usize,
    /// When to give up; none makes the verdict independent of the machine.
    pub(crate) deadline: Deadline,
    /// Steps to spend on making a witness smaller.
    pub(crate) witness_steps: u64,
}

/// What is searched by itself: the operations on one key, or on several that belong together.
pub(crate) struct Part<M: Machine> {
    pub(crate) key: usize,
    pub(crate) machine: M,
    pub(crate) ops: Vec<Op<M::Step>>,
    pub(crate) initial: M::State,
}

const FIRST_ROUND: usize = 2_000;

/// Searches all parts; the findings are in their order.
pub(crate) fn search<M: Machine + Clone>(
    history: &History,
    parts: &[Part<M>],
    budget: &Budget,
) -> Vec<Finding> {
    let mut searches: Vec<Option<Search<'_, M>>> =
        parts.iter().map(|part| Some(Search::new(part.machine.clone(), &part.ops, part.initial))).collect();
    let mut findings: Vec<Option<Finding>> = parts.iter().map(|_| None).collect();
    let (mut round, mut remembered, mut impossible) = (FIRST_ROUND, 0, false);
    loop {
        let mut late = budget.deadline.is_over();
        for ((part, slot), finding) in parts.iter().zip(&mut searches).zip(&mut findings) {
            let Some(search) = slot else { continue };
            let before = search.configurations();
            let allowed = round.min(before + budget.configurations.saturating_sub(remembered));
            let progress = if late { Progress::Late } else { search.run(allowed, &budget.deadline) };
            remembered += search.configurations() - before;
            *finding = match progress {
                Progress::Found => {
                    let order = search.order().map(|op| part.ops[op as usize].number).collect();
                    Some(Finding::Linearizable(order))
                }
                Progress::Impossible(op) => {
                    impossible = true;
                    Some(explain(history, part, op, budget))
                }
                Progress::Paused => None,
                Progress::Late => {
                    late = true;
                    Some(Finding::Unknown(LATE.to_owned()))
                }
            };
            if finding.is_some() {
                remembered -= search.configurations();
                *slot = None;
            }
        }
        let undecided = findings.iter().any(Option::is_none);
        let exhausted = remembered >= budget.configurations;
        if !undecided || impossible || exhausted {
            break;
        }
        round = round.saturating_mul(4);
    }
    let why = if impossible {
        "not searched to the end, since another key decides".to_owned()
    } else {
        format!("the search gave up after {} configurations", budget.configurations)
    };
    findings.into_iter().map(|finding| finding.unwrap_or_else(|| Finding::Unknown(why.clone()))).collect()
}

/// What an impossible operation contradicts.
fn explain<M: Machine + Clone>(history: &History, part: &Part<M>, op: u32, budget: &Budget) -> Finding {
    let failing = part.ops[op as usize].number;
    let deadline = budget.deadline.aside();
    let mut rules = BySearch { machine: &part.machine, initial: part.initial, deadline: &deadline };
    let kept = shrink::all(&part.ops, op as usize, &mut rules, budget.witness_steps);
    let witness: Vec<u32> = kept.iter().map(|other| other.number).collect();
    debug_assert!(!witness.contains(&NONE), "a witness names operations");
    let says = say::unorderable(history, &witness, failing);
    Finding::Not { witness, first_impossible: failing, says }
}
