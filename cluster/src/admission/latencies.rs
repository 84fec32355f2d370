//! Latencies of one window, coarsely: good for a percentile, small enough to reset at will.

/// Steps between one power of two and the next.
const STEPS: u64 = 16;
/// As many as 64 bits need.
const BUCKETS: usize = 64 * STEPS as usize;

/// A histogram with steps of about 6 %.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    counts: Vec<u32>,
    total: u32,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(super) fn note(&mut self, ns: u64) {
        let count = &mut self.counts[bucket(ns)];
        *count = count.saturating_add(1);
        self.total = self.total.saturating_add(1);
    }

    /// How many were noted.
    pub(super) fn total(&self) -> u32 {
        self.total
    }

    /// At least 99 of 100 took no longer than this; nothing if there are none.
    pub(super) fn p99_ns(&self) -> Option<u64> {
        let slower = self.total / 100;
        let mut seen = 0_u32;
        let found = self.counts.iter().enumerate().rev().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen > slower
        });
        found.map(|(at, _)| top_of(at))
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

/// The bucket of a latency: its power of two, and the step within.
fn bucket(ns: u64) -> usize {
    let ns = ns.max(1);
    let octave = u64::from(ns.ilog2());
    let within = ((u128::from(ns) - (1 << octave)) * u128::from(STEPS)) >> octave;
    usize::try_from(octave * STEPS + within as u64).unwrap_or(BUCKETS - 1).min(BUCKETS - 1)
}

/// The upper end of a bucket.
fn top_of(at: usize) -> u64 {
    let (octave, within) = (at as u64 / STEPS, at as u64 % STEPS);
    let top = (1_u128 << octave) + (((u128::from(within) + 1) << octave) / u128::from(STEPS));
    u64::try_from(top).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_has_a_bucket_whose_top_is_little_above_it() {
        for ns in [0, 1, 2, 15, 16, 17, 1000, 999_999, 1 << 40, u64::MAX / 2, u64::MAX] {
            let top = top_of(bucket(ns)) as f64;
            let ns = ns.max(1) as f64;
            assert!(top >= ns && top <= ns * 1.07 + 1.0, "{ns} is in a bucket up to {top}");
        }
    }

    #[test]
    fn one_of_a_hundred_is_beyond_the_percentile() {
        let mut window = Latencies::new();
        assert_eq!(window.p99_ns(), None);
        (0..99).for_each(|_| window.note(1_000));
        window.note(1_000_000);
        let p99 = window.p99_ns().unwrap_or_default();
        assert!((1_000..1_100).contains(&p99), "{p99}");
        window.note(1_000_000);
        assert!(window.p99_ns().unwrap_or_default() > 900_000, "two of 101 are more than one of a hundred");
        window.clear();
        assert_eq!((window.total(), window.p99_ns()), (0, None));
    }
}
