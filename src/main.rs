//! The `quorate` command line: arguments in, a library call, its answer out.
//!
//! Nothing here decides anything about stores, load or histories. What a command found goes
//! to standard output, everything else to standard error, and the exit code has one of four
//! meanings ([`outcome::Exit`]).

mod build_info;
mod cli;
mod cmd;
mod logs;
mod outcome;
mod signals;
mod stdout;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::cli::Cli;
use crate::outcome::Exit;

/// A node's and the generator's work is many short-lived pieces of memory that one thread makes and another
/// drops; the C library's allocator was a quarter of a node's processor time in that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) => {
            // Help is an answer only where it was asked for.
            let exit = match asked.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Held,
                _ => Exit::Setup,
            };
            // Nobody is left to tell when the stream is closed.
            let _ = asked.print();
            return exit.into();
        }
    };
    match cmd::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            outcome::say(format_args!("error: {failure}"));
            failure.exit().into()
        }
    }
}
