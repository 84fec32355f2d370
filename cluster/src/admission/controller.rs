//! How fast background work may go: a feedback controller on the latency of requests.
//!
//! Dynamo, section 6.5: background tasks "run only when the regular critical operations are not
//! affected significantly"; an admission controller watches the foreground's percentiles and
//! changes the slices given to the background. Here the rate rises by steps while the 99th
//! percentile of a window stays near that of calm windows, and is halved when it does not
//! (additive increase, multiplicative decrease, as in TCP).
//!
//! What is calm changes with the load, so now and then background work holds still and the latency
//! without it is learned anew; not from the first window without, in which what was begun before
//! still lingers. A floor under the rate keeps it from
//! starving for ever, whatever the foreground does.
//!
//! Pure: time and latencies come in as arguments.

use std::time::Duration;

use super::latencies::Latencies;

/// A window lasts at least this long,
const WINDOW_NS: u64 = 100_000_000;
/// and at most this long,
const WINDOW_MAX_NS: u64 = 1_000_000_000;
/// ending once it has so many latencies: fewer have no 99th percentile to speak of.
const SAMPLES_MIN: u32 = 64;
/// With fewer than these nobody is there to be disturbed.
const SAMPLES_NOBODY: u32 = 8;
/// Windows with background work in a row before some without.
const BUSY_MAX: u32 = 50;
/// Windows in a row in which work holds still. Work that peers wait for cannot be held up for long:
/// if it is what goes on, there is no calm to be seen.
const STILL_MAX: u32 = 4;
/// How far above calm the percentile may be,
const TOLERANCE: f64 = 1.5;
/// unless the difference is too small to matter to anybody.
const SLACK_NS: f64 = 500_000.0;
/// Weight of one calm window in what is thought to be calm.
const LEARNING: f64 = 0.25;
/// The floor, in bytes a second.
pub(super) const RATE_MIN: f64 = 524_288.0;
/// The rate to begin with.
const RATE_START: f64 = 8.0 * 1_048_576.0;
/// What is added after a window in which nobody was disturbed.
const RATE_STEP: f64 = 2.0 * 1_048_576.0;
/// The ceiling: more than a disk does.
const RATE_MAX: f64 = 512.0 * 1_048_576.0;
/// Work that may go at once after a pause: timers are coarse.
const BURST_NS: u64 = 5_000_000;

/// Decides who may go on. Latencies in, slots out.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    window: Latencies,
    window_began_ns: u64,
    /// Background work let through in this window, in bytes.
    worked: u64,
    /// Whether somebody had to wait for the rate in this window.
    wanted_more: bool,
    /// Background work waits, to show the latency without it.
    holding_still: bool,
    busy_windows: u32,
    quiet_windows: u32,
    still_windows: u32,
    /// The 99th percentile of calm windows, once there was one.
    calm_ns: Option<f64>,
    /// In bytes a second.
    rate: f64,
    /// Bytes let through that are not paid for by time yet; below zero after a pause.
    debt: f64,
    paid_until_ns: u64,
}

