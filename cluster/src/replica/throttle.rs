//! Holds background work to a rate of its own, below what the node's controller lets through.

use std::sync::Arc;
use std::time::Duration;

use crate::admission::Background;

/// Work that was not paid for yet may grow to this before it is slept off: timers are coarse.
const BURST: Duration = Duration::from_millis(5);

/// Lets so many bytes a second pass, and others run in between.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: u64,
    owed: Duration,
    background: Option<Arc<Background>>,
}

impl Throttle {
    /// A throttle to this many bytes a second, at least one.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), owed: Duration::ZERO, background: None }
    }

    /// Asks `background` as well.
    #[must_use]
    pub fn yielding(self, background: &Arc<Background>) -> Self {
        Self { background: Some(Arc::clone(background)), ..self }
    }

    /// Waits for as long as `bytes` should take, sooner or later; yields in any case.
    pub async fn spend(&mut self, bytes: u64) {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.owed += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        if self.owed >= BURST {
            tokio::time::sleep(std::mem::take(&mut self.owed)).await;
        } else {
            tokio::task::yield_now().await;
        }
        if let Some(background) = &self.background {
            background.slot(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_small_pieces_take_the_time_of_one_large_one() {
        let began = tokio::time::Instant::now();
        let mut throttle = Throttle::new(1_000_000);
        for _ in 0..1_000 {
            throttle.spend(1_000).await;
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(990) && took < Duration::from_millis(1_300), "{took:?}");
    }
}
