//! What a load was like before, while and after something was done to the store: `windows` of
//! `run.json`.

use serde::Deserialize;

use super::RunData;

/// A stretch of a measurement. Latencies are of responses of all operations, in milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct WindowRow {
    /// What went on in it.
    pub name: String,
    /// Its length in seconds.
    pub seconds: f64,
    /// Operations that happened.
    pub ok: u64,
    /// Operations that did not, or may not have.
    pub not_ok: u64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// That of the worst second.
    pub worst_second_p99_ms: f64,
    /// `p99_ms` over that of the first stretch.
    pub p99_ratio: f64,
    /// `worst_second_p99_ms` over `p99_ms` of the first stretch.
    pub worst_second_ratio: f64,
    /// Seconds until two in a row were as those of the first stretch.
    pub normal_after_s: f64,
}

impl WindowRow {
    /// The heads of the columns of [`WindowRow::figures`].
    pub const HEADS: [&str; 9] = [
        "seconds",
        "ok",
        "not ok",
        "p50",
        "p99",
        "worst second p99",
        "p99 ratio",
        "worst second ratio",
        "normal after s",
    ];

    /// Its figures as people read them.
    #[must_use]
    pub fn figures(&self) -> [String; 9] {
        let ms = crate::table::milliseconds;
        [
            format!("{:.0}", self.seconds),
            self.ok.to_string(),
            self.not_ok.to_string(),
            ms(self.p50_ms),
            ms(self.p99_ms),
            ms(self.worst_second_p99_ms),
            format!("{:.2}", self.p99_ratio),
            format!("{:.2}", self.worst_second_ratio),
            format!("{:.1}", self.normal_after_s),
        ]
    }
}

impl RunData {
    /// The stretches of the measurement; none if nothing was done to the store.
    #[must_use]
    pub fn windows(&self) -> Vec<WindowRow> {
        let rows = self.field(&["windows"]).and_then(|rows| rows.as_array()).into_iter().flatten();
        rows.filter_map(|row| WindowRow::deserialize(row).ok()).collect()
    }
}
