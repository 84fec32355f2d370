//! `history.jsonl.zst` as a time series, for runs that have no `timeseries.csv`: what simulated
//! clients did, by time, so that a fault can be seen in it.
//!
//! Not here: what a history means; that is for checkers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

use super::Timeseries;

/// Stretches of time that a run is cut into.
const STRETCHES: u64 = 100;

const NS_PER_S: f64 = 1e9;

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    outcome: String,
    invoke_ns: u64,
    return_ns: Option<u64>,
    gave_up_ns: Option<u64>,
    #[serde(default)]
    r#final: bool,
}

/// What ended within one stretch.
#[derive(Clone, Default)]
struct Stretch {
    counts: [u64; 3],
    ok_ns: Vec<u64>,
}

/// Reads a history and cuts it into stretches; none if there is no operation in it. Final reads
/// are left out: they are made after everything else, at rest.
///
/// # Errors
/// What is wrong with it, and on which line.
pub fn read(path: &Path) -> Result<Option<Timeseries>, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let decoder = zstd::stream::read::Decoder::new(file).map_err(|e| e.to_string())?;
    series(decoder)
}

fn series(text: impl Read) -> Result<Option<Timeseries>, String> {
    let mut ended = Vec::new();
    for (number, line) in BufReader::new(text).lines().enumerate() {
        let line = line.map_err(|e| format!("line {}: {e}", number + 1))?;
        let line: Line = serde_json::from_str(&line).map_err(|e| format!("line {}: {e}", number + 1))?;
        let end_ns = line.return_ns.or(line.gave_up_ns).unwrap_or(line.invoke_ns);
        if !line.r#final {
            ended.push((line, end_ns));
        }
    }
    let first_ns = ended.iter().map(|(line, _)| line.invoke_ns).min();
    let last_ns = ended.iter().map(|(_, end_ns)| *end_ns).max();
    let (Some(first_ns), Some(last_ns)) = (first_ns, last_ns) else { return Ok(None) };
    let width_ns = ((last_ns - first_ns) / STRETCHES).max(1);
    let count = usize::try_from((last_ns - first_ns) / width_ns).unwrap_or_default() + 1;
    let mut stretches = vec![Stretch::default(); count];
    for (line, end_ns) in &ended {
        let index = usize::try_from((end_ns - first_ns) / width_ns).unwrap_or_default();
        let stretch = &mut stretches[index];
        match line.outcome.as_str() {
            "ok" => {
                stretch.counts[0] += 1;
                stretch.ok_ns.push(end_ns - line.invoke_ns);
            }
            "fail" => stretch.counts[1] += 1,
            _ => stretch.counts[2] += 1,
        }
    }
    Ok(Some(table(stretches, first_ns, width_ns)))
}

fn table(stretches: Vec<Stretch>, first_ns: u64, width_ns: u64) -> Timeseries {
    let width_s = width_ns as f64 / NS_PER_S;
    let row = |(index, mut stretch): (u64, Stretch)| {
        stretch.ok_ns.sort_unstable();
        let ms = |index: usize| stretch.ok_ns.get(index).map_or(f64::NAN, |ns| *ns as f64 / 1e6);
        let [ok, fail, info] = stretch.counts.map(|count| count as f64 / width_s);
        let start_s = (first_ns + index * width_ns) as f64 / NS_PER_S;
        let last = stretch.ok_ns.len().saturating_sub(1);
        vec![start_s, ok, fail, info, ms(last / 2), ms(last)]
    };
    let names = ["start_s", "ok", "fail", "info", "response_p50_ms", "response_max_ms"];
    Timeseries::from_rows(&names, (0..).zip(stretches).map(row).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    #[test]
    fn operations_count_where_they_end_and_final_reads_do_not() {
        let text = r#"{"f":"put","outcome":"ok","invoke_ns":0,"return_ns":2000000}
{"f":"put","outcome":"fail","invoke_ns":0,"return_ns":900000000}
{"f":"put","outcome":"info","invoke_ns":5,"return_ns":null,"gave_up_ns":1000000000}
{"f":"get","outcome":"ok","invoke_ns":9000000000,"return_ns":9000000001,"final":true}"#;
        let table = series(text.as_bytes()).unwrap().unwrap();
        let column = |name: &str| table.column(name).unwrap();
        assert_eq!(column("start_s").len(), 101, "a hundred stretches of ten milliseconds and the end");
        assert_eq!(column("ok")[0], 100.0, "one in ten milliseconds is a hundred a second");
        assert_eq!(column("response_p50_ms")[0], 2.0);
        assert!(column("response_p50_ms")[1].is_nan(), "nothing ended: a gap, not a zero");
        assert_eq!((column("fail")[90], column("info")[100]), (100.0, 100.0));
    }

    #[test]
    fn damage_names_its_line_and_nothing_is_nothing() {
        assert!(
            series("{\"outcome\":\"ok\",\"invoke_ns\":1}\n{".as_bytes()).unwrap_err().starts_with("line 2")
        );
        assert!(series("".as_bytes()).unwrap().is_none());
    }
}
