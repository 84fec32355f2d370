//! What a search for the highest rate found: the interval, latency over rate, all trials.

use maud::{Markup, html};

use crate::data::{RunData, TrialRow};
use crate::plot::{Plot, Scale, Series};

/// Nothing if nothing was searched for.
pub(super) fn section(run: &RunData) -> Markup {
    let trials = run.trials();
    html! {
        @if !trials.is_empty() {
            h2 { "Highest rate" }
            p { (answer(run)) }
            (curve(run, &trials))
            div.scroll { table {
                thead { tr { @for name in TrialRow::HEADS { th.n { (name) } } th { "why" } } }
                tbody {
                    @for trial in &trials {
                        tr { @for figure in trial.figures() { td.n { (figure) } } td { (trial.reasons.join("; ")) } }
                    }
                }
            } }
            p.soft {
                "Response latency in ms of all operations, however they ended. A rate is held or missed by most of its \
                 trials; one that cannot be trusted has no vote. All other figures of this page are those of the last \
                 trial at the highest rate that was held."
            }
        }
    }
}

fn answer(run: &RunData) -> String {
    let rate = |field: &str| run.field(&["search", field]).and_then(serde_json::Value::as_f64);
    let objective = run.text(&["search", "objective"]).unwrap_or_default();
    let held = rate("held_per_s").map_or_else(|| "No rate was held".to_owned(), |r| format!("Held {r:.0}/s"));
    let missed =
        rate("missed_per_s").map_or_else(|| "missed none".to_owned(), |r| format!("missed {r:.0}/s"));
    let ended = match run.text(&["search", "ended"]).unwrap_or_default().as_str() {
        "not-trusted" => " In between, the generator or the machine was the limit, not the store.",
        "trials-exhausted" => " Its trials contradict each other, so this is rough.",
        "interrupted" => " It was interrupted before it was narrowed down.",
        "nothing-missed" => " That is the highest rate that a search asks for.",
        _ => "",
    };
    format!("{held}, {missed} by {objective}.{ended}")
}

/// Latency over rate, with the bars.
fn curve(run: &RunData, trials: &[TrialRow]) -> Markup {
    let shown = drawn(trials);
    let line = |name: &str, colour, of: fn(&TrialRow) -> f64| Series {
        name: name.into(),
        colour,
        dashed: false,
        points: medians(&shown, of),
    };
    let mut series = vec![
        line("p50", 0, |trial| trial.p50_ms),
        line("p99", 1, |trial| trial.p99_ms),
        line("p99.9", 2, |trial| trial.p999_ms),
    ];
    let (Some(first), Some(last)) = (shown.first(), shown.last()) else { return html! {} };
    for (number, bound) in run.bounds().into_iter().enumerate() {
        series.push(Series {
            name: format!("bar: {} below {} ms", bound.figure, bound.below_ms),
            colour: 3 + number,
            dashed: true,
            points: vec![(first.rate_per_s, bound.below_ms), (last.rate_per_s, bound.below_ms)],
        });
    }
    let plot = Plot {
        title: "Response latency over offered rate".into(),
        x_label: "offered, operations a second".into(),
        y_label: "ms".into(),
        x_scale: Scale::Log,
        y_scale: Scale::Log,
        x_ticks: None,
        bands: Vec::new(),
        series,
    };
    plot.figure()
}

/// What disturbed trials measured is not the store's; without others it is better than nothing.
fn drawn(trials: &[TrialRow]) -> Vec<&TrialRow> {
    let trusted: Vec<&TrialRow> = trials.iter().filter(|trial| trial.vote != "not-trusted").collect();
    if trusted.is_empty() { trials.iter().collect() } else { trusted }
}

/// For each rate the median of its trials, which are sorted by rate.
fn medians(trials: &[&TrialRow], of: fn(&TrialRow) -> f64) -> Vec<(f64, f64)> {
    let same_rate = |a: &&TrialRow, b: &&TrialRow| a.rate_per_s.total_cmp(&b.rate_per_s).is_eq();
    let median = |group: &[&TrialRow]| {
        let mut values: Vec<f64> = group.iter().map(|trial| of(trial)).collect();
        values.sort_by(f64::total_cmp);
        (group[0].rate_per_s, values[values.len() / 2])
    };
    trials.chunk_by(same_rate).map(median).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn trial(rate: f64, p99: f64, vote: &str) -> serde_json::Value {
        json!({
            "rate_per_s": rate, "vote": vote, "reasons": if vote == "held" { vec![] } else { vec!["p99 was <bad>"] },
            "trust": if vote == "not-trusted" { "disturbed" } else { "valid" }, "offered_per_s": rate,
            "achieved_per_s": rate, "p50_ms": p99 / 4.0, "p99_ms": p99, "p999_ms": p99 * 2.0, "max_ms": p99 * 3.0,
            "errors_share": 0.0
        })
    }

    fn run() -> RunData {
        let trials = [
            trial(4000.0, 60.0, "missed"),
            trial(1000.0, 4.0, "held"),
            trial(2000.0, 9.0, "held"),
            trial(2000.0, 30.0, "missed"),
            trial(2000.0, 8.0, "held"),
            trial(3000.0, 900.0, "not-trusted"),
        ];
        let search = json!({
            "objective": "p99<20ms", "bounds_ms": [{ "figure": "p99", "below_ms": 20.0 }], "held_per_s": 2000.0,
            "missed_per_s": 4000.0, "ended": "found", "trials": trials
        });
        RunData { run: json!({ "search": search }), ..RunData::default() }
    }

    #[test]
    fn the_page_shows_the_interval_the_curve_and_the_bar() {
        let page = section(&run()).into_string();
        for part in [
            "Held 2000/s, missed 4000/s by p99&lt;20ms.",
            "bar: p99 below 20 ms",
            "Response latency over offered rate",
            "p99 was &lt;bad&gt;",
            "disturbed",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert_eq!(
            page.matches("<path class=\"line").count(),
            2 * 4,
            "three lines and a bar, each with its key"
        );
        assert!(section(&RunData::default()).into_string().is_empty());
    }

    #[test]
    fn a_point_is_the_median_of_a_rates_trials_and_disturbed_ones_are_left_out() {
        let trials = run().trials();
        let p99 = |trials: &[TrialRow]| medians(&drawn(trials), |trial| trial.p99_ms);
        assert_eq!(p99(&trials), [(1000.0, 4.0), (2000.0, 9.0), (4000.0, 60.0)]);
        let disturbed: Vec<TrialRow> = trials.into_iter().filter(|t| t.vote == "not-trusted").collect();
        assert_eq!(p99(&disturbed), [(3000.0, 900.0)], "better than nothing");
    }
}
