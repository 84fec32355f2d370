//! Why a history could not be read: always with the file, the line and what is wrong with it.

use super::operation::Function;

/// A history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file or directory could not be opened.
    #[error("{file}: cannot be opened: {source}")]
    Open {
        /// As the caller named it.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Reading stopped half-way: a disk error, or a compressed file that ends too early.
    #[error("{file}:{line}: cannot be read further: {source}")]
    Read {
        /// As the caller named it.
        file: String,
        /// The line that was being read, from 1.
        line: u64,
        /// What the system or the decompressor said.
        source: std::io::Error,
    },
    /// A line is not a usable operation.
    #[error("{file}:{line}: {reason}")]
    Line {
        /// As the caller named it.
        file: String,
        /// From 1.
        line: u64,
        /// What is wrong with it.
        reason: LineError,
    },
    /// Nothing at all in the file.
    #[error(
        "{file}: the file is empty; a history has at least one operation, such as one JSON object a line"
    )]
    Empty {
        /// As the caller named it.
        file: String,
    },
    /// A directory without a history in it.
    #[error(
        "{file}: the directory has no history.jsonl.zst or history.jsonl; was the run made with --check?"
    )]
    NoHistory {
        /// As the caller named it.
        file: String,
    },
}

/// What is wrong with one line, or with one operation beside those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The last line stops in the middle.
    #[error("the line is truncated: the file ends inside it")]
    Truncated,
    /// Longer than any operation.
    #[error("the line is longer than {limit} bytes")]
    TooLong {
        /// The longest line accepted, in bytes.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("the line is not UTF-8; write other bytes as \"base64:...\"")]
    NotUtf8,
    /// Not an operation: broken JSON, a missing field, a field of the wrong type.
    #[error("{0}")]
    Json(String),
    /// A field is missing, or must not be there, given the others.
    #[error("field `{field}`: {why}")]
    Field {
        /// Its name.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Time stands still or goes forward, between a call and its answer.
    #[error("return_ns {return_ns} is before invoke_ns {invoke_ns}")]
    ReturnBeforeInvoke {
        /// The call.
        invoke_ns: u64,
        /// The answer.
        return_ns: u64,
    },
    /// Operations are listed in order of their calls.
    #[error(
        "invoke_ns {invoke_ns} is before that of the operation above it, {previous_ns}; sort by invoke_ns"
    )]
    OutOfOrder {
        /// This call.
        invoke_ns: u64,
        /// The call before it.
        previous_ns: u64,
    },
    /// A process is one client: it waits for its answer before it calls again.
    #[error(
        "process {process} invokes while its operation number {open} (from 0) is still open; \
         after an `info` a client goes on under a new process"
    )]
    StillOpen {
        /// The process.
        process: u64,
        /// Its open operation, counted from 0 by invocation.
        open: usize,
    },
    /// Final reads come after everything else.
    #[error("a {f} after the final reads began (operation number {first_final}, from 0)")]
    WriteAfterFinal {
        /// What the operation does.
        f: Function,
        /// The first final read, counted from 0 by invocation.
        first_final: usize,
    },
    /// Two answers where there should be one.
    #[error(
        "a second final read of key {key} on node {node}; the first is operation number {first} (from 0)"
    )]
    RepeatedFinal {
        /// The key.
        key: String,
        /// The node whose own copy was read.
        node: String,
        /// The first such read, counted from 0 by invocation.
        first: usize,
    },
    /// Not EDN, or not an operation in EDN.
    #[error("{0}")]
    Edn(String),
    /// The end of an operation that never began.
    #[error("process {process} ends an operation, but has none open")]
    NothingOpen {
        /// The process.
        process: i64,
    },
    /// The end of another operation than the one that is open.
    #[error("process {process} ends a {ended}, but what it has open is a {called}")]
    OtherFunction {
        /// The process.
        process: i64,
        /// What was called.
        called: String,
        /// What ended.
        ended: String,
    },
    /// A function that no model knows.
    #[error(
        "unknown function {f:?}: one of read, get, write, put, cas, append, add, delete, acquire, release, txn"
    )]
    UnknownFunction {
        /// As the file has it.
        f: String,
    },
    /// More operations or values than the compact form can number.
    #[error("the history has more than 4 billion operations or values")]
    TooLarge,
}
