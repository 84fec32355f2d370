//! The rows of the latency table: one an operation.

use super::Latencies;

/// The quantiles that tables show, with their names.
pub const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What one operation did.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationRow {
    /// `get`, `put`, ...
    pub name: String,
    /// How many ended.
    pub count: u64,
    /// How many happened.
    pub ok: u64,
    /// How many certainly did not.
    pub fail: u64,
    /// How many may have happened.
    pub info: u64,
    /// Operations that ended `ok`, a second.
    pub rate: f64,
    /// Response latency of those that ended `ok`, from the intended slot, in milliseconds, at
    /// [`QUANTILES`].
    pub response_ms: [Option<f64>; 5],
    /// Service time of the same, from sending.
    pub service_ms: [Option<f64>; 5],
}

/// The rows of a run.
#[must_use]
pub fn operations(latencies: &Latencies) -> Vec<OperationRow> {
    let row = |name: &str| {
        let count = |outcome| latencies.count(name, outcome, "response");
        // A call given up at its deadline: a get without an answer failed, a write may have happened.
        let (failed_late, unknown_late) =
            if name == "get" { (count("timeout"), 0) } else { (0, count("timeout")) };
        let (ok, fail, info) = (count("ok"), count("fail") + failed_late, count("info") + unknown_late);
        let quantiles = |measure| QUANTILES.map(|(_, q)| latencies.quantile_ms(name, "ok", measure, q));
        OperationRow {
            name: name.to_owned(),
            count: ok + fail + info,
            ok,
            fail,
            info,
            rate: if latencies.seconds() > 0.0 { ok as f64 / latencies.seconds() } else { 0.0 },
            response_ms: quantiles("response"),
            service_ms: quantiles("service"),
        }
    };
    latencies.operations().into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::super::hlog::tests::log;
    use super::*;

    #[test]
    fn a_timeout_is_a_failed_get_and_an_unknown_put() {
        let log = log(&[
            ("get.ok.response", [&[1, 2], &[]]),
            ("get.timeout.response", [&[5000], &[]]),
            ("put.ok.response", [&[1], &[]]),
            ("put.timeout.response", [&[5000], &[]]),
        ]);
        let rows = operations(&Latencies::parse(&log).unwrap());
        assert_eq!((rows[0].count, rows[0].ok, rows[0].fail, rows[0].info), (3, 2, 1, 0));
        assert_eq!((rows[1].count, rows[1].ok, rows[1].fail, rows[1].info), (2, 1, 0, 1));
        assert!((rows[0].rate - 0.2).abs() < 1e-9);
        assert!(rows[0].response_ms[4].unwrap() < 3.0, "a timeout is not among the latencies of answers");
    }
}
