//! What a run shows: tables for terminals, `report.html` for people who were not there.
//!
//! Reads run directories as their files are described (`run.json`, `latency.hlog`,
//! `timeseries.csv`, `history.jsonl.zst`, `faults.jsonl`, `verdict.json`), not the programs that wrote them: runs of
//! other versions and of other tools that keep to the files are shown as well. What is missing
//! is left out, what is damaged is an error that names the file.
//!
//! The page is one file that opens without a network and reads without a script.
//!
//! Not here: measuring, judging, deciding what to compare.

pub mod data; // a run directory, read
pub mod page; // report.html
pub mod plot; // inline SVG
pub mod table; // terminals

pub use data::{Campaign, ReadError, RunData};
pub use page::{campaign_page, run_page};
pub use table::{campaign_table, operations_table, search_table, verdict_lines, windows_table};

/// The name of the page in a run directory.
pub const PAGE_FILE: &str = "report.html";
