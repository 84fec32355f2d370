//! Joining sibling sets of 3, 30 and 300 values from as many actors.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use quorate_cluster::version::{Actor, Context, Dot, Payload, SiblingSet};

/// Values of `count` actors, of which each side has seen two thirds.
fn sides(count: u64) -> (SiblingSet, SiblingSet) {
    let blind = |i: u64| {
        let actor = Actor { node: format!("n{}", i % 5).parse().unwrap(), incarnation: i, epoch: 0 };
        SiblingSet::put(Context::new(), Dot { actor, counter: 1 }, Payload::bytes(vec![0; 64]))
    };
    let of = |skip: u64| {
        (0..count).filter(|i| i % 3 != skip).map(blind).fold(SiblingSet::default(), SiblingSet::merge)
    };
    (of(0), of(1))
}

fn version(c: &mut Criterion) {
    let mut join = c.benchmark_group("version/join");
    for count in [3, 30, 300] {
        let (a, b) = sides(count);
        assert_eq!(a.clone().merge(b.clone()).siblings().len() as u64, count);
        join.bench_with_input(BenchmarkId::from_parameter(count), &(a, b), |bench, (a, b)| {
            bench.iter_batched(
                || (a.clone(), b.clone()),
                |(a, b)| black_box(a.merge(b)),
                BatchSize::SmallInput,
            );
        });
    }
    join.finish();
}

criterion_group!(benches, version);
criterion_main!(benches);
