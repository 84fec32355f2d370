//! `--saturate`: one trial after the other on the same store, until the highest rate that keeps the
//! objective is known.
//!
//! Not here: which rate comes next, and what a trial says (`quorate_loadgen::search`).

use std::io::IsTerminal as _;
use std::sync::Arc;

use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::rundir::{IntervalFiles, IntervalsLost};
use quorate_loadgen::search::{Ended, Next, Objective, Search, SearchRecord, SearchSettings, Trial, Vote};
use quorate_loadgen::trust::{Figures, SystemProbe};
use quorate_loadgen::{LoadPlan, LoadRun, RunDirectory, RunOutcome, Silent, Target};
use tokio_util::sync::CancellationToken;

use super::progress;
use crate::outcome::{Failure, say};

/// A search about to be made.
pub struct Saturation<'a> {
    pub target: Arc<dyn Target>,
    /// What every trial asks for, but for the rate.
    pub plan: &'a LoadPlan,
    pub objective: &'a Objective,
    pub directory: &'a RunDirectory,
    pub clock: Arc<SystemClock>,
    pub cancel: CancellationToken,
}

/// What a search came to.
pub struct Saturated {
    /// All of it.
    pub search: SearchRecord,
    /// The load of the trial that the run's results are about.
    pub plan: LoadPlan,
    /// The last trial at the highest rate that was held; without a measurement if none was. With the load
    /// phase, which was before the first.
    pub outcome: RunOutcome,
    /// Files that end before the trial did.
    pub lost: Option<IntervalsLost>,
}

/// A trial that was held.
struct Kept {
    rate: u64,
    plan: LoadPlan,
    outcome: RunOutcome,
    files: TrialFiles,
}

/// The seconds of one trial, in a directory of its own: a search may take hours, and memory is not for that.
/// Whatever is not moved away goes with it.
struct TrialFiles {
    directory: RunDirectory,
    /// Files that end before the trial did.
    lost: Option<IntervalsLost>,
}

impl TrialFiles {
    /// Makes them the run's own.
    fn become_those_of(&mut self, run: &RunDirectory) -> Result<(), Failure> {
        for name in ["latency.hlog", "timeseries.csv"] {
            let to = run.file(name);
            std::fs::rename(self.directory.file(name), &to)
                .map_err(|e| Failure::setup(format_args!("{}: {e}", to.display())))?;
        }
        Ok(())
    }
}

impl Drop for TrialFiles {
    fn drop(&mut self) {
        // A leftover directory is litter, and no reason to lose a result.
        let _ = std::fs::remove_dir_all(self.directory.path());
    }
}

impl Saturation<'_> {
    /// Searches, and leaves the seconds of the trial that counts in the run directory. A disk that takes no
    /// more trials ends the search with what it has.
    ///
    /// # Errors
    /// If a thread or a file refuses.
    pub async fn run(self) -> Result<Saturated, Failure> {
        let mut search = Search::new(SearchSettings::default());
        let (mut trials, mut kept, mut load) = (Vec::new(), Vec::<Kept>::new(), None);
        let ended = loop {
            let rate = match search.next() {
                Next::Done(ended) => break ended,
                Next::Try(rate) => rate,
            };
            let number = trials.len() as u64;
            let plan = self.plan.at_rate(rate as f64, number);
            let made = RunDirectory::at(&self.directory.file(&format!("trial-{}", number + 1)))
                .and_then(|directory| Ok((directory.interval_files(self.clock.wall_ns())?, directory)));
            let (mut seconds, directory) = match made {
                Ok(made) => made,
                Err(why) => {
                    say(format_args!("no more trials: {why}"));
                    break Ended::Interrupted;
                }
            };
            let mut files = TrialFiles { directory, lost: None };
            let mut outcome = self.trial(&plan, number, &mut seconds).await?;
            files.lost = seconds.finish().err();
            load = outcome.load.take().or(load);
            let report = match &outcome.measure {
                Some(report) if !outcome.interrupted => report,
                // A part of a trial has no vote, and a store that cannot be loaded has no limit.
                _ => break Ended::Interrupted,
            };
            let figures = Figures::of(report, &plan.pace, cores());
            let trial = Trial::of(rate as f64, report, figures, self.objective);
            say(format_args!("trial {}: {}", number + 1, trial.said()));
            search.record(rate, trial.vote);
            if trial.vote == Vote::Held {
                // Repeated at the edges: the last counts. Lower edges may still be fallen back to.
                kept.retain(|kept| kept.rate != rate);
                kept.push(Kept { rate, plan, outcome, files });
            }
            trials.push(trial);
        };
        let interval = search.interval();
        let record = SearchRecord::of(self.objective, ended, interval, trials);
        let interrupted = self.cancel.is_cancelled();
        let best = kept.into_iter().find(|kept| Some(kept.rate) == interval.held);
        let Some(Kept { plan, outcome, mut files, .. }) = best else {
            let outcome = RunOutcome { load, warmup: None, measure: None, interrupted, late_by: None };
            return Ok(Saturated { search: record, plan: self.plan.clone(), outcome, lost: None });
        };
        for few in outcome.measure.iter().flat_map(|report| self.objective.rests_on_few(report)) {
            say(format_args!("warning: {few}"));
        }
        files.become_those_of(self.directory)?;
        let lost = files.lost.take();
        Ok(Saturated { search: record, plan, outcome: RunOutcome { load, interrupted, ..outcome }, lost })
    }

    async fn trial(
        &self,
        plan: &LoadPlan,
        number: u64,
        seconds: &mut IntervalFiles,
    ) -> Result<RunOutcome, Failure> {
        let mut run =
            LoadRun::on_threads(plan.clone(), Arc::clone(&self.target), Arc::clone(&self.clock) as _)
                .map_err(|e| Failure::setup(format_args!("a thread of the load: {e}")))?
                .with_cancel(self.cancel.clone())
                .with_probe(SystemProbe::new());
        // Where there is no bar, a line a trial says enough; the first also loads the keys.
        let shown = number == 0 || std::io::stderr().is_terminal();
        run = run.with_progress(if shown { progress::shown() } else { Arc::new(Silent) });
        Ok(run.run(seconds).await)
    }
}

fn cores() -> Option<usize> {
    std::thread::available_parallelism().ok().map(std::num::NonZero::get)
}
