//! Traces a simulated run while it goes on.

use std::collections::BTreeMap;

use quorate_check::history::Operation;
use quorate_env::RandomWatch;

use crate::fault::FaultEvent;
use crate::trace::{Hash, Tape, Trace};

/// Gathers what a trace is made of.
pub(super) struct Tracer {
    tape: Tape,
    random: RandomWatch,
    trace: Trace,
    /// The second that is under way.
    second: u64,
    /// How much had been drawn from each stream before it.
    drawn: BTreeMap<String, u64>,
}

impl Tracer {
    /// Begins, before the first stream of the run is made.
    pub(super) fn begin() -> Self {
        Self {
            tape: Tape::default(),
            random: RandomWatch::begin(),
            trace: Trace::default(),
            second: 0,
            drawn: BTreeMap::new(),
        }
    }

    /// Where hosts note what they send and receive.
    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Between two ticks: it is now so late.
    pub(super) fn look(&mut self, at_ms: u64) {
        if at_ms / 1_000 > self.second {
            self.note_random();
            self.second = at_ms / 1_000;
        }
    }

    fn note_random(&mut self) {
        for drawn in self.random.drawn() {
            let before = self.drawn.insert(drawn.path.clone(), drawn.count);
            if before.unwrap_or(0) != drawn.count {
                let mut hash = Hash::default();
                hash.number(drawn.count);
                hash.number(drawn.hash);
                self.trace.add(self.second, &format!("random {}", drawn.path), hash);
            }
        }
    }

    /// The trace of the whole run.
    pub(super) fn end(mut self, operations: &[Operation], events: &[FaultEvent]) -> Trace {
        self.note_random();
        self.tape.add_to(&mut self.trace);
        self.trace.add_history(operations);
        self.trace.add_faults(events);
        self.trace
    }
}
