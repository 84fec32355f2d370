//! `quorate ring`: placement on paper, without a cluster. Not here: how placement works
//! (`quorate_cluster::ring`), and how fast news of members spreads.

mod plan;
mod servers;
mod simulate;

use clap::{Args, Subcommand};

use crate::outcome::{Exit, Failure};

/// Placement, balance and data movement for a list of capacities.
#[derive(Debug, Args)]
pub struct RingArgs {
    #[command(subcommand)]
    command: RingCommand,
}

#[derive(Debug, Subcommand)]
enum RingCommand {
    /// Place partitions on servers of these capacities, and say what a join would move.
    Plan(plan::PlanArgs),
    /// Servers come, go and grow: balance, movement, time, memory and view size step by step.
    Simulate(simulate::SimulateArgs),
}

/// Runs it.
///
/// # Errors
/// If the servers cannot be placed as asked.
pub fn run(args: RingArgs, json: bool) -> Result<Exit, Failure> {
    match args.command {
        RingCommand::Plan(args) => plan::run(args, json),
        RingCommand::Simulate(args) => simulate::run(args, json),
    }
}
