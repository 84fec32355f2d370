//! A search for the highest rate that an objective allows: `search` of `run.json`.

use serde::Deserialize;

use super::RunData;

/// One trial. Latencies are of responses of all operations, in milliseconds.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct TrialRow {
    /// Operations a second that were asked for.
    pub rate_per_s: f64,
    /// `held`, `missed` or `not-trusted`.
    pub vote: String,
    /// Why it was not held.
    pub reasons: Vec<String>,
    /// How far it can be trusted.
    pub trust: String,
    /// Operations a second that were answered in time.
    pub achieved_per_s: f64,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// The part of all slots that did not end ok.
    pub errors_share: f64,
}

/// A bound on a latency.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BoundRow {
    /// Of what, such as `p99`.
    pub figure: String,
    /// It must be below this.
    pub below_ms: f64,
}

impl TrialRow {
    /// The heads of the columns of [`TrialRow::figures`].
    pub const HEADS: [&str; 7] = ["asked/s", "answered/s", "p50", "p99", "p99.9", "errors %", "vote"];

    /// Its figures as people read them.
    #[must_use]
    pub fn figures(&self) -> [String; 7] {
        let ms = crate::table::milliseconds;
        let vote = if self.vote == "not-trusted" { &self.trust } else { &self.vote };
        [
            format!("{:.0}", self.rate_per_s),
            format!("{:.1}", self.achieved_per_s),
            ms(self.p50_ms),
            ms(self.p99_ms),
            ms(self.p999_ms),
            format!("{:.3}", self.errors_share * 100.0),
            vote.clone(),
        ]
    }
}

impl RunData {
    /// The trials of a search by ascending rate; none if nothing was searched for.
    #[must_use]
    pub fn trials(&self) -> Vec<TrialRow> {
        let mut rows: Vec<TrialRow> = self.of_search("trials");
        rows.sort_by(|a, b| a.rate_per_s.total_cmp(&b.rate_per_s));
        rows
    }

    /// The bounds on latencies that a search was to keep.
    #[must_use]
    pub fn bounds(&self) -> Vec<BoundRow> {
        self.of_search("bounds_ms")
    }

    fn of_search<T: serde::de::DeserializeOwned>(&self, field: &str) -> Vec<T> {
        let rows = self.field(&["search", field]).and_then(|rows| rows.as_array()).into_iter().flatten();
        rows.filter_map(|row| T::deserialize(row).ok()).collect()
    }
}
