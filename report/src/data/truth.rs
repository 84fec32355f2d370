//! What `run.json` says about the figures themselves: operations that have no answer, errors by kind,
//! and how the generator and its machine fared.

use serde_json::Value;

use super::{OperationRow, QUANTILES, RunData};

/// The fields of a distribution in `run.json`, in the order of [`QUANTILES`].
const FIELDS: [&str; 5] = ["p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms"];

/// All operations of a kind, however they ended. What was given up at its deadline counts as what
/// it took until then: figures that depend on it are lower bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct AllRow {
    /// `get`, `put`, ...
    pub name: String,
    /// How many ended.
    pub count: u64,
    /// How many of them were given up at their deadline.
    pub timeouts: u64,
    /// Response latency in milliseconds at [`QUANTILES`], and whether it is a lower bound.
    pub response_ms: [(f64, bool); 5],
    /// Service time of the same.
    pub service_ms: [(f64, bool); 5],
}

impl RunData {
    /// The rows of the latency table as `run.json` has them: there even if `latency.hlog` is not.
    #[must_use]
    pub fn operations(&self) -> Vec<OperationRow> {
        let number = |name: &str| self.field(&["results", name]).and_then(Value::as_f64);
        // One reply that takes seconds more at the end must not make a rate look small: the total is over the
        // schedule, and so is each kind's part of it.
        let all_ok: u64 = self.ops().filter_map(|(_, op)| op.get("ok")?.as_u64()).sum();
        let in_schedule_s = number("ok_per_s").filter(|rate| *rate > 0.0).map(|rate| all_ok as f64 / rate);
        let elapsed_s = in_schedule_s.or(number("elapsed_s")).unwrap_or_default();
        let row = |(name, op): (&String, &Value)| {
            let count = |field: &str| op.get(field).and_then(Value::as_u64).unwrap_or_default();
            let [ok, fail, info] = ["ok", "fail", "info"].map(count);
            let of = |measure: &str| {
                FIELDS.map(|field| {
                    op.pointer(&format!("/latency/ok/{measure}/{field}")).and_then(Value::as_f64)
                })
            };
            OperationRow {
                name: name.clone(),
                count: ok + fail + info,
                ok,
                fail,
                info,
                rate: if elapsed_s > 0.0 { ok as f64 / elapsed_s } else { 0.0 },
                response_ms: of("response"),
                service_ms: of("service"),
            }
        };
        self.ops().map(row).collect()
    }

    /// Kinds of operations of which some did not end well, with those.
    #[must_use]
    pub fn all_however_ended(&self) -> Vec<AllRow> {
        let row = |(name, op): (&String, &Value)| {
            let count = |field: &str| op.get(field).and_then(Value::as_u64).unwrap_or_default();
            let [ok, fail, info] = ["ok", "fail", "info"].map(count);
            if fail + info == 0 {
                return None;
            }
            let of = |measure: &str| {
                let all = op.pointer(&format!("/latency/all/{measure}"))?;
                let bounds_from = all.get("at_least_from_percentile").and_then(Value::as_f64);
                let mut figures = [(0.0, false); 5];
                for ((figure, field), (_, quantile)) in figures.iter_mut().zip(FIELDS).zip(QUANTILES) {
                    let is_bound = bounds_from.is_some_and(|from| quantile * 100.0 >= from);
                    *figure = (all.get(field)?.as_f64()?, is_bound);
                }
                Some(figures)
            };
            Some(AllRow {
                name: name.clone(),
                count: ok + fail + info,
                timeouts: count("timeouts"),
                response_ms: of("response")?,
                service_ms: of("service")?,
            })
        };
        self.ops().filter_map(row).collect()
    }

    /// Errors by kind of operation and their own kind, such as `put: 12 deadline, 3 connect`.
    #[must_use]
    pub fn errors(&self) -> Vec<String> {
        let line = |(name, op): (&String, &Value)| {
            let errors = op.get("errors")?.as_object().filter(|errors| !errors.is_empty())?;
            let kinds: Vec<String> = errors.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
            Some(format!("{name}: {}", kinds.join(", ")))
        };
        self.ops().filter_map(line).collect()
    }

