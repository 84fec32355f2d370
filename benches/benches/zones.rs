//! The zone check: linearizability of one register with unique writes.
//!
//! One key, 100 closed-loop clients, half puts, valid: nothing to find early, so everything is looked
//! at. The history is built before the clock starts; each size is checked once for its verdict first, so
//! the bench is a test too. Bar: 1M operations in at most 0.5 s.

use std::collections::BTreeMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_check::history::{Argument, Function, History, Operation, Outcome, sort_by_invocation};
use quorate_check::{Model, Options, Verdict, check};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CLIENTS: u64 = 100;

/// A history of a register that really is one: every operation takes effect at a moment of its own.
fn history(operations: u64, stale: bool) -> History {
    let mut random = StdRng::seed_from_u64(7);
    let mut by_moment: BTreeMap<(u64, u64), Operation> = BTreeMap::new();
    for client in 0..CLIENTS {
        let mut now = random.random_range(0..10_000);
        for _ in 0..operations / CLIENTS {
            let mut operation = Operation::invoked(client, Function::Get, "k", now);
            let return_ns = now + 1_000 + random.random_range(0..20_000);
            let moment = random.random_range(now..=return_ns);
            operation.return_ns = Some(return_ns);
            operation.outcome = Outcome::Ok;
            if random.random() {
                operation.f = Function::Put;
            }
            by_moment.insert((moment, client), operation);
            now = return_ns + 1 + random.random_range(0..100);
        }
    }
    let (mut value, mut old) = (None, None);
    let count = by_moment.len();
    let mut recorded: Vec<Operation> = Vec::with_capacity(count);
    for (number, mut operation) in (0_i64..).zip(by_moment.into_values()) {
        if operation.f == Function::Put {
            value = Some(number);
            operation.value = Some(Argument::from(number));
            old = old.or(value);
        } else {
            let seen = if stale && recorded.len() > count / 2 { old } else { value };
            operation.values = Some(seen.into_iter().map(Into::into).collect());
        }
        recorded.push(operation);
    }
    sort_by_invocation(&mut recorded);
    History::from_operations(&recorded).expect("the generator keeps to the format")
}

fn zones(criterion: &mut Criterion) {
    let options = Options { model: Some(Model::Register), ..Options::default() };
    let mut group = criterion.benchmark_group("zones");
    group.sample_size(10);
    for (operations, stale) in [(10_000, false), (1_000_000, false), (1_000_000, true)] {
        let history = history(operations, stale);
        let report = check(&history, &options);
        let expected = if stale { Verdict::Invalid } else { Verdict::Valid };
        assert_eq!((report.verdict, report.algorithm.as_str()), (expected, "zones"));
        let name = if stale { "one key, invalid" } else { "one key, valid" };
        group.throughput(Throughput::Elements(operations));
        group.bench_function(BenchmarkId::new(name, operations), |bencher| {
            bencher.iter(|| black_box(check(black_box(&history), &options)).verdict);
        });
    }
    group.finish();
}

criterion_group!(benches, zones);
criterion_main!(benches);
