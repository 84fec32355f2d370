//! Writes results to standard output.
//!
//! A reader that went away (`quorate check ... | head -1`) is no failure of ours: what was
//! found stands, and so does the exit code.

use std::fmt;
use std::io::{self, Write as _};

use crate::outcome::Failure;

/// Writes one line.
///
/// # Errors
/// If it cannot be written for another reason than that nobody reads.
pub fn line(text: impl fmt::Display) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
///
/// # Errors
/// As [`line`].
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::setup(format_args!("standard output: {e}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