    /// How the generator and its machine fared: what, and how much of it.
    #[must_use]
    pub fn generator(&self) -> Vec<(&'static str, String)> {
        let number = |name: &str| self.field(&["trust", "figures", name]).and_then(Value::as_f64);
        let mut facts = Vec::new();
        let mut fact = |name, value: Option<String>| facts.extend(value.map(|value| (name, value)));
        fact("offered", number("offered_per_s").map(|n| format!("{n:.1}/s")));
        fact("answered in time", number("achieved_per_s").map(|n| format!("{n:.1}/s")));
        fact("slots dropped", number("dropped").map(|n| format!("{n}")));
        fact("waiting when the schedule ended", number("backlog_at_end").map(|n| format!("{n}")));
        let lateness = number("lateness_p50_ms").zip(number("lateness_p99_ms"));
        fact("generator late", lateness.map(|(p50, p99)| format!("p50 {p50:.3} ms, p99 {p99:.3} ms")));
        fact("wait for a connection", number("wait_p99_ms").map(|n| format!("p99 {n:.3} ms")));
        let cores = number("cores").map(|n| format!(" of {n}")).unwrap_or_default();
        fact("generator's own CPU", number("own_cpu_cores").map(|n| format!("{n:.2}{cores} cores")));
        fact(
            "its threads ready but not running",
            number("run_queue_percent").map(|n| format!("{n:.1} % of the run")),
        );
        fact("CPU taken by other guests (steal)", number("steal_percent").map(|n| format!("{n:.1} %")));
        facts
    }

    fn ops(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.field(&["results", "ops"]).and_then(Value::as_object).into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run() -> RunData {
        let times = |from: Option<f64>| {
            json!({ "count": 100, "p50_ms": 1.0, "p90_ms": 2.0, "p99_ms": 5000.0, "p999_ms": 5000.0, "max_ms": 5000.0,
                    "at_least_from_percentile": from })
        };
        let ok = json!({ "response": times(None), "service": times(None) });
        let all = json!({ "response": times(Some(95.0)), "service": times(Some(95.0)) });
        let get = json!({ "ok": 100, "fail": 0, "info": 0, "timeouts": 0, "errors": {}, "latency": { "ok": ok, "all": ok } });
        let put = json!({ "ok": 95, "fail": 0, "info": 5, "timeouts": 4, "errors": { "deadline": 4, "connection-lost": 1 },
                          "latency": { "ok": ok, "all": all } });
        let figures = json!({ "offered_per_s": 2000.0, "achieved_per_s": 1999.0, "dropped": 3, "backlog_at_end": 0,
                              "lateness_p50_ms": 0.01, "lateness_p99_ms": 0.2, "wait_p99_ms": null, "cores": 2,
                              "own_cpu_cores": 0.25, "steal_percent": 1.5, "run_queue_percent": 7.0 });
        let run = json!({ "results": { "elapsed_s": 10.0, "ops": { "get": get, "put": put } }, "trust": { "figures": figures } });
        RunData { run, ..RunData::default() }
    }

    #[test]
    fn what_was_given_up_is_shown_as_a_lower_bound_and_errors_by_kind() {
        let run = run();
        let rows = run.all_however_ended();
        assert_eq!(rows.len(), 1, "of gets there is nothing to add");
        assert_eq!((rows[0].name.as_str(), rows[0].count, rows[0].timeouts), ("put", 100, 4));
        assert_eq!(rows[0].response_ms.map(|(_, is_bound)| is_bound), [false, false, true, true, true]);
        assert_eq!(run.errors(), ["put: 1 connection-lost, 4 deadline"]);
        let operations = run.operations();
        assert_eq!((operations[1].ok, operations[1].info, operations[1].response_ms[1]), (95, 5, Some(2.0)));
        assert!((operations[0].rate - 10.0).abs() < 1e-9);
    }

    #[test]
    fn how_the_generator_fared_is_told_as_far_as_it_is_known() {
        let facts = run().generator();
        assert!(facts.contains(&("generator's own CPU", "0.25 of 2 cores".to_owned())), "{facts:?}");
        assert!(facts.contains(&("CPU taken by other guests (steal)", "1.5 %".to_owned())), "{facts:?}");
        assert!(facts.iter().all(|(name, _)| *name != "wait for a connection"), "{facts:?}");
        assert!(RunData::default().generator().is_empty());
    }
}
