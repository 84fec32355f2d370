//! `quorate ring`: placement and gossip on paper, without a cluster. Not here: how they work
//! (`quorate_cluster::ring`, `quorate_cluster::membership::gossip`).

mod gossip;
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
    /// Servers come, go and grow: balance, movement, time, memory and view size step by step. Or, with
    /// --gossip, how fast news of members spreads and what that costs.
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
