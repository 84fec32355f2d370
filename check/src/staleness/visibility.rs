//! Measured t-visibility (Bailis et al., VLDB 2012): of the gets that were called a time t after the last
//! acknowledged write before them, how many returned that write or one that is not older for certain.

use super::Get;
use crate::history::{Function, History, Outcome};
use crate::linearizable::clusters::Clusters;
use crate::linearizable::{Op, Step};
use crate::report::Visibility;

/// Upper bounds of the buckets, in nanoseconds: 1, 2, 5 and so on from ten microseconds to a minute and
/// more; the last bucket has no bound.
const BOUNDS: [i64; 24] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
    100_000_000_000,
    200_000_000_000,
    i64::MAX,
];

/// Gets by how soon after a write they came: how many, and how many of them fresh.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets([(u64, u64); BOUNDS.len()]);

impl Buckets {
    fn count(&mut self, since_ns: i64, fresh: bool) {
        let at = BOUNDS.partition_point(|&bound| bound <= since_ns).min(BOUNDS.len() - 1);
        self.0[at].0 += 1;
        self.0[at].1 += u64::from(fresh);
    }

    /// Counts the gets of a linearizable key.
    pub(crate) fn take_fresh(&mut self, history: &History, key: usize) {
        let of_key = history.of_key(key);
        let is_put = |number: &&u32| {
            let entry = history.entry(**number);
            entry.outcome == Outcome::Ok && matches!(entry.f, Function::Put | Function::Cas)
        };
        let mut returns: Vec<i64> =
            of_key.iter().filter(is_put).map(|&number| history.entry(number).ret).collect();
        returns.sort();
        let mut next = 0;
        for &number in of_key.iter().filter(|&&number| history.is_read(number)) {
            let call = history.entry(number).invoke;
            while returns.get(next).is_some_and(|&ret| ret < call) {
                next += 1;
            }
            if let Some(last) = next.checked_sub(1) {
                self.count(call - returns[last], true);
            }
        }
    }

    /// Counts the gets of any key whose values are unique; gets are in order of their calls.
    pub(super) fn take(&mut self, ops: &[Op], clusters: &Clusters, gets: &[Get]) {
        debug_assert!(clusters.of_op.len() == ops.len(), "the clusters are those of these operations");
        let mut writes: Vec<(i64, i64)> = ops
            .iter()
            .filter(|op| op.returned() && !matches!(op.step, Step::Read(_)))
            .map(|op| (op.ret, op.call))
            .collect();
        writes.sort();
        let mut next = 0;
        for get in gets {
            while writes.get(next).is_some_and(|&(ret, _)| ret < get.call) {
                next += 1;
            }
            if let Some(last) = next.checked_sub(1) {
                let (ret, call) = writes[last];
                self.count(get.call - ret, get.write_ret >= call);
            }
        }
    }

    /// The buckets that have gets in them.
    pub(crate) fn report(&self) -> Vec<Visibility> {
        BOUNDS
            .iter()
            .zip(self.0)
            .filter(|(_, (reads, _))| *reads > 0)
            .map(|(&bound, (reads, fresh))| Visibility {
                below_ms: (bound != i64::MAX).then_some(bound as f64 / 1e6),
                reads,
                fresh,
            })
            .collect()
    }
}