impl Controller {
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            window: Latencies::new(),
            window_began_ns: now_ns,
            worked: 0,
            wanted_more: false,
            holding_still: false,
            busy_windows: 0,
            quiet_windows: 0,
            still_windows: 0,
            calm_ns: None,
            rate: RATE_START,
            debt: 0.0,
            paid_until_ns: now_ns,
        }
    }

    /// A request was served in `latency_ns`.
    pub(super) fn served(&mut self, now_ns: u64, latency_ns: u64) {
        self.window.note(latency_ns);
        self.end_window_if_due(now_ns);
    }

    /// Lets `bytes` of background work through, or says how long to wait before asking again.
    pub(super) fn ask(&mut self, now_ns: u64, bytes: u64) -> Result<(), Duration> {
        self.end_window_if_due(now_ns);
        if self.holding_still {
            let until = self.window_began_ns + WINDOW_NS;
            return Err(Duration::from_nanos(until.saturating_sub(now_ns).max(BURST_NS)));
        }
        let elapsed = now_ns.saturating_sub(self.paid_until_ns) as f64 / 1e9;
        self.paid_until_ns = self.paid_until_ns.max(now_ns);
        let credit_max = self.rate * BURST_NS as f64 / 1e9;
        self.debt = (self.debt - elapsed * self.rate).max(-credit_max);
        if self.debt > 0.0 {
            self.wanted_more = true;
            // Not for longer than a window: the rate may have risen by then.
            let wait_ns = (self.debt / self.rate * 1e9).min(WINDOW_NS as f64);
            return Err(Duration::from_nanos(wait_ns as u64 + 1));
        }
        self.debt += bytes as f64;
        self.worked += bytes;
        Ok(())
    }

    /// `bytes` of background work went on although they were not let through. They use up nothing:
    /// peers who bring more than the rate allows would keep this node's own work from going on.
    pub(super) fn forced(&mut self, now_ns: u64, bytes: u64) {
        self.end_window_if_due(now_ns);
        self.worked += bytes;
    }

    /// Bytes a second.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    fn end_window_if_due(&mut self, now_ns: u64) {
        let age = now_ns.saturating_sub(self.window_began_ns);
        let due = age >= WINDOW_NS && self.window.total() >= SAMPLES_MIN || age >= WINDOW_MAX_NS;
        // Holding still is for the sake of those that are served: if nobody is, it ends soon.
        let in_vain = self.holding_still && age >= WINDOW_NS && self.window.total() < SAMPLES_NOBODY;
        if due || in_vain {
            self.end_window();
            self.window_began_ns = now_ns;
        }
    }

    fn end_window(&mut self) {
        let p99 = self.window.p99_ns().filter(|_| self.window.total() >= SAMPLES_NOBODY);
        let worked = self.worked > 0;
        self.still_windows = if self.holding_still { self.still_windows + 1 } else { 0 };
        let in_vain = self.still_windows >= STILL_MAX;
        match p99 {
            None if worked => self.rate = (self.rate * 2.0).min(RATE_MAX),
            None => {}
            // Nothing better is to be had.
            Some(p99) if in_vain && self.calm_ns.is_none() => self.learn(p99 as f64),
            Some(p99) if !worked && self.quiet_windows > 0 => self.learn(p99 as f64),
            Some(_) if !worked => {}
            Some(p99) if self.disturbs(p99 as f64) => self.rate = (self.rate / 2.0).max(RATE_MIN),
            // What nobody asks for would only be a burst for later.
            Some(_) if self.wanted_more => self.rate = (self.rate + RATE_STEP).min(RATE_MAX),
            Some(_) => {}
        }
        (self.busy_windows, self.quiet_windows) =
            if worked { (self.busy_windows + 1, 0) } else { (self.busy_windows, self.quiet_windows + 1) };
        if self.quiet_windows >= 2 || in_vain {
            self.busy_windows = 0;
        }
        let unsure = self.calm_ns.is_none() && self.busy_windows > 0;
        self.holding_still = p99.is_some() && (unsure || self.busy_windows >= BUSY_MAX);
        self.window.clear();
        self.worked = 0;
        self.wanted_more = false;
    }

    fn learn(&mut self, p99_ns: f64) {
        self.calm_ns = Some(match self.calm_ns {
            None => p99_ns,
            Some(calm) => calm + (p99_ns - calm) * LEARNING,
        });
    }

    fn disturbs(&self, p99_ns: f64) -> bool {
        self.calm_ns.is_some_and(|calm| p99_ns > (calm * TOLERANCE).max(calm + SLACK_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A foreground of 2,000 requests a second whose latency a function of the background's rate
    /// tells, and a background that takes all it gets in pieces of 16 KiB.
    struct World {
        controller: Controller,
        now_ns: u64,
        /// Bytes of background work done.
        done: u64,
        /// Latencies of the foreground, by millisecond.
        latencies_ns: Vec<u64>,
    }

    impl World {
        fn new() -> Self {
            Self { controller: Controller::new(0), now_ns: 0, done: 0, latencies_ns: Vec::new() }
        }

        /// Runs for so many milliseconds. `latency` is told the bytes of background work done in the
        /// last ten milliseconds.
        fn run(&mut self, milliseconds: u64, works: bool, latency: impl Fn(u64) -> Option<u64>) {
            let mut recent = [0_u64; 10];
            for ms in 0..milliseconds {
                self.now_ns += MS;
                let before = self.done;
                while works && self.controller.ask(self.now_ns, 16 << 10).is_ok() {
                    self.done += 16 << 10;
                }
                recent[ms as usize % 10] = self.done - before;
                if let Some(latency_ns) = latency(recent.iter().sum()) {
                    self.latencies_ns.push(latency_ns);
                    (0..2).for_each(|_| self.controller.served(self.now_ns, latency_ns));
                }
            }
        }

        /// Bytes a second over a stretch of so many milliseconds.
        fn rate(&mut self, milliseconds: u64, latency: impl Fn(u64) -> Option<u64>) -> u64 {
            let before = self.done;
            self.run(milliseconds, true, latency);
            (self.done - before) * 1000 / milliseconds
        }
    }

    #[test]
    fn without_a_foreground_it_goes_as_fast_as_it_can() {
        let mut world = World::new();
        world.run(10_000, true, |_| None);
        assert!(world.controller.rate() >= RATE_MAX, "{}", world.controller.rate());
    }

    #[test]
    fn it_never_starves() {
        let mut world = World::new();
        world.run(1_000, false, |_| Some(MS));
        // Slow whenever anything at all was done.
        let slow = |recent| Some(if recent > 0 { 100 * MS } else { MS });
        world.run(2_000, true, slow);
        assert!((world.controller.rate() - RATE_MIN).abs() < 1.0);
        let rate = world.rate(60_000, slow);
        assert!(rate as f64 > RATE_MIN * 0.9, "{rate} bytes a second are less than the floor");
        assert!((rate as f64) < RATE_MIN * 1.1, "{rate} bytes a second are more than the floor");
    }

    #[test]
    fn it_settles_where_requests_hardly_notice() {
        let mut world = World::new();
        world.run(2_000, false, |_| Some(2 * MS));
        // Twice the latency at 40 MiB a second.
        let shared = |recent: u64| Some(2 * MS + 2 * MS * (recent * 100) / (40 << 20));
        world.run(5_000, true, shared);
        world.latencies_ns.clear();
        let rate = world.rate(60_000, shared);
        let mut latencies = std::mem::take(&mut world.latencies_ns);
        latencies.sort_unstable();
        let p99 = latencies[latencies.len() * 99 / 100];
        assert!(p99 <= 2 * MS * 16 / 10, "p99 is {p99} ns, calm is {} ns", 2 * MS);
        assert!(rate > 10 << 20, "{rate} bytes a second leave much of the machine unused");
    }

    #[test]
    fn it_yields_within_a_second_and_comes_back() {
        let mut world = World::new();
        world.run(1_000, false, |_| Some(MS));
        world.run(5_000, true, |_| Some(MS));
        let fast = world.controller.rate();
        world.run(1_000, true, |recent| Some(if recent > 0 { 20 * MS } else { MS }));
        assert!(world.controller.rate() < fast / 100.0, "{} after {fast}", world.controller.rate());
        world.run(5_000, true, |_| Some(MS));
        assert!(world.controller.rate() > fast / 2.0, "{} after {fast}", world.controller.rate());
    }

    #[test]
    fn a_load_that_is_slow_by_itself_does_not_hold_it_down_for_ever() {
        let mut world = World::new();
        world.run(1_000, false, |_| Some(MS));
        world.run(3_000, true, |_| Some(5 * MS));
        assert!((world.controller.rate() - RATE_MIN).abs() < 1.0, "it cannot know that it is innocent");
        world.run(60_000, true, |_| Some(5 * MS));
        assert!(world.controller.rate() > RATE_START, "{}", world.controller.rate());
    }

    #[test]
    fn work_that_could_not_wait_is_not_taken_for_calm_and_does_not_stop_the_rest() {
        let mut world = World::new();
        world.run(2_000, false, |_| Some(MS));
        let before = world.done;
        // Peers bring something all the time, whatever is let through, and are felt.
        for _ in 0..20_000 {
            world.controller.forced(world.now_ns, 4 << 10);
            world.run(1, true, |_| Some(3 * MS));
        }
        let calm_ns = world.controller.calm_ns;
        assert!(calm_ns.is_some_and(|calm| calm < 1.1 * MS as f64), "{calm_ns:?}");
        let rate = (world.done - before) as f64 / 20.0;
        assert!((RATE_MIN * 0.8..RATE_MIN * 2.0).contains(&rate), "{rate} bytes a second");
    }

    #[test]
    fn with_nothing_but_work_that_could_not_wait_it_learns_what_it_can() {
        let mut world = World::new();
        for _ in 0..5_000 {
            world.controller.forced(world.now_ns, 4 << 10);
            world.run(1, true, |_| Some(3 * MS));
        }
        assert!(world.controller.calm_ns.is_some());
        assert!(world.controller.rate() > RATE_START, "{}", world.controller.rate());
    }

    #[test]
    fn it_learns_what_calm_is_though_it_is_busy_from_the_start() {
        let mut world = World::new();
        let slow = |recent| Some(if recent > 0 { 30 * MS } else { MS });
        world.run(5_000, true, slow);
        assert!((world.controller.rate() - RATE_MIN).abs() < 1.0, "{}", world.controller.rate());
    }
}
