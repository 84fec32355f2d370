//! `timeseries.csv`: a row a second.

use std::io;

use hdrhistogram::Histogram;

use crate::engine::Interval;
use crate::observe::Phase;
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

/// What can be added up of a second of a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Row {
    /// Since the measurement began.
    pub(super) start_s: f64,
    pub(super) duration_s: f64,
    pub(super) offered: u64,
    pub(super) sent: u64,
    /// In the order of [`Outcome::ALL`].
    pub(super) outcomes: [u64; 3],
    pub(super) timeouts: u64,
    pub(super) dropped: u64,
    pub(super) backlog: u64,
    pub(super) in_flight: u64,
    pub(super) own_cpu_cores: Option<f64>,
    pub(super) steal_percent: Option<f64>,
    pub(super) run_queue_percent: Option<f64>,
}

/// Reads the rows of the measurement. The error says which line is wrong.
pub(super) fn read(text: &str) -> Result<Vec<Row>, String> {
    let mut lines = (1..).zip(text.lines());
    let names: Vec<&str> = lines.next().map(|(_, head)| head.split(',').collect()).unwrap_or_default();
    let mut rows = Vec::new();
    for (number, line) in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| {
            let at = names.iter().position(|n| *n == name);
            let cell = at.and_then(|at| cells.get(at)).filter(|_| cells.len() == names.len());
            cell.copied().ok_or_else(|| format!("line {number}: no column `{name}`"))
        };
        if cell("phase")? != Phase::Measure.name() {
            continue;
        }
        let wrong = |name| format!("line {number}: {name} is not a number");
        let count = |name| cell(name)?.parse::<u64>().map_err(|_| wrong(name));
        let number = |name| cell(name)?.parse::<f64>().map_err(|_| wrong(name));
        let maybe = |name| match cell(name)? {
            "" => Ok(None),
            _ => number(name).map(Some),
        };
        rows.push(Row {
            start_s: number("start_s")?,
            duration_s: number("duration_s")?,
            offered: count("offered")?,
            sent: count("sent")?,
            outcomes: [count("ok")?, count("fail")?, count("info")?],
            timeouts: count("timeouts")?,
            dropped: count("dropped")?,
            backlog: count("backlog")?,
            in_flight: count("in_flight")?,
            own_cpu_cores: maybe("own_cpu_cores")?,
            steal_percent: maybe("steal_percent")?,
            run_queue_percent: maybe("run_queue_percent")?,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn rows_of_the_measurement_are_read_and_a_wrong_line_is_named() {
        let line = "measure,1.000,1.001,10,9,7,1,1,2,1,3,4,1.0,2.0,3.0,4.0,0.5,0.6,0.1,0.250,,1.500";
        let text = format!("{HEADER}\n{}\n{line}\n", line.replace("measure", "warmup"));
        let rows = read(&text).unwrap();
        let expected = Row {
            start_s: 1.0,
            duration_s: 1.001,
            offered: 10,
            sent: 9,
            outcomes: [7, 1, 1],
            timeouts: 2,
            dropped: 1,
            backlog: 3,
            in_flight: 4,
            own_cpu_cores: Some(0.25),
            steal_percent: None,
            run_queue_percent: Some(1.5),
        };
        assert_eq!(rows, [expected]);
        let cut = &text[..text.len() - 20];
        assert!(read(cut).unwrap_err().starts_with("line 3: no column"), "{:?}", read(cut));
        assert_eq!(read(&text.replace("1.001", "x")).unwrap_err(), "line 3: duration_s is not a number");
    }
}
