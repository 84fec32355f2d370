//! Waits for a point in time, as exactly as the world allows.
//!
//! An open-loop generator is only as honest as its pacer: plain `tokio` timers round to a
//! millisecond and clump arrivals. The simulator's time is exact, so there a timer is enough.
//! [`RealPacer`] is for the machine, [`TimerPacer`] for simulated or paused time.

use std::sync::Arc;
use std::time::Duration;

use crate::{BoxFuture, Clock};

/// Waits until a point of [`Clock::monotonic_ns`].
pub trait Pacer: Send {
    /// Returns at `at_ns` or as little after it as possible, at once if it has passed.
    fn wait_until(&mut self, at_ns: u64) -> BoxFuture<'_, ()>;
}

/// Waits with `tokio::time` alone: exact where that time is simulated, coarse (1 ms) elsewhere.
pub struct TimerPacer {
    clock: Arc<dyn Clock>,
}

impl TimerPacer {
    /// A pacer on `clock`, which must run with `tokio::time`, be it faster or slower.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Pacer for TimerPacer {
    fn wait_until(&mut self, at_ns: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A loop, because a skewed clock may not be there yet when the timer is.
            while let Some(left_ns) = at_ns.checked_sub(self.clock.monotonic_ns()).filter(|&ns| ns > 0) {
                tokio::time::sleep(Duration::from_nanos(left_ns)).await;
            }
        })
    }
}

/// How long before the wanted time the kernel's timer is set to fire. The rest is spun away,
/// yielding to other tasks: a timer alone is some 40 us late, and spinning longer only burns.
const SPIN_NS: u64 = 50_000;

/// Waits on the real clock to within microseconds: a kernel timer up to 50 us before, then a
/// spin that lets other tasks of the runtime run.
///
/// Where the kernel is not Linux, the runtime's timer up to two milliseconds before stands in for the kernel's.
pub struct RealPacer {
    clock: Arc<dyn Clock>,
    timer: coarse::Timer,
}

impl RealPacer {
    /// A pacer on `clock`, which must be a real one.
    ///
    /// # Errors
    /// If the operating system gives no timer.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O and time enabled.
    pub fn new(clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        Ok(Self { clock, timer: coarse::Timer::new()? })
    }
}

impl Pacer for RealPacer {
    fn wait_until(&mut self, at_ns: u64) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            while let Some(left_ns) = at_ns.checked_sub(self.clock.monotonic_ns()).filter(|&ns| ns > 0) {
                if left_ns > SPIN_NS {
                    self.timer.sleep(Duration::from_nanos(left_ns - SPIN_NS)).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
        })
    }
}

#[cfg(target_os = "linux")]
use kernel as coarse;
#[cfg(not(target_os = "linux"))]
use portable as coarse;

/// The part of a wait that may be inexact: a timer of the kernel, waited for by the runtime.
#[cfg(target_os = "linux")]
mod kernel {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    /// A timerfd: its resolution is the kernel's, not the millisecond of the runtime's wheel.
    pub(super) struct Timer {
        fd: AsyncFd<OwnedFd>,
    }

    impl Timer {
        pub(super) fn new() -> io::Result<Self> {
            let fd =
                timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
            #[expect(
                deprecated,
                reason = "its successor is unsafe: the caller promises that the descriptor stays open, and an `OwnedFd` does"
            )]
            let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
            Ok(Self { fd })
        }

        /// Waits about `duration`. Falls back to the runtime's timer should the kernel refuse:
        /// late is better than never, and lateness is measured anyway.
        pub(super) async fn sleep(&mut self, duration: Duration) {
            if self.wait(duration).await.is_err() {
                tokio::time::sleep(duration).await;
            }
        }

        async fn wait(&mut self, duration: Duration) -> io::Result<()> {
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec {
                tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: duration.subsec_nanos().into(),
            };
            // Setting it forgets an expiry that nobody read, as after a wait that was dropped.
            timerfd_settime(
                self.fd.get_ref(),
                TimerfdTimerFlags::empty(),
                &Itimerspec { it_interval: zero, it_value: value },
            )?;
            loop {
                let mut ready = self.fd.readable().await?;
                let mut expirations = [0_u8; 8];
                match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                    Ok(read) => return read.map(|_| ()),
                    Err(_would_block) => {}
                }
            }
        }
    }
}

