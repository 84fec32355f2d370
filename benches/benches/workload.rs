//! What the generator draws: against the exact law, and at what cost.
//!
//! Without `QUORATE_BARS` it is an ordinary criterion bench of operations and slots. With it (`just
//! bench-workload`) zipfian keys are held to the exact law by a chi-square test with 10 million draws for
//! each exponent; a bar that is missed is exit code 1. Seeds are fixed, so it says the same every time.

use std::hint::black_box;
use std::process::ExitCode;

use criterion::{Criterion, Throughput};
use quorate_loadgen::keys::zipfian_fit;
use quorate_loadgen::workload::{WORKLOADS, named};
use quorate_loadgen::{ArrivalKind, RateSetting, Schedule, Workload};

/// Draws for each exponent.
const DRAWS: u64 = 10_000_000;
/// The exponents.
const THETAS: [f64; 5] = [0.5, 0.99, 1.0, 1.2, 1.5];
/// Draws that follow the law deviate this much or more more often than this.
const P_MIN: f64 = 0.01;

fn bars() -> ExitCode {
    println!(
        "{:<8} {:>12} {:>12} {:>8} {:>8} {:>8}",
        "theta", "draws", "chi-square", "freedom", "p", "above"
    );
    let mut missed = 0;
    for theta in THETAS {
        let fit = zipfian_fit(theta, DRAWS);
        let is_missed = fit.p <= P_MIN;
        missed += u32::from(is_missed);
        let note = if is_missed { "  MISSED" } else { "" };
        println!(
            "{theta:<8} {DRAWS:>12} {:>12.1} {:>8} {:>8.4} {P_MIN:>8}{note}",
            fit.chi_square, fit.freedom, fit.p
        );
    }
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("workload");
    group.throughput(Throughput::Elements(1));
    for name in WORKLOADS {
        let plan = named(name).expect("its name is listed").resolve().expect("it is a plan");
        let workload = Workload::of(&plan);
        let mut index = 0;
        group.bench_function(format!("operation/{name}"), |bencher| {
            bencher.iter(|| {
                index += 1;
                black_box(workload.operation(index))
            });
        });
    }
    for rate in ["20k", "ramp:1k..20k/60s", "sine:10k+-5k/10s"] {
        let setting: RateSetting = rate.parse().expect("it is a rate");
        let rate_over_time = setting.over(60.0).expect("it is possible");
        let schedule = Schedule::Rate { arrivals: ArrivalKind::Poisson, rate: rate_over_time };
        let mut slots = schedule.arrivals(1).slots();
        group.bench_function(format!("slot/{rate}"), |bencher| bencher.iter(|| black_box(slots.next())));
    }
    group.finish();
    criterion.final_summary();
}

fn main() -> ExitCode {
    if std::env::var_os("QUORATE_BARS").is_some() {
        return bars();
    }
    criterion();
    ExitCode::SUCCESS
}
