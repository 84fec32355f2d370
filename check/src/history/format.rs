//! The formats that histories come in, how to tell them apart, and how each is read from text.

use super::compact::History;
use super::edn::{Edn, EdnError, Reader};
use super::error::{HistoryError, LineError};
use super::events::{Event, Pairing, Phase};

/// A format of histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Format {
    /// One JSON object an operation, a line each: our own.
    #[default]
    Jsonl,
    /// Jepsen's operation maps, in one collection or one after another.
    Edn,
    /// Lines of Jepsen's log, as the etcd histories of Porcupine's tests have them.
    EtcdLog,
    /// One EDN-like map a line, get, put and append on strings: the histories of Porcupine's kv tests.
    KvLog,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 4] = [Format::Jsonl, Format::Edn, Format::EtcdLog, Format::KvLog];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Jsonl => "jsonl",
            Format::Edn => "edn",
            Format::EtcdLog => "etcd-log",
            Format::KvLog => "kv-log",
        }
    }

    /// The format that the beginning of a file looks like.
    #[must_use]
    pub fn guess(start: &[u8]) -> Format {
        let text = String::from_utf8_lossy(start);
        let mut rest = text.trim_start();
        while let Some(comment) = rest.strip_prefix(';') {
            rest = comment.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
        }
        let mut letters = rest.chars().filter(|letter| !letter.is_whitespace());
        match (letters.next(), letters.next()) {
            (Some('{'), Some(':')) if is_kv_log(rest) => Format::KvLog,
            (Some('{'), Some(':')) => Format::Edn,
            (Some('['), Some('{')) if letters.next() == Some('"') => Format::Jsonl,
            (Some('(' | '[' | '#'), _) => Format::Edn,
            (Some('{'), _) => Format::Jsonl,
            _ if text.contains("jepsen.util") => Format::EtcdLog,
            _ => Format::Jsonl,
        }
    }
}

/// Whether the first map has a key and gets, puts or appends.
fn is_kv_log(text: &str) -> bool {
    let Ok(map) = Reader::new(text).read() else { return false };
    let function = map.get("f").map(ToString::to_string).unwrap_or_default();
    map.get("key").is_some() && matches!(function.as_str(), ":get" | ":put" | ":append")
}

/// Reads a whole text in a format that is not JSON Lines.
pub(super) fn read_events(text: &str, format: Format, name: &str) -> Result<History, HistoryError> {
    let failed = |line, reason| HistoryError::Line { file: name.to_owned(), line, reason };
    if text.trim().is_empty() {
        return Err(HistoryError::Empty { file: name.to_owned() });
    }
    let mut pairing = Pairing::default();
    let result = match format {
        Format::EtcdLog => read_log(text, &mut pairing),
        Format::Jsonl | Format::Edn | Format::KvLog => read_edn(text, &mut pairing),
    };
    result.map_err(|(line, reason)| failed(line, reason))?;
    pairing.finish(format).map_err(|(line, reason)| failed(line, reason))
}

type Failed = (u64, LineError);

fn edn_error(error: EdnError) -> Failed {
    (error.line, LineError::Edn(error.why))
}

/// Maps one after another, or in one collection; and the old `[process type f value]` tuples.
fn read_edn(text: &str, pairing: &mut Pairing) -> Result<(), Failed> {
    let mut reader = Reader::new(text);
    let mut inside: Option<u8> = None;
    while let Some(byte) = reader.peek().map_err(edn_error)? {
        if Some(byte) == inside {
            inside = None;
            reader.take().map_err(edn_error)?;
            continue;
        }
        if inside.is_none() && matches!(byte, b'[' | b'(') {
            let first = reader.peek_inside().map_err(edn_error)?;
            if matches!(first, Some(b'{' | b'[' | b'(' | b'#' | b']' | b')') | None) {
                reader.take().map_err(edn_error)?;
                inside = Some(if byte == b'[' { b']' } else { b')' });
                continue;
            }
        }
        let line = reader.line();
        let form = reader.read().map_err(edn_error)?;
        event(&form, line, pairing)?;
    }
    match inside {
        Some(_) => Err((reader.line(), LineError::Edn("the file ends inside its collection".to_owned()))),
        None => Ok(()),
    }
}

