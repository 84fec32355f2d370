//! `timeseries.csv`: a row a second.

use std::io;

use hdrhistogram::Histogram;

use crate::engine::Interval;
use crate::recorder::{Class, Measure};
use crate::target::Outcome;
use crate::workload::OpKind;

/// The columns. Latencies are of all operations that ended in the second, in milliseconds;
/// empty where there is nothing to say.
pub(super) const HEADER: &str = "phase,start_s,duration_s,offered,sent,ok,fail,info,timeouts,dropped,backlog,\
in_flight,response_p50_ms,response_p99_ms,response_p999_ms,response_max_ms,service_p50_ms,service_p99_ms,\
lateness_p99_ms,own_cpu_cores,steal_percent,run_queue_percent";

/// Writes one row.
pub(super) fn write_row(interval: &Interval, mut out: impl io::Write) -> io::Result<()> {
    let recorder = &interval.recorder;
    let [ok, fail, info] = Outcome::ALL.map(|outcome| recorder.count_all(outcome));
    let timeouts: u64 = OpKind::ALL.into_iter().map(|op| recorder.timeouts(op)).sum();
    let of = |measure| recorder.merged(|series| series.measure == measure);
    let (response, service, lateness) = (of(Measure::Response), of(Measure::Service), of(Measure::Lateness));
    debug_assert!(recorder.merged(|s| s.class == Class::Timeout).len() >= timeouts);
    let machine = interval.machine;
    writeln!(
        out,
        "{},{:.3},{:.3},{},{},{ok},{fail},{info},{timeouts},{},{},{},{},{},{},{},{},{},{},{},{},{}",
        interval.phase.name(),
        interval.start_ns as f64 / 1e9,
        interval.duration_ns as f64 / 1e9,
        interval.offered,
        interval.sent,
        interval.dropped,
        interval.backlog,
        interval.in_flight,
        quantile(&response, 0.5),
        quantile(&response, 0.99),
        quantile(&response, 0.999),
        quantile(&response, 1.0),
        quantile(&service, 0.5),
        quantile(&service, 0.99),
        quantile(&lateness, 0.99),
        number(machine.map(|m| m.own_cpu_cores)),
        number(machine.and_then(|m| m.steal_percent)),
        number(machine.and_then(|m| m.run_queue_percent)),
    )
}

fn quantile(histogram: &Histogram<u64>, q: f64) -> String {
    number((!histogram.is_empty()).then(|| histogram.value_at_quantile(q) as f64 / 1e6))
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| format!("{value:.3}"))
}
