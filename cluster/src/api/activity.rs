//! What goes on on one HTTP/2 connection, and when it is time to hang up.
//!
//! HTTP/1.1 has one request at a time, so a stream that takes no bytes is a client that takes no answer,
//! and silence is a client that asks nothing. In HTTP/2 a client may keep the stream busy with pings and
//! give no room for answers; hence it is requests and answers that are watched, not bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Requests in hand on one connection.
pub(super) struct Activity(Mutex<State>);

struct State {
    in_hand: usize,
    /// When the last request came or the last answer went.
    last: Instant,
    /// Answers on their way, and when a part of each was last taken.
    answers: BTreeMap<u64, Instant>,
    answers_begun: u64,
}

/// What a connection is hung up on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was asked for too long.
    Request,
    /// An answer was not taken for too long.
    Answer,
}

impl Activity {
    /// That of a connection that begins now.
    pub(super) fn new() -> Self {
        let state = State { in_hand: 0, last: Instant::now(), answers: BTreeMap::new(), answers_begun: 0 };
        Self(Mutex::new(state))
    }

    /// A request came. It is in hand until what this returns is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InHand {
        let mut state = self.lock();
        state.in_hand += 1;
        state.last = Instant::now();
        InHand { activity: Arc::clone(self), answer: None }
    }

    /// Waits until nothing was in hand for `ask_within`, or no part of some answer was taken for
    /// `take_within`.
    pub(super) async fn overdue(&self, ask_within: Duration, take_within: Duration) -> Overdue {
        loop {
            let now = Instant::now();
            let (due, what) = {
                let state = self.lock();
                match state.answers.values().min() {
                    Some(taken) => (*taken + take_within, Overdue::Answer),
                    None if state.in_hand == 0 => (state.last + ask_within, Overdue::Request),
                    // Nothing that begins from now on is overdue before that.
                    None => (now + ask_within.min(take_within), Overdue::Request),
                }
            };
            if due <= now {
                return what;
            }
            sleep_until(due).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves numbers, all still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in hand, until its answer was handed over or nobody wants it any more.
pub(super) struct InHand {
    activity: Arc<Activity>,
    answer: Option<u64>,
}

impl InHand {
    /// The answer is there, or another part of it was taken.
    pub(super) fn goes_on(&mut self) {
        let mut state = self.activity.lock();
        let answer = *self.answer.get_or_insert_with(|| {
            state.answers_begun += 1;
            state.answers_begun
        });
        state.answers.insert(answer, Instant::now());
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.in_hand -= 1;
        state.last = Instant::now();
        if let Some(answer) = self.answer {
            state.answers.remove(&answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASK: Duration = Duration::from_secs(10);
    const TAKE: Duration = Duration::from_secs(4);

    async fn after(activity: &Activity) -> (Overdue, Duration) {
        let began = Instant::now();
        (activity.overdue(ASK, TAKE).await, began.elapsed().round_to_seconds())
    }

    trait RoundToSeconds {
        fn round_to_seconds(self) -> Duration;
    }

    impl RoundToSeconds for Duration {
        fn round_to_seconds(self) -> Duration {
            Duration::from_secs(self.as_secs())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_answer() {
        let activity = Arc::new(Activity::new());
        assert_eq!(after(&activity).await, (Overdue::Request, ASK));
        let request = activity.begin();
        let waiting = Arc::clone(&activity);
        let waiting = tokio::spawn(async move { after(&waiting).await });
        tokio::time::sleep(Duration::from_secs(25)).await;
        assert!(!waiting.is_finished(), "a request is in hand, however long it takes");
        drop(request);
        assert_eq!(waiting.await.expect("no panic"), (Overdue::Request, Duration::from_secs(35)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_answer_that_is_not_taken_is_enough_whatever_becomes_of_the_others() {
        let activity = Arc::new(Activity::new());
        let (mut stuck, mut taken) = (activity.begin(), activity.begin());
        stuck.goes_on();
        let taking = tokio::spawn(async move {
            for _ in 0..100 {
                taken.goes_on();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        assert_eq!(after(&activity).await, (Overdue::Answer, TAKE));
        drop(stuck);
        taking.await.expect("no panic");
        assert_eq!(after(&activity).await, (Overdue::Request, ASK));
    }
}
