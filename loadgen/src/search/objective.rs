//! What a store must keep at a rate: bounds on latency and on errors.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use quorate_env::words::{format_duration, nearest, parse_duration};

use crate::engine::PhaseReport;
use crate::plan::LoadPlan;
use crate::recorder::Measure;
use crate::target::Outcome;
use crate::workload::OpKind;

const NS_PER_MS: f64 = 1e6;
/// The names of latencies, each with its quantile; none is the mean.
const LATENCIES: [(&str, Option<f64>); 8] = [
    ("p50", Some(0.5)),
    ("p90", Some(0.9)),
    ("p95", Some(0.95)),
    ("p99", Some(0.99)),
    ("p99.9", Some(0.999)),
    ("p99.99", Some(0.9999)),
    ("max", Some(1.0)),
    ("mean", None),
];
const ERRORS: &str = "errors";
/// The part of operations that may not end ok where an objective says nothing of errors.
const ERRORS_UNSAID_MAX: f64 = 0.01;
/// Operations beyond a percentile that it takes to be more than chance.
const BEYOND_MIN: f64 = 10.0;

/// All bounds that must hold, written as `p99<20ms,errors<0.1%`.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    bounds: Vec<Bound>,
}

/// One bound: on a response latency, or on the part of operations that did not end ok.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bound {
    /// Of one kind of operation; none is of all.
    op: Option<OpKind>,
    figure: Figure,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    Latency { name: &'static str, quantile: Option<f64>, below: Duration },
    Errors { below: f64 },
}

/// An objective that cannot be judged, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("objective `{text}`: {why}")]
pub struct ObjectiveError {
    text: String,
    why: String,
}

impl Default for Objective {
    /// 99 of 100 operations within 20 ms, 999 of 1,000 without an error: a store behind a page that people
    /// wait for.
    fn default() -> Self {
        let below = Duration::from_millis(20);
        let latency = Figure::Latency { name: "p99", quantile: Some(0.99), below };
        let bound = |figure| Bound { op: None, figure };
        Self { bounds: vec![bound(latency), bound(Figure::Errors { below: 0.001 })] }
    }
}

impl Objective {
    /// Whether a load of this plan can be judged by it.
    ///
    /// # Errors
    /// The bound that cannot be judged, and why.
    pub fn fits(&self, plan: &LoadPlan) -> Result<(), ObjectiveError> {
        for bound in &self.bounds {
            let say = |why: String| Err(ObjectiveError { text: bound.to_string(), why });
            if let Some(op) = bound.op
                && OpKind::ALL
                    .into_iter()
                    .zip(plan.mix.weights())
                    .any(|(kind, weight)| kind == op && weight <= 0.0)
            {
                return say(format!("the workload `{}` has no {op}", plan.workload));
            }
            if let Figure::Latency { below, .. } = bound.figure
                && below > plan.deadline
            {
                let deadline = format_duration(plan.deadline);
                return say(format!("operations are given up after {deadline}; give a longer --deadline"));
            }
        }
        Ok(())
    }

    /// Each bound that does not hold, with the figure that exceeds it; none if all hold. Operations of whose
    /// errors nothing is said must end ok but for one in a hundred: a store that refuses at once is fast.
    #[must_use]
    pub fn missed(&self, report: &PhaseReport) -> Vec<String> {
        self.bounds.iter().filter_map(|bound| bound.missed(report)).chain(self.unsaid(report)).collect()
    }

    /// Too many errors of operations without a bound on theirs.
    fn unsaid(&self, report: &PhaseReport) -> Option<String> {
        let said = |op: OpKind| {
            let on_errors = |bound: &&Bound| matches!(bound.figure, Figure::Errors { .. });
            self.bounds.iter().filter(on_errors).any(|bound| bound.op.is_none_or(|of| of == op))
        };
        let ended = |outcome| {
            let unsaid = OpKind::ALL.into_iter().filter(|op| !said(*op));
            unsaid.map(|op| report.recorder.count(op, outcome)).sum::<u64>()
        };
        let (all, ok) = (Outcome::ALL.into_iter().map(ended).sum::<u64>(), ended(Outcome::Ok));
        ((all - ok) as f64 > all as f64 * ERRORS_UNSAID_MAX).then(|| {
            format!("{} of {all} operations did not end ok, and the objective allows no errors", all - ok)
        })
    }

    /// The bounds on percentiles that so many operations say little about, each with what to know.
    #[must_use]
    pub fn rests_on_few(&self, report: &PhaseReport) -> Vec<String> {
        let few = |bound: &Bound| {
            let Figure::Latency { name, quantile: Some(quantile), .. } = bound.figure else { return None };
            let concerns = |op: OpKind| bound.op.is_none_or(|wanted| wanted == op);
            let all = OpKind::ALL.into_iter().filter(|op| concerns(*op));
            let all: u64 =
                all.flat_map(|op| Outcome::ALL.map(|outcome| report.recorder.count(op, outcome))).sum();
            let beyond = (all as f64 * (1.0 - quantile)).round();
            // The largest is one operation by its name.
            (quantile < 1.0 && beyond < BEYOND_MIN).then(|| {
                format!("{name} of {all} operations is decided by {beyond:.0} of them; a longer --duration says more")
            })
        };
        self.bounds.iter().filter_map(few).collect()
    }

