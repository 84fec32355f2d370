//! A search as `run.json` holds it: every trial, and what they come to.

use serde::{Deserialize, Serialize};

use super::{Ended, Interval, Objective, Vote};
use crate::engine::PhaseReport;
use crate::recorder::Measure;
use crate::target::Outcome;
use crate::trust::{Figures, Trust, Verdict};

const NS_PER_MS: f64 = 1e6;
/// The part of all slots that must be answered for a rate to be held, whatever the objective says.
const ANSWERED_SHARE_MIN: f64 = 0.99;

/// A search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchRecord {
    /// What was to be kept.
    pub objective: String,
    /// Its bounds on latencies of all operations.
    pub bounds_ms: Vec<BoundRecord>,
    /// The highest rate that was held, in operations a second; none if none was.
    pub held_per_s: Option<f64>,
    /// The lowest rate that the store missed; none if it missed none.
    pub missed_per_s: Option<f64>,
    /// Why it ended.
    pub ended: Ended,
    /// All trials, in the order in which they were made.
    pub trials: Vec<Trial>,
}

/// A bound on a latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundRecord {
    /// Of what, such as `p99`.
    pub figure: String,
    /// It must be below this.
    pub below_ms: f64,
}

/// One trial. Latencies are of responses of all operations, however they ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Operations a second that were asked for.
    pub rate_per_s: f64,
    /// What it says about that rate.
    pub vote: Vote,
    /// Why it was not held.
    pub reasons: Vec<String>,
    /// How far it can be trusted.
    pub trust: Verdict,
    /// Operations a second that were due.
    pub offered_per_s: f64,
    /// Operations a second that were answered in time.
    pub achieved_per_s: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99 % are at most this.
    pub p99_ms: f64,
    /// 99.9 % are at most this.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
    /// The part of all slots that did not end ok.
    pub errors_share: f64,
}

impl Trial {
    /// Judges what a trial measured.
    ///
    /// An objective that is met is met, however busy the machine was. One that is missed is only the store's
    /// doing if the trial can be trusted: a queue that grew while other guests had the processor may be theirs.
    #[must_use]
    pub fn of(rate_per_s: f64, report: &PhaseReport, figures: Figures, objective: &Objective) -> Self {
        let Trust { verdict, reasons: doubts, figures } = figures.judge();
        let mut reasons = objective.missed(report);
        if verdict == Verdict::OverCapacity {
            reasons.extend(doubts.iter().cloned());
        } else {
            let answered = report.recorder.answered();
            if (answered as f64) < report.offered as f64 * ANSWERED_SHARE_MIN {
                reasons.push(format!("{answered} of {} operations were answered", report.offered));
            }
        }
        let vote = match verdict {
            _ if reasons.is_empty() => Vote::Held,
            Verdict::OverCapacity if figures.is_robbed() => Vote::NotTrusted,
            Verdict::Valid | Verdict::OverCapacity => Vote::Missed,
            Verdict::Disturbed | Verdict::GeneratorLimited => {
                reasons.extend(doubts);
                Vote::NotTrusted
            }
        };
        let all = report.recorder.merged(|series| series.measure == Measure::Response);
        let ms =
            |quantile| if all.is_empty() { 0.0 } else { all.value_at_quantile(quantile) as f64 / NS_PER_MS };
        let ok = report.recorder.count_all(Outcome::Ok);
        Self {
            rate_per_s,
            vote,
            reasons,
            trust: verdict,
            offered_per_s: figures.offered_per_s.unwrap_or_default(),
            achieved_per_s: figures.achieved_per_s,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            max_ms: ms(1.0),
            errors_share: report.offered.saturating_sub(ok) as f64 / report.offered.max(1) as f64,
        }
    }

    /// What a person is told of it.
    #[must_use]
    pub fn said(&self) -> String {
        let word = match self.vote {
            Vote::Held => "held".to_owned(),
            Vote::Missed => format!("missed: {}", self.reasons.join("; ")),
            Vote::NotTrusted => format!("{}, says nothing: {}", self.trust, self.reasons.join("; ")),
        };
        format!("{}/s {word} (p50 {:.2} ms, p99 {:.2} ms)", self.rate_per_s, self.p50_ms, self.p99_ms)
    }
}

impl SearchRecord {
    /// What trials came to.
    #[must_use]
    pub fn of(objective: &Objective, ended: Ended, interval: Interval, trials: Vec<Trial>) -> Self {
        let bounds = objective.latencies_ms().into_iter();
        Self {
            objective: objective.to_string(),
            bounds_ms: bounds.map(|(figure, below_ms)| BoundRecord { figure, below_ms }).collect(),
            held_per_s: interval.held.map(|rate| rate as f64),
            missed_per_s: interval.missed.map(|rate| rate as f64),
            ended,
            trials,
        }
    }

    /// The result in a sentence.
    #[must_use]
    pub fn said(&self) -> String {
        let held =
            self.held_per_s.map_or_else(|| "no rate was held".to_owned(), |rate| format!("held {rate}/s"));
        let missed =
            self.missed_per_s.map_or_else(|| "missed none".to_owned(), |rate| format!("missed {rate}/s"));
        let end = match self.ended {
            Ended::Found => String::new(),
            Ended::NothingHeld => self.lowest_missed(),
            Ended::NothingMissed => ": the highest rate that a search asks for".to_owned(),
            Ended::NotTrusted => {
                ": in between the generator or the machine was the limit, not the store".to_owned()
            }
            Ended::TrialsExhausted => ": its trials did not suffice, so this is rough".to_owned(),
            Ended::Interrupted => ": interrupted before it was narrowed down".to_owned(),
        };
        format!("{held}, {missed} by {}{end}", self.objective)
    }

