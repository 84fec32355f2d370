//! How long operations took: the table, over time, and by percentile.

use maud::{Markup, html};

use crate::data::{FaultSpan, QUANTILES, RunData, Timeseries, WindowRow, operations};
use crate::plot::{Band, Plot, Scale, Series, Tick};

/// Faults drawn behind a plot. More would be one grey wall.
const BANDS_MAX: usize = 200;

/// Table and plots; nothing if the run measured no latencies.
pub(super) fn section(run: &RunData) -> Markup {
    html! {
        @if run.latencies.is_some() || run.timeseries.is_some() {
            h2 { "Latency" }
            (table(run))
            (windows(run))
            (generator(run))
            (over_time(run))
            (spectrum(run))
        }
    }
}

fn table(run: &RunData) -> Markup {
    let Some(latencies) = &run.latencies else { return html! {} };
    let all = run.all_however_ended();
    let bounded =
        |(ms, is_bound): (f64, bool)| crate::table::bounded(ms, is_bound).replace(">=", "\u{2265} ");
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), crate::table::milliseconds);
    html! {
        div.scroll { table {
            thead {
                tr {
                    th rowspan="2" { "operation" }
                    @for name in ["count", "ok", "fail", "info", "ok/s"] { th.n rowspan="2" { (name) } }
                    th colspan="5" { "response, ms" }
                    th colspan="2" { "service, ms" }
                }
                tr {
                    @for (name, _) in QUANTILES { th.n { (name) } }
                    @for name in ["p50", "p99"] { th.n { (name) } }
                }
            }
            tbody {
                @for row in operations(latencies) {
                    tr {
                        td { (row.name) }
                        @for count in [row.count, row.ok, row.fail, row.info] { td.n { (count) } }
                        td.n { (format!("{:.1}", row.rate)) }
                        @for value in row.response_ms { td.n { (ms(value)) } }
                        td.n { (ms(row.service_ms[0])) }
                        td.n { (ms(row.service_ms[2])) }
                    }
                    @for all in all.iter().filter(|all| all.name == row.name) {
                        tr {
                            td { "all ended" }
                            td.n { (all.count) }
                            td colspan="4" { (all.timeouts) " given up at the deadline" }
                            @for figure in all.response_ms { td.n { (bounded(figure)) } }
                            td.n { (bounded(all.service_ms[0])) }
                            td.n { (bounded(all.service_ms[2])) }
                        }
                    }
                }
            }
        } }
        p.soft {
            "Of operations that ended ok. Response counts from the slot that the schedule gave the operation, \
             waiting included; service from sending it. fail certainly did not happen, info may have. All \
             ended: whatever became of them; those given up at their deadline would have taken longer."
        }
        @for line in run.errors() { p { "Errors of " (line) "." } }
    }
}

/// How the generator fared, on which it depends whether the figures are about the store.
fn generator(run: &RunData) -> Markup {
    let facts = run.generator();
    html! {
        @if !facts.is_empty() {
            h2 { "The generator" }
            table.facts { tbody { @for (name, value) in facts { tr { th { (name) } td { (value) } } } } }
        }
    }
}

/// Before, while and after something was done to the store.
fn windows(run: &RunData) -> Markup {
    let rows = run.windows();
    html! {
        @if !rows.is_empty() {
            div.scroll { table {
                thead { tr { th { "while" } @for name in WindowRow::HEADS { th.n { (name) } } } }
                tbody {
                    @for row in rows {
                        tr { td { (row.name) } @for figure in row.figures() { td.n { (figure) } } }
                    }
                }
            } }
            p.soft {
                "Response latency in ms of all operations, however they ended. Ratios are to the p99 of the \
                 first line. A second that belongs to two lines counts for the lower one."
            }
        }
    }
}