    /// The bounds on latencies of all operations: the name of the figure, and milliseconds.
    #[must_use]
    pub fn latencies_ms(&self) -> Vec<(String, f64)> {
        let latency = |bound: &Bound| match bound.figure {
            Figure::Latency { name, below, .. } if bound.op.is_none() => {
                Some((name.to_owned(), below.as_secs_f64() * 1e3))
            }
            Figure::Latency { .. } | Figure::Errors { .. } => None,
        };
        self.bounds.iter().filter_map(latency).collect()
    }
}

impl Bound {
    fn name(&self) -> String {
        let figure = match self.figure {
            Figure::Latency { name, .. } => name,
            Figure::Errors { .. } => ERRORS,
        };
        self.op.map_or_else(|| figure.to_owned(), |op| format!("{op}.{figure}"))
    }

    fn missed(&self, report: &PhaseReport) -> Option<String> {
        let concerns = |op: OpKind| self.op.is_none_or(|wanted| wanted == op);
        match self.figure {
            Figure::Latency { quantile, below, .. } => {
                let all = report.recorder.merged(|s| s.measure == Measure::Response && concerns(s.op));
                if all.is_empty() {
                    return Some(format!("{} is of nothing: no operation ended", self.name()));
                }
                let ns = quantile.map_or_else(|| all.mean(), |q| all.value_at_quantile(q) as f64);
                (ns >= below.as_nanos() as f64)
                    .then(|| format!("{} was {:.2} ms", self.name(), ns / NS_PER_MS))
            }
            Figure::Errors { below } => {
                let ops = || OpKind::ALL.into_iter().filter(|op| concerns(*op));
                let ended = |outcome| ops().map(|op| report.recorder.count(op, outcome)).sum::<u64>();
                let ok = ended(Outcome::Ok);
                // What was never sent has no kind.
                let all = if self.op.is_none() {
                    report.offered
                } else {
                    Outcome::ALL.into_iter().map(ended).sum()
                };
                let share = all.saturating_sub(ok) as f64 / all.max(1) as f64;
                (share >= below).then(|| format!("{} were {:.3} %", self.name(), share * 100.0))
            }
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let Some((name, bound)) = text.split_once('<') else {
            return Err("expected NAME<BOUND, such as p99<20ms or errors<0.1%".to_owned());
        };
        let (name, bound) = (name.trim(), bound.trim());
        // The name of a figure may have a dot of its own.
        let (op, figure) = match name.split_once('.').map(|(op, figure)| (op_named(op), figure)) {
            Some((Some(op), figure)) => (Some(op), figure),
            _ => (None, name),
        };
        if figure == ERRORS {
            let percent = bound.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
            let percent = percent.ok_or("expected errors below a part of all, such as errors<0.1%")?;
            return Ok(Self { op, figure: Figure::Errors { below: percent / 100.0 } });
        }
        let Some((name, quantile)) = LATENCIES.into_iter().find(|(known, _)| *known == figure) else {
            let known: Vec<&str> = LATENCIES.iter().map(|(name, _)| *name).chain([ERRORS]).collect();
            let hint = nearest(figure, &known).map(|near| format!("; did you mean `{near}`?"));
            return Err(format!(
                "unknown figure `{figure}`{}; known: {}",
                hint.unwrap_or_default(),
                known.join(", ")
            ));
        };
        let below = parse_duration(bound)?;
        if below.is_zero() {
            return Err("no latency is below 0".to_owned());
        }
        Ok(Self { op, figure: Figure::Latency { name, quantile, below } })
    }
}

fn op_named(name: &str) -> Option<OpKind> {
    OpKind::ALL.into_iter().find(|op| op.name() == name)
}

impl FromStr for Objective {
    type Err = ObjectiveError;