    fn lowest_missed(&self) -> String {
        let lowest = self.trials.iter().min_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        lowest.map_or_else(String::new, |trial| {
            format!(": even {}/s: {}", trial.rate_per_s, trial.reasons.join("; "))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use crate::engine::Ended as EndedOperations;
    use crate::observe::Phase;
    use crate::recorder::{Recorder, Sample};
    use crate::workload::OpKind;

    /// A thousand gets of so many milliseconds, of which some were given up.
    fn trial(ms: u64, timeouts: u64, change: impl Fn(&mut Figures)) -> Trial {
        let mut recorder = Recorder::default();
        for number in 0..1000 {
            recorder.record(&Sample {
                op: OpKind::Get,
                outcome: if number < timeouts { Outcome::Fail } else { Outcome::Ok },
                timed_out: number < timeouts,
                response_ns: ms * 1_000_000,
                service_ns: 1,
                wait_ns: Some(1),
                lateness_ns: Some(1),
            });
        }
        let report = PhaseReport {
            phase: Phase::Measure,
            started_wall_ns: 0,
            started_ns: 0,
            elapsed_ns: 1_000_000_000,
            scheduled_ns: 1_000_000_000,
            in_schedule: EndedOperations::default(),
            offered: 1000,
            sent: 1000,
            dropped: 0,
            backlog_at_end: 0,
            recorder,
            first_error: None,
            machine: None,
        };
        let mut figures = Figures {
            offered_per_s: Some(1000.0),
            achieved_per_s: 1000.0,
            lateness_p99_ms: Some(0.1),
            wait_p99_ms: Some(0.1),
            response_p99_ms: ms as f64,
            ..Figures::default()
        };
        change(&mut figures);
        Trial::of(1000.0, &report, figures, &Objective::default())
    }

    fn disturbed(figures: &mut Figures) {
        figures.steal_percent = Some(20.0);
    }

    fn late(figures: &mut Figures) {
        figures.lateness_p99_ms = Some(30.0);
    }

    #[test]
    fn only_a_miss_that_can_be_trusted_is_the_stores() {
        assert_eq!(trial(5, 0, |_| {}).vote, Vote::Held);
        let missed = trial(50, 0, |_| {});
        assert_eq!((missed.vote, missed.trust), (Vote::Missed, Verdict::Valid));
        assert!(missed.said().contains("1000/s missed: p99 was 50"), "{}", missed.said());
        assert_eq!(trial(50, 0, disturbed).vote, Vote::NotTrusted);
        let late = trial(50, 0, late);
        assert_eq!((late.vote, late.trust), (Vote::NotTrusted, Verdict::GeneratorLimited));
        assert!(late.said().contains("generator-limited, says nothing"), "{}", late.said());
    }

    #[test]
    fn what_is_met_in_spite_of_a_busy_machine_is_met() {
        let trial = trial(5, 0, disturbed);
        assert_eq!((trial.vote, trial.trust, trial.reasons.len()), (Vote::Held, Verdict::Disturbed, 0));
    }

    #[test]
    fn a_store_that_does_not_keep_up_misses_whatever_the_latency() {
        let behind = |figures: &mut Figures| {
            figures.achieved_per_s = 600.0;
            figures.wait_p99_ms = Some(400.0);
        };
        let swamped = trial(5, 0, behind);
        assert_eq!((swamped.vote, swamped.trust), (Vote::Missed, Verdict::OverCapacity));
        let robbed = trial(5, 0, |figures| {
            behind(figures);
            disturbed(figures);
        });
        assert_eq!((robbed.vote, robbed.trust), (Vote::NotTrusted, Verdict::OverCapacity));
        assert!(robbed.said().contains("over-capacity, says nothing: 600 of 1000"), "{}", robbed.said());
        assert!(robbed.said().contains("20.0 % of processor time"), "{}", robbed.said());
        assert_eq!(robbed.reasons.len(), 2, "each once: {:?}", robbed.reasons);
        let silent = trial(5, 20, |_| {});
        assert_eq!(silent.vote, Vote::Missed);
        assert!(silent.reasons.iter().any(|r| r == "980 of 1000 operations were answered"), "{silent:?}");
    }

    #[test]
    fn the_result_is_an_interval_in_words() {
        let said = |ended, held, missed| {
            let interval = Interval { held, missed };
            SearchRecord::of(&Objective::default(), ended, interval, vec![trial(50, 0, |_| {})]).said()
        };
        assert_eq!(
            said(Ended::Found, Some(4000), Some(4200)),
            "held 4000/s, missed 4200/s by p99<20ms,errors<0.1%"
        );
        let nothing = said(Ended::NothingHeld, None, Some(50));
        assert!(
            nothing.starts_with("no rate was held") && nothing.contains("even 1000/s: p99 was 50"),
            "{nothing}"
        );
        assert!(said(Ended::NotTrusted, Some(9), None).contains("not the store"));
    }
}
