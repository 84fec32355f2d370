//! The words of the command line. What each command does is in `cmd`.

use clap::{Parser, Subcommand};

use crate::cmd;

/// Shows what each setting of a replicated key-value store really gives: latency,
/// availability, staleness and loss, under load and under faults, with proof.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "\
Examples:
  quorate bench                        a three-node cluster on this machine under load
  quorate chaos run --seeds 1..20      five simulated nodes under faults, twenty times
  quorate check history.jsonl          was every promise kept?

Exit codes: 0 all held; 1 a property was violated or a key was not found;
2 unknown (timed out, interrupted, quorum not met); 3 usage, configuration, set-up or input.")]
pub struct Cli {
    /// Print the result as JSON on standard output.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// One variant a command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure a store under load: starts one on this machine unless a target is given.
    Bench(Box<cmd::bench::BenchArgs>),
    /// Shake a store: scenarios with faults, judged by checkers.
    Chaos(cmd::chaos::ChaosArgs),
    /// Judge histories: linearizable, stale, lost, resurrected?
    Check(cmd::check::CheckArgs),
    /// Run one node in the foreground.
    Serve(cmd::serve::ServeArgs),
    /// A local cluster of real processes that stays up.
    Cluster(cmd::cluster::ClusterArgs),
    /// Read a key.
    Get(cmd::get::GetArgs),
    /// Write a key.
    Put(cmd::put::PutArgs),
    /// Delete a key.
    Delete(cmd::delete::DeleteArgs),
    /// Placement on paper: balance and data movement for servers of any size.
    Ring(cmd::ring::RingArgs),
    /// Tables and report.html of runs.
    Report(cmd::report::ReportArgs),
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        fn visit(command: &clap::Command) {
            if !command.has_subcommands() {
                let help = command.clone().render_long_help().to_string();
                assert!(help.contains("Example"), "{} has no example", command.get_name());
            }
            command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(visit);
        }
        visit(&Cli::command());
    }
}
