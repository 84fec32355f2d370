//! Reads histories and judges them, with the times of both: `cargo run --release --example judge FILE...`

use std::path::Path;
use std::time::Instant;

use quorate_check::history::History;
use quorate_check::{Options, check};

fn main() {
    for name in std::env::args().skip(1) {
        let started = Instant::now();
        let history = match History::read(Path::new(&name)) {
            Ok(history) => history,
            Err(error) => {
                println!("{error}");
                continue;
            }
        };
        let read = started.elapsed();
        let started = Instant::now();
        let report = check(&history, &Options::default());
        let judged = started.elapsed();
        println!(
            "{name}: {} ({}, {} operations), read in {read:.1?}, judged in {judged:.1?}: {:?} {:?}",
            report.verdict, report.algorithm, report.operations, report.violation_counts, report.staleness
        );
    }
}
