//! Placing partitions and looking a key's owners up.
#![allow(missing_docs, clippy::unwrap_used, reason = "criterion's macros make undocumented items; a bench fails by panicking")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use quorate_cluster::ring::{Placement, PlacementNode};

fn nodes(count: usize) -> Vec<PlacementNode> {
    let node = |i| PlacementNode { id: format!("n{i}").parse().unwrap(), capacity: 1 + (i as u32 % 4) };
    (0..count).map(node).collect()
}

fn ring(c: &mut Criterion) {
    let mut lookup = c.benchmark_group("ring/preference_list");
    for count in [3, 30, 300] {
        let placement = Placement::new(&nodes(count), 1024, 3);
        lookup.bench_with_input(BenchmarkId::from_parameter(count), &placement, |b, placement| {
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
    lookup.finish();
    let mut place = c.benchmark_group("ring/placement");
    place.sample_size(10);
    for count in [3, 30, 300] {
        let nodes = nodes(count);
        place.bench_with_input(BenchmarkId::from_parameter(count), &nodes, |b, nodes| {
            b.iter(|| Placement::new(black_box(nodes), 1024, 3));
        });
    }
    place.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