    fn from_str(text: &str) -> Result<Self, ObjectiveError> {
        let bounds = text.split(',').map(|part| {
            Bound::parse(part.trim()).map_err(|why| ObjectiveError { text: part.trim().to_owned(), why })
        });
        Ok(Self { bounds: bounds.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.figure {
            Figure::Latency { below, .. } => write!(f, "{}<{}", self.name(), format_duration(below)),
            // Percent, without the last digits of binary fractions.
            Figure::Errors { below } => write!(f, "{}<{}%", self.name(), (below * 1e8).round() / 1e6),
        }
    }
}

/// As it is read.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds: Vec<String> = self.bounds.iter().map(Bound::to_string).collect();
        f.write_str(&bounds.join(","))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::engine::Ended;
    use crate::observe::Phase;
    use crate::recorder::{Recorder, Sample};

    /// A hundred gets of 1 ms to 100 ms, and puts that fail.
    fn report(failed_puts: u64, dropped: u64) -> PhaseReport {
        let mut recorder = Recorder::default();
        let sample = |op, outcome, ms: u64| Sample {
            op,
            outcome,
            timed_out: false,
            response_ns: ms * 1_000_000,
            service_ns: 1,
            wait_ns: None,
            lateness_ns: None,
        };
        (1..=100).for_each(|ms| recorder.record(&sample(OpKind::Get, Outcome::Ok, ms)));
        (0..failed_puts).for_each(|_| recorder.record(&sample(OpKind::Put, Outcome::Info, 1)));
        PhaseReport {
            phase: Phase::Measure,
            started_wall_ns: 0,
            started_ns: 0,
            elapsed_ns: 1,
            scheduled_ns: 1,
            in_schedule: Ended::default(),
            offered: 100 + failed_puts + dropped,
            sent: 100 + failed_puts,
            dropped,
            backlog_at_end: 0,
            recorder,
            first_error: None,
            machine: None,
        }
    }

    fn missed(text: &str, report: &PhaseReport) -> Vec<String> {
        text.parse::<Objective>().unwrap().missed(report)
    }

    #[test]
    fn objectives_read_as_written() {
        for text in ["p99<20ms,errors<0.1%", "p99.9<250us", "get.p99.99<1s,put.errors<5%,max<2s,mean<3ms"] {
            assert_eq!(text.parse::<Objective>().unwrap().to_string(), text);
        }
        assert_eq!(Objective::default().to_string(), "p99<20ms,errors<0.1%");
        assert_eq!(Objective::default().latencies_ms(), [("p99".to_owned(), 20.0)]);
    }

    #[test]
    fn nonsense_is_refused_with_what_to_write_instead() {
        for (text, part) in [
            ("", "expected NAME<BOUND"),
            ("p99", "expected NAME<BOUND"),
            ("p99>20ms", "expected NAME<BOUND"),
            ("p98<20ms", "`p98`; did you mean `p9"),
            ("error<1%", "did you mean `errors`?"),
            ("gets.p99<1ms", "unknown figure `gets.p99`"),
            ("p99<20", "is not a duration"),
            ("p99<0ms", "no latency is below 0"),
            ("p99<20ms,errors<1", "errors<0.1%"),
            ("errors<0%", "errors<0.1%"),
            ("errors<101%", "errors<0.1%"),
        ] {
            let why = text.parse::<Objective>().unwrap_err().to_string();
            assert!(why.starts_with("objective `") && why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn what_was_missed_is_said_with_its_figure() {
        let calm = report(0, 0);
        assert!(missed("p50<51ms,p99<100ms,max<101ms,mean<51ms,errors<0.1%", &calm).is_empty());
        assert!(missed("p99<99ms", &calm)[0].starts_with("p99 was 99.0"), "the bound itself is missed");
        assert!(missed("mean<50ms", &calm)[0].starts_with("mean was 50.5"));
        let failing = report(10, 0);
        assert_eq!(missed("errors<10%,get.errors<1%", &failing), Vec::<String>::new());
        assert_eq!(
            missed("errors<9%,put.errors<50%", &failing),
            ["errors were 9.091 %", "put.errors were 100.000 %"]
        );
        assert_eq!(
            missed("errors<50%", &report(0, 100)),
            ["errors were 50.000 %"],
            "dropped slots are not ok"
        );
        assert!(missed("delete.p99<1s", &calm)[0].contains("of nothing"));
    }

    #[test]
    fn a_store_that_refuses_at_once_keeps_no_objective_unless_it_allows_errors() {
        let refusing = report(200, 0);
        assert_eq!(
            missed("p99<100ms", &refusing),
            ["200 of 300 operations did not end ok, and the objective allows no errors"]
        );
        assert_eq!(missed("p99<100ms,get.errors<1%", &refusing).len(), 1, "nothing is said of puts");
        assert!(missed("p99<100ms,put.errors<100%", &report(0, 0)).is_empty());
        assert!(missed("p99<100ms,errors<70%", &refusing).is_empty());
        assert!(missed("p99<101ms", &report(1, 0)).is_empty(), "one in a hundred");
    }

    #[test]
    fn a_percentile_of_too_few_operations_is_told() {
        let few = |text: &str| text.parse::<Objective>().unwrap().rests_on_few(&report(0, 0));
        assert_eq!(few("p90<1s,max<1s,mean<1s,errors<1%"), Vec::<String>::new());
        assert!(few("p99<1s")[0].contains("p99 of 100 operations is decided by 1 of them"));
        assert_eq!(few("put.p50<1s").len(), 1, "there is no put at all");
    }

    #[test]
    fn a_bound_that_cannot_be_judged_is_refused_beforehand() {
        let plan = LoadPlan::default_bench();
        let fits = |text: &str| text.parse::<Objective>().unwrap().fits(&plan).map_err(|e| e.to_string());
        assert_eq!(fits("p99<20ms,put.p99<30ms"), Ok(()));
        assert!(fits("update.p99<20ms").unwrap_err().contains("`mixed` has no update"));
        assert!(fits("p99<10s").unwrap_err().contains("given up after 5s"));
    }
}
