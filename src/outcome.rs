//! How a command ends: one of four exit codes, with a message when it could not do its work.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use quorate_processes::ProcessError;

/// The only exit codes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All held, or a bench measured.
    Held,
    /// A checked property was violated, a bar was missed, a key was not found.
    Violated,
    /// Timed out, undecided, interrupted, quorum not met.
    Unknown,
    /// Usage, configuration, set-up or unreadable input.
    Setup,
}

impl Exit {
    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Violated => 1,
            Self::Unknown => 2,
            Self::Setup => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do its work: a sentence that names file, field or line and what to
/// do, and the exit code it ends with.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// Usage, configuration, set-up or unreadable input.
    pub fn setup(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Setup, message: message.to_string() }
    }

    /// Timed out, undecided, interrupted, quorum not met.
    pub fn unknown(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Unknown, message: message.to_string() }
    }

    /// A negative answer: not found, a precondition that did not hold.
    pub fn violated(message: impl fmt::Display) -> Self {
        Self { exit: Exit::Violated, message: message.to_string() }
    }

    /// The code it ends with.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        Self::setup(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// One line for people on standard error. A closed stream is no reason to stop.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", crate::logs::line(line));
}
