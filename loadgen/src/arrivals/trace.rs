//! Arrivals read from a file: what happened elsewhere, once more.
//!
//! A line is one operation: when it is due, counted from the beginning of the measurement, then if
//! wanted what it does and the number of its key. What a line leaves out, or has a `-` for, is drawn as
//! in any other run. Text after a `#` and empty lines are passed over.
//!
//! ```text
//! # offset  operation  key
//! 0
//! 1.5ms     get
//! 0.0125    -          17     # without a unit: seconds
//! 2s        insert     10000
//! ```
//!
//! Not here: how fast, or how often, it is played.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::workload::OpKind;

/// The largest number of a key: key names stay short, and other numbers are for keys that are inserted.
const KEY_MAX: u64 = (1 << 40) - 1;

/// One line of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// When it is due, in nanoseconds since the measurement began.
    pub slot_ns: u64,
    /// What it does, if the trace says.
    pub kind: Option<OpKind>,
    /// The number of its key, if the trace says.
    pub key: Option<u64>,
}

/// A schedule from a file. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    name: String,
    lines: Arc<[TraceLine]>,
}

/// A trace that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// It cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A line that is not one.
    #[error("{file}, line {line}: {why}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        why: String,
    },
    /// Nothing in it.
    #[error("{file}: no arrivals; expected a line for each, such as `1.5ms` or `0.0015 get 17`")]
    Empty {
        /// The file.
        file: String,
    },
}

impl Trace {
    /// Reads a trace from a file.
    ///
    /// # Errors
    /// With file, line and what was expected there.
    pub fn read(path: &Path) -> Result<Self, TraceError> {
        let file = path.display().to_string();
        let opened = File::open(path).map_err(|source| TraceError::Io { file: file.clone(), source })?;
        Self::parse(file, BufReader::new(opened))
    }

    /// Reads a trace; `name` is what errors call it.
    ///
    /// # Errors
    /// With file, line and what was expected there.
    pub fn parse(name: String, text: impl BufRead) -> Result<Self, TraceError> {
        let mut lines: Vec<TraceLine> = Vec::new();
        for (number, read) in text.lines().enumerate() {
            let read = read.map_err(|source| match source.kind() {
                io::ErrorKind::InvalidData => {
                    let why = "not text in UTF-8; is it compressed?".to_owned();
                    TraceError::Line { file: name.clone(), line: number + 1, why }
                }
                _ => TraceError::Io { file: name.clone(), source },
            })?;
            let words = read.split('#').next().unwrap_or_default().split_whitespace();
            let after_ns = lines.last().map_or(0, |line| line.slot_ns);
            match TraceLine::parse(words, after_ns) {
                Ok(line) => lines.extend(line),
                Err(why) => return Err(TraceError::Line { file: name, line: number + 1, why }),
            }
        }
        if lines.is_empty() {
            return Err(TraceError::Empty { file: name });
        }
        Ok(Self { name, lines: lines.into() })
    }

    /// The file it came from.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its lines, in order of time.
    #[must_use]
    pub fn lines(&self) -> &[TraceLine] {
        &self.lines
    }

    /// When the last one is due, in nanoseconds since the measurement began.
    #[must_use]
    pub fn last_ns(&self) -> u64 {
        self.lines.last().map_or(0, |line| line.slot_ns)
    }

    /// Operations a second, on average; of one shorter than a second, over a second.
    #[must_use]
    pub fn mean_per_s(&self) -> f64 {
        self.lines.len() as f64 / (self.last_ns() as f64 / 1e9).max(1.0)
    }
}