/// The part of a wait that may be inexact, where there is no timerfd: as exact, and dearer, since up to two
/// milliseconds before each slot are spun away. At more than some 500 slots a second that is a whole core.
#[cfg(any(test, not(target_os = "linux")))]
mod portable {
    use std::io;
    use std::time::Duration;

    /// The runtime's own timer.
    pub(super) struct Timer;

    impl Timer {
        #[cfg_attr(target_os = "linux", allow(dead_code, reason = "tests make their own"))]
        #[expect(clippy::unnecessary_wraps, reason = "elsewhere the kernel may refuse")]
        pub(super) fn new() -> io::Result<Self> {
            Ok(Self)
        }

        /// Waits less than `duration`, and leaves the rest to the spin.
        pub(super) async fn sleep(&mut self, duration: Duration) {
            // Its wheel turns in milliseconds: stop one early.
            if let Some(early) = duration.checked_sub(Duration::from_millis(1)) {
                tokio::time::sleep(early).await;
            } else {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::SystemClock;

    /// Tokio's own time, which a paused runtime moves.
    struct TokioClock(tokio::time::Instant);

    impl Clock for TokioClock {
        fn wall_ns(&self) -> u64 {
            self.monotonic_ns()
        }

        fn monotonic_ns(&self) -> u64 {
            u64::try_from(self.0.elapsed().as_nanos()).expect("a test is shorter than centuries")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timer_pacer_is_exact_on_simulated_time_and_does_not_wait_for_the_past() {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock(tokio::time::Instant::now()));
        let mut pacer = TimerPacer::new(Arc::clone(&clock));
        for at_ms in [1_u64, 2, 7, 7, 100] {
            pacer.wait_until(at_ms * 1_000_000).await;
            assert_eq!(clock.monotonic_ns(), at_ms * 1_000_000);
        }
        pacer.wait_until(5).await;
        assert_eq!(clock.monotonic_ns(), 100_000_000);
    }

    #[tokio::test]
    async fn real_pacer_never_returns_early_and_lets_other_tasks_run() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut pacer = RealPacer::new(Arc::clone(&clock)).expect("a timer");
        let other = tokio::spawn(async { 7 });
        for step_ns in [0, 1_000, 30_000, 200_000, 3_000_000] {
            let at_ns = clock.monotonic_ns() + step_ns;
            pacer.wait_until(at_ns).await;
            assert!(clock.monotonic_ns() >= at_ns, "woke before the time asked for");
        }
        assert!(other.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn the_timer_for_other_systems_is_never_late_and_leaves_little_to_the_spin() {
        for wanted_us in [0, 400, 999, 1000, 2500, 17_300, 1_000_000] {
            let (wanted, began) = (Duration::from_micros(wanted_us), tokio::time::Instant::now());
            portable::Timer.sleep(wanted).await;
            let waited = began.elapsed();
            assert!(waited <= wanted, "{wanted:?}: {waited:?}");
            assert!(wanted - waited <= Duration::from_millis(2), "{wanted:?}: {waited:?}");
        }
    }

    #[tokio::test]
    async fn a_dropped_wait_does_not_cut_the_next_one_short() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mut pacer = RealPacer::new(Arc::clone(&clock)).expect("a timer");
        // On a busy machine the time may have come before the wait has begun: then once more.
        while pacer.wait_until(clock.monotonic_ns() + 1_000_000).now_or_never().is_some() {}
        let at_ns = clock.monotonic_ns() + 3_000_000;
        pacer.wait_until(at_ns).await;
        assert!(clock.monotonic_ns() >= at_ns);
    }
}
