//! What latencies a stalling server must show: a first-in-first-out queue with one server, event by event.
//!
//! A request arrives at its slot, whatever happened to those before. It is served in order, each taking
//! `service_ns`, and not at all while the server stalls; everything else on its way (`base_ns`) is the same
//! for all. Nothing here is fitted: slots are the generator's own, stalls come from the server's log, and the
//! two constants from a calm run.

/// A queue and its server.
#[derive(Clone, Debug)]
pub struct Queue<'a> {
    /// How long the server is busy with one request, in nanoseconds.
    pub service_ns: f64,
    /// The part of a latency that is neither waiting nor service, in nanoseconds.
    pub base_ns: f64,
    /// When the server stalls, in order: from, to, in nanoseconds on the clock of the slots.
    pub stalls: &'a [(f64, f64)],
}

impl Queue<'_> {
    /// The latency of each slot, in nanoseconds, in the order of the slots.
    #[must_use]
    pub fn latencies(&self, slots: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut stalls = self.stalls.iter().copied().peekable();
        let mut free = f64::NEG_INFINITY;
        let latency = |slot: f64| {
            let mut served = slot.max(free);
            while let Some((from, to)) = stalls.peek().copied() {
                if served + self.service_ns <= from {
                    break;
                }
                // A request whose service a stall falls into is finished after it.
                let done = (from - served).max(0.0);
                served = to.max(served) - if served < to { done } else { 0.0 };
                stalls.next();
            }
            free = served + self.service_ns;
            free - slot + self.base_ns
        };
        slots.into_iter().map(latency).collect()
    }
}

/// The value that a share of `q` of all are at most.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values[rank.clamp(1, values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_stalls_it_is_base_and_service_until_requests_meet() {
        let queue = Queue { service_ns: 10.0, base_ns: 3.0, stalls: &[] };
        assert_eq!(queue.latencies([0.0, 100.0, 104.0, 105.0]), [13.0, 13.0, 19.0, 28.0]);
    }

    #[test]
    fn a_stall_is_charged_to_all_that_wait_for_its_end() {
        let queue = Queue { service_ns: 10.0, base_ns: 0.0, stalls: &[(100.0, 200.0), (300.0, 320.0)] };
        // The second is half done when the stall begins; the fourth comes after the queue is gone.
        assert_eq!(queue.latencies([0.0, 95.0, 150.0, 290.0]), [10.0, 110.0, 65.0, 10.0]);
        assert_eq!(queue.latencies([310.0]), [20.0], "a stall that is over before counts for nothing");
    }

    #[test]
    fn it_agrees_with_the_closed_form() {
        // P(L > x) = (S - x) / ((1 - rho) T) for a stall S each T at utilisation rho.
        let (stall, period, service, gap) = (100e6, 1e9, 5e3, 50e3);
        let stalls: Vec<_> =
            (0..20).map(|n| f64::from(n) * period + 500e6).map(|from| (from, from + stall)).collect();
        let queue = Queue { service_ns: service, base_ns: 0.0, stalls: &stalls };
        let mut latencies = queue.latencies((0..400_000).map(|slot| f64::from(slot) * gap));
        for q in [0.95, 0.99, 0.999] {
            let expected = stall - (1.0 - q) * (1.0 - service / gap) * period;
            let simulated = quantile(&mut latencies, q);
            assert!((simulated / expected - 1.0).abs() < 2e-3, "{q}: {simulated} is not {expected}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!([0.0, 0.5, 0.75, 0.76, 1.0].map(|q| quantile(&mut values, q)), [1.0, 2.0, 3.0, 4.0, 4.0]);
    }
}
