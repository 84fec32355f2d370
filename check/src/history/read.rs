//! Reading a history: any format, plain or compressed, from a reader, a file or a run directory.
//!
//! Strict: a checker that guesses what a broken line meant gives verdicts about another history. Three
//! leniences in JSON Lines: blank lines are skipped, a missing newline at the very end is no error, and lines whose
//! `process` is a name (`"nemesis"`) are not client operations and are skipped.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::builder::HistoryBuilder;
use super::compact::History;
use super::error::{HistoryError, LineError};
use super::format::{Format, read_events};
use super::line;
use super::operation::Operation;

/// The longest line accepted, in bytes: far above any operation, far below what would hurt.
const LINE_BYTES_MAX: usize = 64 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

impl History {
    /// Reads a file (plain or zstd, told by its first bytes) or the history of a run directory, in the
    /// format that it looks like.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn read(path: &Path) -> Result<History, HistoryError> {
        History::read_as(path, None)
    }

    /// Reads a file or run directory in a format, or in the one that it looks like.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn read_as(path: &Path, format: Option<Format>) -> Result<History, HistoryError> {
        let name = path.display().to_string();
        let open = |source| HistoryError::Open { file: name.clone(), source };
        if path.is_dir() {
            return ["history.jsonl.zst", "history.jsonl"]
                .iter()
                .map(|file| path.join(file))
                .find(|candidate| candidate.is_file())
                .map_or_else(
                    || Err(HistoryError::NoHistory { file: name.clone() }),
                    |file| History::read_as(&file, format),
                );
        }
        let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(open)?);
        let start = reader.fill_buf().map_err(open)?;
        if start.starts_with(&ZSTD_MAGIC) {
            let decoder = zstd::stream::read::Decoder::with_buffer(reader).map_err(open)?;
            History::from_reader(BufReader::with_capacity(1 << 16, decoder), format, &name)
        } else {
            History::from_reader(reader, format, &name)
        }
    }

    /// Reads from a reader, in a format or in the one that its first bytes look like. `name` stands for
    /// the file in errors.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn from_reader(
        mut reader: impl BufRead,
        format: Option<Format>,
        name: &str,
    ) -> Result<History, HistoryError> {
        let failed = |source| HistoryError::Read { file: name.to_owned(), line: 1, source };
        let format = match format {
            Some(format) => format,
            None => Format::guess(reader.fill_buf().map_err(failed)?),
        };
        if format == Format::Jsonl {
            return History::from_jsonl(reader, name);
        }
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map_err(failed)?;
        History::from_bytes(&bytes, Some(format), name)
    }

    /// Reads from memory, in a format or in the one that the bytes look like.
    ///
    /// # Errors
    /// [`HistoryError`] with file, line and reason.
    pub fn from_bytes(bytes: &[u8], format: Option<Format>, name: &str) -> Result<History, HistoryError> {
        let format = format.unwrap_or_else(|| Format::guess(&bytes[..bytes.len().min(1 << 16)]));
        if format == Format::Jsonl {
            return History::from_jsonl(bytes, name);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| HistoryError::Line {
            file: name.to_owned(),
            line: 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() as u64,
            reason: LineError::NotUtf8,
        })?;
        read_events(text, format, name)
    }

    /// Reads JSON Lines. `name` stands for the file in errors.
    ///
    /// ```
    /// use quorate_check::history::History;
    ///
    /// let line = r#"{"process":1,"f":"put","key":"k","value":1,"invoke_ns":10,"return_ns":20,"outcome":"ok"}"#;
    /// let history = History::from_jsonl(line.as_bytes(), "one.jsonl")?;
    /// assert_eq!((history.entries().len(), history.keys()), (1, 1));
    ///
    /// let error = History::from_jsonl(&b"{}\n"[..], "none.jsonl").expect_err("no operation");
    /// assert!(error.to_string().starts_with("none.jsonl:1: field `process` is missing"));
    /// # Ok::<(), quorate_check::history::HistoryError>(())
    /// ```
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
    if let Some(line) = line::parse(text) {
        return builder.push_raw(&line.raw());
    }
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
