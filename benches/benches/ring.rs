//! Placing partitions, changing a placement, and looking a key's owners up.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "criterion's macros make undocumented items; a bench fails by panicking"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use quorate_cluster::ring::{Placement, PlacementNode};

/// Partitions for each server where a ring is large: 24 copies a server at three replicas.
const PARTITIONS_PER_SERVER: u32 = 8;

fn nodes(count: usize) -> Vec<PlacementNode> {
    let node = |i| PlacementNode {
        id: format!("n{i}").parse().unwrap(),
        capacity: 1 + (i as u32 % 4),
        zone: format!("z{}", i % 5),
    };
    (0..count).map(node).collect()
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/preference_list");
    for count in [3, 30, 300] {
        let placement = Placement::new(&nodes(count), 1024, 3);
        group.bench_with_input(BenchmarkId::from_parameter(count), &placement, |b, placement| {
            let mut i = 0_u64;
            b.iter(|| {
                i += 1;
                let partition = placement.partition_of(&i.to_be_bytes());
                let list = placement.preference_list(partition, 16);
                assert_eq!(list.primaries.len(), 3);
                black_box(list)
            });
        });
    }
    group.finish();
}

fn place(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/placement");
    group.sample_size(10);
    for (count, partitions) in [(3, 1024), (30, 1024), (300, 2400), (10_000, 10_000 * PARTITIONS_PER_SERVER)]
    {
        let nodes = nodes(count);
        group.bench_with_input(BenchmarkId::from_parameter(count), &nodes, |b, nodes| {
            b.iter(|| Placement::new(black_box(nodes), partitions, 3));
        });
    }
    group.finish();
}

/// One server joins.
fn join(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring/join");
    group.sample_size(10);
    for (count, partitions) in [(30, 1024), (300, 2400), (10_000, 10_000 * PARTITIONS_PER_SERVER)] {
        let before = Placement::new(&nodes(count), partitions, 3);
        let joined = nodes(count + 1);
        group.bench_with_input(BenchmarkId::from_parameter(count), &before, |b, before| {
            b.iter(|| {
                let after = before.change(black_box(&joined));
                assert_eq!(after.nodes().len(), count + 1);
                after
            });
        });
    }
    group.finish();
}

criterion_group!(benches, lookup, place, join);
criterion_main!(benches);
