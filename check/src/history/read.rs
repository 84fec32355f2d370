//! Reading a history: JSON Lines, plain or compressed, from a reader, a file or a run directory.
//!
//! Strict: a checker that guesses what a broken line meant gives verdicts about another history. Three
//! leniences: blank lines are skipped, a missing newline at the very end is no error, and lines whose
//! `process` is a name (`"nemesis"`) are not client operations and are skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::compact::{History, HistoryBuilder};
use super::error::{HistoryError, LineError};
use super::operation::Operation;

/// The longest line accepted, in bytes: far above any operation, far below what would hurt.
const LINE_BYTES_MAX: usize = 64 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl History {
    /// Reads a file (plain or zstd, told by its first bytes) or the history of a run directory.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn read(path: &Path) -> Result<History, HistoryError> {
        let name = path.display().to_string();
        let open = |source| HistoryError::Open { file: name.clone(), source };
        if path.is_dir() {
            return ["history.jsonl.zst", "history.jsonl"]
                .iter()
                .map(|file| path.join(file))
                .find(|candidate| candidate.is_file())
                .map_or_else(
                    || Err(HistoryError::NoHistory { file: name.clone() }),
                    |file| History::read(&file),
                );
        }
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(open)?);
        let start = reader.fill_buf().map_err(open)?;
        if start.starts_with(&ZSTD_MAGIC) {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(open)?;
            History::from_jsonl(BufReader::with_capacity(1 << 16, decoder), &name)
        } else {
            History::from_jsonl(reader, &name)
        }
    }

    /// Reads JSON Lines. `name` stands for the file in errors.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn from_jsonl(mut reader: impl BufRead, name: &str) -> Result<History, HistoryError> {
        let file = || name.to_owned();
        let mut builder = HistoryBuilder::default();
        let mut bytes = Vec::new();
        let mut line = 0_u64;
        let mut anything = false;
        loop {
            bytes.clear();
            line += 1;
            let count = reader
                .by_ref()
                .take(LINE_BYTES_MAX as u64 + 1)
                .read_until(b'\n', &mut bytes)
                .map_err(|source| HistoryError::Read { file: file(), line, source })?;
            if count == 0 {
                break;
            }
            if bytes.iter().all(u8::is_ascii_whitespace) && count <= LINE_BYTES_MAX {
                continue;
            }
            anything = true;
            read_line(&bytes, &mut builder).map_err(|reason| HistoryError::Line {
                file: file(),
                line,
                reason,
            })?;
        }
        if anything { Ok(builder.finish()) } else { Err(HistoryError::Empty { file: file() }) }
    }
}

fn read_line(bytes: &[u8], builder: &mut HistoryBuilder) -> Result<(), LineError> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(LineError::TooLong { limit: LINE_BYTES_MAX });
    }
    let whole = bytes.ends_with(b"\n");
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) if !whole => return Err(LineError::Truncated),
        Err(_) => return Err(LineError::NotUtf8),
    };
    match serde_json::from_str::<Operation>(text) {
        Ok(operation) => builder.push(&operation),
        Err(_) if !whole && ends_inside(text) => Err(LineError::Truncated),
        Err(_) if is_not_a_client(text) => {
            builder.skip();
            Ok(())
        }
        // serde_json counts lines within the text it was given: its "line 1" would mislead.
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line 1 column ").next().unwrap_or_default();
            Err(LineError::Json(format!("{message} (column {})", error.column())))
        }
    }
}

/// Whether the text is the beginning of a JSON value and not the end of it.
fn ends_inside(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_err_and(|error| error.is_eof())
}

/// Whether the line is about something other than a client: its process is a name.
fn is_not_a_client(text: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text)
        .is_ok_and(|value| value.get("process").is_some_and(serde_json::Value::is_string))
}