fn event(form: &Edn, line: u64, pairing: &mut Pairing) -> Result<(), Failed> {
    let wrong = |why: &str| Err((line, LineError::Edn(why.to_owned())));
    let tuple;
    let get = |name: &str| match form {
        Edn::List(parts) => {
            let place = ["process", "type", "f", "value"].iter().position(|part| *part == name);
            place.and_then(|place| parts.get(place))
        }
        _ => form.get(name),
    };
    match form {
        Edn::Map(_) => {}
        Edn::List(parts) if parts.len() >= 3 => {}
        other => {
            tuple = format!("not an operation map: {other:.60}");
            return wrong(&tuple);
        }
    }
    let Some(process) = get("process") else { return wrong("an operation without :process") };
    let Edn::Integer(process) = process else {
        pairing.skip();
        return Ok(());
    };
    let phase = match get("type") {
        Some(Edn::Keyword(phase)) => match phase_of(phase) {
            Some(phase) => phase,
            None => return wrong(&format!("unknown :type :{phase}: one of :invoke, :ok, :fail, :info")),
        },
        _ => return wrong("an operation without a :type"),
    };
    let f = match get("f") {
        Some(Edn::Keyword(f) | Edn::Text(f) | Edn::Word(f)) => f.clone(),
        _ => return wrong("an operation without :f"),
    };
    let time = match get("time") {
        Some(Edn::Integer(time)) => Some(*time),
        _ => None,
    };
    let key = get("key").filter(|key| **key != Edn::Nil).cloned();
    let value = get("value").cloned().unwrap_or(Edn::Nil);
    let process = *process;
    pairing.push(Event { line, process, phase, f, key, value, time }).map_err(|reason| (line, reason))
}

fn phase_of(name: &str) -> Option<Phase> {
    Some(match name {
        "invoke" => Phase::Invoke,
        "ok" => Phase::Ok,
        "fail" => Phase::Fail,
        "info" => Phase::Info,
        _ => return None,
    })
}

/// `INFO  jepsen.util - PROCESS TYPE F VALUE`, with tabs or blanks between; other lines are no operations.
fn read_log(text: &str, pairing: &mut Pairing) -> Result<(), Failed> {
    for (line, content) in (1_u64..).zip(text.lines()) {
        let Some(event) = log_line(content, line)? else {
            pairing.skip();
            continue;
        };
        pairing.push(event).map_err(|reason| (line, reason))?;
    }
    Ok(())
}

fn log_line(content: &str, line: u64) -> Result<Option<Event>, Failed> {
    let logged = || {
        let rest = content.strip_prefix("INFO")?.trim_start().strip_prefix("jepsen.util")?;
        let rest = rest.trim_start().strip_prefix('-')?.trim();
        let (process, rest) = word(rest);
        Some((process.parse::<i64>().ok()?, rest))
    };
    let Some((process, rest)) = logged() else { return Ok(None) };
    // From here on it is a client's: what cannot be understood must not be passed over.
    let (phase, rest) = word(rest);
    let (f, value) = word(rest);
    let phase = phase.strip_prefix(':').and_then(phase_of);
    let (Some(phase), Some(f)) = (phase, f.strip_prefix(':').filter(|f| !f.is_empty())) else {
        let why = "not `PROCESS :invoke|:ok|:fail|:info :function VALUE`".to_owned();
        return Err((line, LineError::Edn(why)));
    };
    let mut reader = Reader::at_line(value, line);
    let value = if value.is_empty() { Edn::Nil } else { reader.read().map_err(edn_error)? };
    Ok(Some(Event { line, process, phase, f: f.to_owned(), key: None, value, time: None }))
}

/// The text up to the first blank, and what follows the blanks.
fn word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}
