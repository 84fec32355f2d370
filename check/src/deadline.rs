//! When to give up. Every walk over a history asks now and then; once the time is up the answer stays yes,
//! so a walk may simply end, and whoever uses what it found asks first whether it came to its end.
//!
//! Without a timeout the clock is never read, and the verdict depends on the history alone.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Steps from one look at the clock to the next.
const STEPS: u32 = 4_096;

/// Why something was not judged.
pub(crate) const LATE: &str = "it ran out of time";

/// One deadline for a whole check; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deadline(Rc<State>);

#[derive(Debug, Default)]
struct State {
    at: Option<Instant>,
    passed: Cell<bool>,
    steps: Cell<u32>,
    /// Looks that a test allows, and how many there were.
    #[cfg(test)]
    looks: Cell<Option<u64>>,
}

impl Deadline {
    /// So long from now; none is never.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        // A time beyond what the clock can say is never, too.
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Deadline(Rc::new(State {
            at,
            #[cfg(test)]
            looks: Cell::new(tests::ALLOWED.get()),
            ..State::default()
        }))
    }

    /// The same moment for work that decides nothing, such as making a witness smaller: if the time is up
    /// in the middle of it, what was proven before still stands.
    pub(crate) fn aside(&self) -> Self {
        Deadline(Rc::new(State {
            at: self.0.at,
            passed: self.0.passed.clone(),
            #[cfg(test)]
            looks: self.0.looks.clone(),
            ..State::default()
        }))
    }

    /// Whether some look at the clock found the time up: what was judged meanwhile may be incomplete.
    pub(crate) fn was_missed(&self) -> bool {
        self.0.passed.get()
    }

    /// Looks at the clock: is the time up?
    pub(crate) fn is_over(&self) -> bool {
        #[cfg(test)]
        self.look_in_test();
        if !self.0.passed.get() && self.0.at.is_some_and(|at| Instant::now() >= at) {
            self.0.passed.set(true);
        }
        self.0.passed.get()
    }

    /// One step of a walk: looks at the clock every few thousand steps, whoever made them.
    #[inline]
    pub(crate) fn step(&self) -> bool {
        let steps = self.0.steps.get() + 1;
        if steps < STEPS {
            self.0.steps.set(steps);
            return self.0.passed.get();
        }
        self.0.steps.set(0);
        self.is_over()
    }

    /// Many steps at once.
    pub(crate) fn steps(&self, count: usize) -> bool {
        let count = u32::try_from(count).unwrap_or(STEPS).min(STEPS);
        self.0.steps.set((self.0.steps.get() + count.saturating_sub(1)).min(STEPS));
        self.step()
    }

    #[cfg(test)]
    fn look_in_test(&self) {
        tests::LOOKS.set(tests::LOOKS.get() + 1);
        if let Some(left) = self.0.looks.get() {
            match left.checked_sub(1) {
                Some(left) => self.0.looks.set(Some(left)),
                None => self.0.passed.set(true),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::cell::Cell;
    use std::time::Duration;

    use crate::history::{Argument, Function, History, Operation, Outcome, Value, sort_by_invocation};
    use crate::report::{Model, Report, Verdict};
    use crate::testing::Random;
    use crate::{Options, check};

    thread_local! {
        pub(super) static ALLOWED: Cell<Option<u64>> = const { Cell::new(None) };
        pub(super) static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    /// Runs something; and how often it looked at the clock.
    pub(crate) fn counting_looks<T>(run: impl FnOnce() -> T) -> (T, u64) {
        LOOKS.set(0);
        let result = run();
        (result, LOOKS.get())
    }

    /// Checks a history in which the time is up after so many looks at the clock; and how many there were.
    fn check_with(history: &History, model: Model, looks: Option<u64>) -> (Report, u64) {
        ALLOWED.set(looks);
        let options = Options { model: Some(model), ..Options::default() };
        let judged = counting_looks(|| check(history, &options));
        ALLOWED.set(None);
        judged
    }

    /// Five clients on one key of an object that does what the model says, at one moment an operation.
    fn recorded(model: Model, operations: u64) -> History {
        let mut random = Random(5);
        let (mut text, mut held): (Option<String>, Vec<Value>) = (None, Vec::new());
        let mut read: Vec<Vec<Value>> = vec![Vec::new(); 5];
        let mut recorded = Vec::new();
        for number in 0..operations {
            let client = number % 5;
            let reads = random.once_in(2);
            let call = 100 * number;
            let mut operation = Operation::invoked(client, Function::Get, "k", call);
            (operation.return_ns, operation.outcome) = (Some(call + random.below(450)), Outcome::Ok);
            let value = Value::from(number as i64);
            match model {
                Model::Mutex => {
                    operation.f = if number % 2 == 0 { Function::Acquire } else { Function::Release };
                }
                Model::MultiRegister => {
                    operation.f = Function::Txn;
                    let newest = held.first().cloned().unwrap_or_default();
                    let step = if reads { Function::Get } else { Function::Put };
                    let value = if reads { newest } else { value };
                    operation.value = Some(Argument::Steps(vec![(step, "k".into(), value.clone())]));
                    held = vec![value];
                }
                Model::Kv if reads => {
                    operation.values = Some(text.iter().map(|text| Value::from(text.as_str())).collect());
                }
                Model::Kv => {
                    let append = !number.is_multiple_of(64);
                    let token = format!("{number};");
                    operation.f = if append { Function::Append } else { Function::Put };
                    operation.value = Some(Argument::from(token.as_str()));
                    if !append {
                        text = None;
                    }
                    text.get_or_insert_default().push_str(&token);
                }
                Model::Set if number.is_multiple_of(500) => operation.values = Some(held.clone()),
                Model::Set => {
                    operation.f = Function::Add;
                    operation.value = Some(Argument::One(value.clone()));
                    held.push(value);
                }
                _ if reads => {
                    operation.values = Some(held.clone());
                    read[client as usize].clone_from(&held);
                }
                _ => {
                    operation.f = Function::Put;
                    operation.value = Some(Argument::One(value.clone()));
                    if model == Model::Siblings {
                        operation.context = std::mem::take(&mut read[client as usize]);
                        held.retain(|value| !operation.context.contains(value));
                    } else {
                        held.clear();
                    }
                    held.push(value);
                }
            }
            recorded.push(operation);
        }
        sort_by_invocation(&mut recorded);
        History::from_operations(&recorded).unwrap()
    }

    #[test]
    fn whenever_the_time_is_up_the_verdict_is_unknown_and_says_why() {
        for model in Model::ALL {
            let history = recorded(model, 20_000);
            let (full, looks) = check_with(&history, model, None);
            assert_eq!(full.verdict, Verdict::Valid, "{}: {full:#?}", model.name());
            assert!(looks >= 5, "{}: {looks} looks at the clock for one key", model.name());
            for allowed in (0..looks).step_by(usize::try_from(looks / 8).unwrap().max(1)) {
                let (report, _) = check_with(&history, model, Some(allowed));
                // After the last walk only distances are left to measure, and they decide nothing.
                let decided = report.verdict == Verdict::Valid && report.certified.is_some();
                let says = report.not_judged.iter().any(|not| not.why.contains(super::LATE));
                assert!(says, "{} after {allowed} of {looks} looks: {report:#?}", model.name());
                assert!(decided || report.verdict == Verdict::Unknown, "{}: {report:#?}", model.name());
                assert!(report.violations.is_empty(), "{} after {allowed}: {report:#?}", model.name());
            }
        }
    }

    #[test]
    fn time_that_is_up_for_work_aside_leaves_what_was_proven_before() {
        ALLOWED.set(Some(1));
        let deadline = super::Deadline::after(None);
        ALLOWED.set(None);
        let aside = deadline.aside();
        assert!(!aside.is_over() && aside.is_over() && aside.was_missed());
        assert!(!deadline.was_missed());
        assert!(!deadline.is_over() && deadline.is_over(), "it has the same moment for itself");
        assert!(deadline.aside().was_missed(), "and what begins after it has none");
    }

    #[test]
    fn a_timeout_of_nothing_is_over_at_once() {
        for model in Model::ALL {
            let options = Options { model: Some(model), timeout: Some(Duration::ZERO), ..Options::default() };
            let report = check(&recorded(model, 100), &options);
            assert_eq!(report.verdict, Verdict::Unknown, "{}", model.name());
        }
    }
}
