//! Records what the clients of a bench saw, for `--check`.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use quorate_check::history::{
    Argument, Function, HistoryWriter, Operation, Outcome, Value, sort_by_invocation,
};
use quorate_loadgen::{CallKind, OperationObserver, OperationRecord};

/// Operations kept together. A single list would be copied as it grows, and every worker would
/// wait for that: milliseconds that are not the store's.
const CHUNK: usize = 8_192;

/// Keeps every call in memory until the run is over, so that writing a file does not disturb it.
#[derive(Default)]
pub struct Recording {
    chunks: Mutex<Vec<Vec<Operation>>>,
}

impl OperationObserver for Recording {
    fn observed(&self, record: OperationRecord) {
        self.push(operation(record));
    }
}

impl Recording {
    /// Adds an operation that was not part of the load.
    pub fn push(&self, operation: Operation) {
        // An operation is pushed whole: a panic elsewhere leaves nothing half done.
        let mut chunks = self.chunks.lock().unwrap_or_else(PoisonError::into_inner);
        match chunks.last_mut().filter(|chunk| chunk.len() < CHUNK) {
            Some(chunk) => chunk.push(operation),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(operation);
                chunks.push(chunk);
            }
        }
    }

    /// Writes `history.jsonl.zst`. What was written of one that does not fit is removed: half of it would look
    /// damaged to whoever checks it.
    ///
    /// # Errors
    /// If the file refuses.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        self.write_all(path).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })
    }

    fn write_all(&self, path: &Path) -> std::io::Result<()> {
        let chunks = std::mem::take(&mut *self.chunks.lock().unwrap_or_else(PoisonError::into_inner));
        let mut operations: Vec<Operation> = chunks.into_iter().flatten().collect();
        sort_by_invocation(&mut operations);
        let mut writer = HistoryWriter::zst(BufWriter::new(File::create(path)?))?;
        for operation in &operations {
            writer.write(operation)?;
        }
        writer.finish()?;
        Ok(())
    }
}

fn operation(record: OperationRecord) -> Operation {
    let f = match record.kind {
        CallKind::Get => Function::Get,
        CallKind::Put => Function::Put,
        CallKind::Delete => Function::Delete,
    };
    let outcome = match record.outcome {
        quorate_loadgen::Outcome::Ok => Outcome::Ok,
        quorate_loadgen::Outcome::Fail => Outcome::Fail,
        quorate_loadgen::Outcome::Info => Outcome::Info,
    };
    let ok_get = f == Function::Get && outcome == Outcome::Ok;
    let open = outcome == Outcome::Info;
    let values = |names: Vec<String>| names.into_iter().map(Value::from).collect();
    Operation {
        value: record.value.map(Argument::from),
        values: ok_get.then(|| values(record.values)),
        context: values(record.context),
        return_ns: (!open).then_some(record.end_ns),
        outcome,
        version: record.version.map(Value::from),
        via: record.via.map(|node| Value::from(format!("n{}", node + 1))),
        gave_up_ns: open.then_some(record.end_ns),
        ..Operation::invoked(record.process, f, record.key, record.invoke_ns)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use quorate_check::history::History;
    use quorate_check::{Kind, Model, Options, check};
    use quorate_loadgen::Phase;

    use super::*;

    fn record(
        process: u64,
        kind: CallKind,
        invoke_ns: u64,
        outcome: quorate_loadgen::Outcome,
    ) -> OperationRecord {
        OperationRecord {
            phase: Phase::Measure,
            process,
            kind,
            key: "k".into(),
            value: (kind != CallKind::Get).then(|| format!("v{invoke_ns}")),
            values: Vec::new(),
            context: Vec::new(),
            invoke_ns,
            end_ns: invoke_ns + 5,
            outcome,
            version: None,
            via: Some(0),
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_history_that_does_not_fit_is_told_and_leaves_no_half_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl.zst");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let recording = Recording::default();
        (0..1000)
            .for_each(|n| recording.observed(record(1, CallKind::Put, n * 10, quorate_loadgen::Outcome::Ok)));
        let error = recording.write(&path).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert!(!path.is_symlink());
    }

    #[test]
    fn what_was_recorded_is_what_is_judged() {
        use quorate_loadgen::Outcome::{Fail, Info, Ok};
        let recording = Recording::default();
        // Calls are heard of as they end; the file is in the order in which they began.
        recording
            .observed(OperationRecord { values: vec!["v10".into()], ..record(3, CallKind::Get, 40, Ok) });
        recording.observed(record(1, CallKind::Put, 10, Ok));
        recording.observed(record(1, CallKind::Put, 20, Ok));
        recording.observed(record(2, CallKind::Put, 30, Info));
        recording.observed(record(3, CallKind::Get, 50, Fail));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl.zst");
        recording.write(&path).unwrap();
        let history = History::read(&path).unwrap();
        assert_eq!(history.entries().len(), 5);
        let options = Options { model: Some(Model::Register), ..Options::default() };
        assert_eq!(
            check(&history, &options).count(Kind::NotLinearizable),
            1,
            "the get missed the second put"
        );
    }
}
