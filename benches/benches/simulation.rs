//! One whole simulated run: five nodes, 60 simulated seconds, ten clients and twenty faults, played
//! and judged. The goal is at most 6 CPU seconds a seed; the run is one thread, so time is CPU time.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench fails by panicking and has no callers")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use quorate_chaos::run::run;
use quorate_chaos::scenario::Scenario;
use quorate_chaos::world::{Seams, SimulatedWorld};
use quorate_check::Verdict;

fn whole_run(c: &mut Criterion) {
    let mut group = c.benchmark_group("simulation");
    group.sample_size(10).measurement_time(Duration::from_secs(20));
    for (name, profile) in [("calm", "dynamo"), ("mixed", "dynamo"), ("mixed", "quorum")] {
        let scenario = Scenario::load(name).unwrap();
        group.bench_with_input(BenchmarkId::new(name, profile), &scenario, |b, scenario| {
            b.iter(|| {
                let run = run(&SimulatedWorld, black_box(scenario), profile, 1, &Seams::default()).unwrap();
                assert_eq!(run.verdict.verdict, Verdict::Valid);
                run.played.operations.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole_run);
criterion_main!(benches);