fn over_time(run: &RunData) -> Markup {
    let Some(series) = run.timeseries.as_ref().filter(|s| !s.is_empty()) else { return html! {} };
    let Some(time) = time_column(series) else { return html! {} };
    let start = time.first().copied().unwrap_or_default();
    let seconds: Vec<f64> = time.iter().map(|t| t - start).collect();
    let columns = |wanted: fn(&str) -> bool| -> Vec<Series> {
        let names = series.names().iter().filter(|name| wanted(name));
        let lines = names.enumerate().filter_map(|(i, name)| {
            let points: Vec<_> = seconds.iter().copied().zip(series.column(name)?).collect();
            let nothing = points.iter().all(|(_, y)| !y.is_finite() || *y == 0.0);
            let name = name.trim_end_matches("_ms").replace('_', " ").replace("p999", "p99.9");
            (!nothing).then_some(Series { name, colour: i, dashed: i >= 6, points })
        });
        lines.collect()
    };
    let bands = bands(run, start);
    let plot = |title: &str, y_label: &str, y_scale, series| Plot {
        title: title.into(),
        x_label: "time, s".into(),
        y_label: y_label.into(),
        x_scale: Scale::Linear,
        y_scale,
        x_ticks: None,
        bands: bands.clone(),
        series,
    };
    let latency =
        columns(|name| name.ends_with("_ms") && !name.contains("service") && !name.contains("lateness"));
    let rates = columns(|name| {
        ["ok", "fail", "info", "offered", "achieved", "rate", "count"]
            .iter()
            .any(|word| name.split('_').any(|part| part == *word))
            && !name.ends_with("_ms")
    });
    html! {
        @if !latency.is_empty() { (plot("Response latency over time", "ms", Scale::Log, latency).figure()) }
        @if !rates.is_empty() { (plot("Operations over time", "a second", Scale::Linear, rates).figure()) }
    }
}

fn time_column(series: &Timeseries) -> Option<Vec<f64>> {
    ["start_s", "second", "elapsed_s"].iter().find_map(|name| series.column(name))
}

/// Faults as stretches of the time axis, which begins at `start_s` of their clock. A fault that
/// is an instant (a restart) is drawn as a line.
fn bands(run: &RunData, start_s: f64) -> Vec<Band> {
    let seconds = |ns: u64| ns as f64 / 1e9 - start_s;
    let faults = run.faults.iter().take(BANDS_MAX);
    let band = |fault: &FaultSpan| Band {
        from: seconds(fault.from_ns),
        to: seconds(fault.until_ns.unwrap_or(fault.from_ns)),
        label: format!("{} {}", fault.kind, fault.targets.join(", ")),
    };
    faults.map(band).collect()
}

fn spectrum(run: &RunData) -> Markup {
    let Some(latencies) = &run.latencies else { return html! {} };
    let mut series = Vec::new();
    for (colour, operation) in latencies.operations().into_iter().enumerate() {
        for (measure, dashed) in [("response", false), ("service", true)] {
            let points = latencies.spectrum(operation, "ok", measure);
            if !points.is_empty() {
                series.push(Series { name: format!("{operation} {measure}"), colour, dashed, points });
            }
        }
    }
    if series.is_empty() {
        return html! {};
    }
    let nines_max = series.iter().flat_map(|s| s.points.last()).map(|p| p.0).fold(0.0, f64::max);
    let ticks = ["0", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];
    let ticks = ticks
        .iter()
        .zip(0_u32..)
        .map(|(label, nines)| Tick { at: f64::from(nines), label: format!("{label}%") });
    let half = Tick { at: 2_f64.log10(), label: "50%".into() };
    let plot = Plot {
        title: "Latency by percentile".into(),
        x_label: "percentile".into(),
        y_label: "ms".into(),
        x_scale: Scale::Linear,
        y_scale: Scale::Log,
        x_ticks: Some(ticks.chain([half]).filter(|tick| tick.at <= nines_max).collect()),
        bands: Vec::new(),
        series,
    };
    plot.figure()
}