impl TraceLine {
    /// Reads a line that is due at `after_ns` or later; none if there is nothing on it.
    fn parse<'a>(mut words: impl Iterator<Item = &'a str>, after_ns: u64) -> Result<Option<Self>, String> {
        let Some(offset) = words.next() else { return Ok(None) };
        let slot_ns = offset_ns(offset)?;
        if slot_ns < after_ns {
            return Err(format!(
                "`{offset}` comes before the line above ({} s); expected offsets in ascending order",
                after_ns as f64 / 1e9
            ));
        }
        let kind = match words.next() {
            None | Some("-") => None,
            Some(word) => {
                Some(OpKind::ALL.into_iter().find(|kind| kind.name() == word).ok_or_else(|| {
                    let known = OpKind::ALL.map(OpKind::name).join(", ");
                    format!("`{word}` is not an operation; expected one of {known}, or `-`")
                })?)
            }
        };
        let key = match words.next() {
            None | Some("-") => None,
            Some(word) => Some(word.parse().ok().filter(|key| *key <= KEY_MAX).ok_or_else(|| {
                format!("`{word}` is not the number of a key; expected 0 to {KEY_MAX}, or `-`")
            })?),
        };
        if let Some(more) = words.next() {
            return Err(format!("`{more}` is too much; expected an offset, an operation and a key"));
        }
        if kind == Some(OpKind::Insert) && key.is_none() {
            return Err("`insert` without a key; expected the number of the key that is new".to_owned());
        }
        Ok(Some(Self { slot_ns, kind, key }))
    }
}

/// Reads `0.0015`, `1.5ms`, `2s`.
fn offset_ns(text: &str) -> Result<u64, String> {
    const NS_MAX: f64 = 1e15;
    let scales = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9)];
    let (number, scale) = scales
        .into_iter()
        .find_map(|(unit, scale)| text.strip_suffix(unit).map(|number| (number, scale)))
        .unwrap_or((text, 1e9));
    let ns = number.parse::<f64>().ok().map(|number| (number * scale).round());
    ns.filter(|ns| (0.0..=NS_MAX).contains(ns)).map(|ns| ns as u64).ok_or_else(|| {
        format!(
            "`{text}` is not an offset; expected seconds, or a number with ns, us, ms or s, up to 1,000,000 s"
        )
    })
}

/// What a run says of it: not the lines themselves.
impl Serialize for Trace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Trace", 3)?;
        fields.serialize_field("file", &self.name)?;
        fields.serialize_field("operations", &self.lines.len())?;
        fields.serialize_field("last_s", &(self.last_ns() as f64 / 1e9))?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;

    fn parse(text: &str) -> Result<Trace, TraceError> {
        Trace::parse("trace.txt".to_owned(), text.as_bytes())
    }

    #[test]
    fn lines_say_as_much_as_they_want_to() {
        let text = "# offset op key\n0\n\n1.5ms get\n0.0125 - 17 # seconds\n0.0125\tinsert 10000\n2s\n";
        let trace = parse(text).unwrap();
        let line = |slot_ns, kind, key| TraceLine { slot_ns, kind, key };
        assert_eq!(
            trace.lines(),
            [
                line(0, None, None),
                line(1_500_000, Some(OpKind::Get), None),
                line(12_500_000, None, Some(17)),
                line(12_500_000, Some(OpKind::Insert), Some(10_000)),
                line(2_000_000_000, None, None),
            ]
        );
        assert_eq!((trace.last_ns(), trace.mean_per_s()), (2_000_000_000, 2.5));
    }

    #[test]
    fn errors_name_file_and_line_and_what_was_expected() {
        for (text, line, part) in [
            ("0\n1ms\nsoon\n", 3, "`soon` is not an offset; expected seconds"),
            ("-1\n", 1, "not an offset"),
            ("NaN\n", 1, "not an offset"),
            ("2e6s\n", 1, "up to 1,000,000 s"),
            ("# from yesterday\n5\n4.9\n", 3, "`4.9` comes before the line above (5 s)"),
            ("0 scan\n", 1, "expected one of get, put"),
            ("0 get first\n", 1, "`first` is not the number of a key"),
            ("0 get 1099511627776\n", 1, "expected 0 to 1099511627775"),
            ("0 get 1 more\n", 1, "`more` is too much"),
            ("0 insert\n", 1, "without a key"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.starts_with(&format!("trace.txt, line {line}: ")), "{message}");
            assert!(message.contains(part), "{message}");
        }
        let packed =
            Trace::parse("trace.txt".to_owned(), &b"0\n\x28\xb5\x2f\xfd\n"[..]).unwrap_err().to_string();
        assert_eq!(packed, "trace.txt, line 2: not text in UTF-8; is it compressed?");
        assert!(parse("# nothing\n").unwrap_err().to_string().contains("no arrivals"));
        let absent = Trace::read(Path::new("/absent/trace.txt")).unwrap_err().to_string();
        assert!(absent.starts_with("/absent/trace.txt: "), "{absent}");
    }
}
