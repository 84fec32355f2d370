//! Shows how a bench gets on, on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use quorate_env::{Clock as _, SystemClock};
use quorate_loadgen::{Phase, Progress, Tick};
use tokio::sync::oneshot;

use crate::outcome::say;

/// Seconds between lines where there is no bar.
const LINE_EVERY_S: u64 = 5;

/// What fits this standard error.
pub fn shown() -> Arc<dyn Progress> {
    if std::io::stderr().is_terminal() {
        Arc::new(Bar(ProgressBar::no_length()))
    } else {
        Arc::new(Lines::default())
    }
}

/// Passes everything on to `shown`, and tells `beginning` when the measurement begins.
pub fn until_measuring(
    shown: Arc<dyn Progress>,
    clock: Arc<SystemClock>,
    beginning: oneshot::Sender<u64>,
) -> Arc<dyn Progress> {
    Arc::new(UntilMeasuring { shown, clock, beginning: Mutex::new(Some(beginning)) })
}

struct UntilMeasuring {
    shown: Arc<dyn Progress>,
    clock: Arc<SystemClock>,
    beginning: Mutex<Option<oneshot::Sender<u64>>>,
}

impl Progress for UntilMeasuring {
    fn loaded(&self, keys: u64, of: u64) {
        self.shown.loaded(keys, of);
    }

    fn phase(&self, phase: Phase) {
        self.shown.phase(phase);
        let beginning = self
            .beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take_if(|_| phase == Phase::Measure);
        if let Some(beginning) = beginning {
            // Nobody waits for it where nothing is done to the store.
            let _ = beginning.send(self.clock.monotonic_ns());
        }
    }

    fn tick(&self, tick: &Tick) {
        self.shown.tick(tick);
    }
}

struct Bar(ProgressBar);

impl Bar {
    fn style(&self, template: &str) {
        // A template that does not parse would show the plain bar: no reason to stop a bench.
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("=> "));
        }
    }
}

impl Progress for Bar {
    fn loaded(&self, keys: u64, of: u64) {
        self.0.set_length(of);
        self.0.set_position(keys);
    }

    fn phase(&self, phase: Phase) {
        let unit = if phase == Phase::Load { "{pos}/{len} keys" } else { "{msg}" };
        self.style(&format!("{:>8} [{{bar:30}}] {unit}", phase.name()));
        self.0.set_position(0);
        self.0.enable_steady_tick(Duration::from_millis(200));
    }

    fn tick(&self, tick: &Tick) {
        self.0.set_length((tick.planned_s * 1e3) as u64);
        self.0.set_position((tick.elapsed_s * 1e3) as u64);
        self.0.set_message(told(tick));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[derive(Default)]
struct Lines {
    /// The second before which nothing more is said.
    quiet_until_s: AtomicU64,
}

impl Progress for Lines {
    fn phase(&self, phase: Phase) {
        self.quiet_until_s.store(LINE_EVERY_S, Ordering::Relaxed);
        say(format_args!("{}", phase.name()));
    }

    fn tick(&self, tick: &Tick) {
        let second = tick.elapsed_s.round() as u64;
        if second >= self.quiet_until_s.load(Ordering::Relaxed) {
            self.quiet_until_s.store(second + LINE_EVERY_S, Ordering::Relaxed);
            say(format_args!("{} {}", tick.phase.name(), told(tick)));
        }
    }
}

fn told(tick: &Tick) -> String {
    let troubles = match (tick.not_ok, tick.backlog) {
        (0, 0) => String::new(),
        (not_ok, backlog) => format!("  {not_ok} not ok, {backlog} waiting"),
    };
    format!(
        "{:.0}/{:.0} s  {:.0} ok/s  p99 {:.2} ms{troubles}",
        tick.elapsed_s, tick.planned_s, tick.ok_per_s, tick.response_p99_ms
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_only_where_there_is_some() {
        let calm = Tick {
            phase: Phase::Measure,
            elapsed_s: 3.0,
            planned_s: 30.0,
            ok_per_s: 1999.6,
            not_ok: 0,
            backlog: 0,
            response_p99_ms: 4.256,
        };
        assert_eq!(told(&calm), "3/30 s  2000 ok/s  p99 4.26 ms");
        assert!(told(&Tick { not_ok: 2, backlog: 7, ..calm }).ends_with("2 not ok, 7 waiting"));
    }
}
