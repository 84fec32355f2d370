//! Writing a history: JSON Lines, plain or compressed, the same bytes for the same operations.

use std::io::{self, Write};

use super::operation::Operation;

/// Compression level: zstd's default, where twice the time would save a tenth of the bytes.
const ZSTD_LEVEL: i32 = 3;

/// Writes operations, one line each. Callers give them in order of invocation
/// ([`sort_by_invocation`]); readers refuse other orders.
pub struct HistoryWriter<W: Write> {
    sink: Sink<W>,
}

enum Sink<W: Write> {
    Plain(W),
    Compressed(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> HistoryWriter<W> {
    /// Writes plain lines.
    pub fn plain(writer: W) -> Self {
        HistoryWriter { sink: Sink::Plain(writer) }
    }

    /// Writes a zstd frame with a checksum.
    ///
    /// # Errors
    /// If the compressor cannot be set up.
    pub fn zst(writer: W) -> io::Result<Self> {
        let mut encoder = zstd::stream::write::Encoder::new(writer, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        Ok(HistoryWriter { sink: Sink::Compressed(encoder) })
    }

    /// Appends one operation.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn write(&mut self, operation: &Operation) -> io::Result<()> {
        let mut line = serde_json::to_vec(operation)?;
        line.push(b'\n');
        match &mut self.sink {
            Sink::Plain(writer) => writer.write_all(&line),
            Sink::Compressed(encoder) => encoder.write_all(&line),
        }
    }

    /// Ends the file and gives the writer back, flushed. Without it a compressed history is truncated.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn finish(self) -> io::Result<W> {
        let mut writer = match self.sink {
            Sink::Plain(writer) => writer,
            Sink::Compressed(encoder) => encoder.finish()?,
        };
        writer.flush()?;
        Ok(writer)
    }
}

/// Puts operations in the order of the format: by `invoke_ns`, and among equal stamps by process and
/// then as they were given, so that one process's own order is kept and the file does not depend on
/// which client's record arrived first.
pub fn sort_by_invocation(operations: &mut [Operation]) {
    operations.sort_by_key(|operation| (operation.invoke_ns, operation.process));
}
