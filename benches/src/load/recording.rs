//! What it costs to record one operation: four histograms and the counts beside them.

use std::hint::black_box;
use std::time::Instant;

use quorate_loadgen::recorder::{Sample, Tally};
use quorate_loadgen::{OpKind, Outcome, Recorder};

const OPERATIONS: u64 = 4_000_000;

/// Nanoseconds for each operation, the best of some tries: half gets, half puts, latencies of 0.1 to 1 ms.
#[must_use]
pub fn nanoseconds() -> f64 {
    let samples: Vec<Sample> = (0..4096_u64)
        .map(|n| {
            let drawn = quorate_env::random::mix(n);
            let service_ns = 100_000 + drawn % 900_000;
            Sample {
                op: if drawn & 1 == 0 { OpKind::Get } else { OpKind::Put },
                outcome: Outcome::Ok,
                timed_out: false,
                response_ns: service_ns + drawn % 10_000,
                service_ns,
                wait_ns: Some(drawn % 10_000),
                lateness_ns: Some(drawn % 5_000),
            }
        })
        .collect();
    let tries = (0..5).map(|_| {
        let mut tally = Tally::default();
        samples.iter().for_each(|sample| tally.record(sample));
        let started = Instant::now();
        for n in 0..OPERATIONS {
            tally.record(black_box(&samples[(n & 4095) as usize]));
        }
        let elapsed = started.elapsed().as_nanos() as f64 / OPERATIONS as f64;
        let mut recorder = Recorder::default();
        tally.move_to(&mut recorder);
        assert_eq!(recorder.finished(), OPERATIONS + 4096);
        elapsed
    });
    tries.fold(f64::MAX, f64::min)
}
