//! `quorate ring plan`: who holds how much, and what a join moves.

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use quorate_cluster::ring::{Placement, PlacementNode, Rules, TOKENS_PER_CAPACITY};
use serde_json::json;

use super::servers::{Strategy, capacity, require_spread, server, zones_wanted};
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Place partitions on servers of these capacities.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate ring plan --capacities 1,1,2,2,4 --partitions 1024 --replicas 3 --join 2
  quorate ring plan --capacities 1,1,2,2,4 --zones a,a,b,b,c --spread 3 --json

The fair share is water-filled: no server holds more than one copy of a partition, so what a large
one cannot take is shared by the others. With zones it is what spreading leaves each.
Moves count copies of partitions; their minimum is what the servers that gain copies gain.")]
pub struct PlanArgs {
    /// Each server's capacity, relative to the others.
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true, value_parser = capacity)]
    capacities: Vec<u32>,
    /// Partitions of the ring.
    #[arg(long, value_name = "Q", default_value_t = 1024)]
    partitions: u32,
    /// Copies of every partition.
    #[arg(long, value_name = "N", default_value_t = 3)]
    replicas: u32,
    /// Each server's zone, as many as capacities.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    zones: Vec<String>,
    /// Distinct zones that every partition must have copies in; less is an error. Without it
    /// they are as many as zones, replicas and capacities permit.
    #[arg(long, value_name = "ZONES")]
    spread: Option<usize>,
    /// Capacities of servers that then join.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = capacity)]
    join: Vec<u32>,
    /// Their zones, as many as join.
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "join")]
    join_zones: Vec<String>,
    /// How partitions are cut and dealt.
    #[arg(long, value_enum, default_value_t = Strategy::Quota)]
    strategy: Strategy,
    /// Tokens for each unit of capacity, for the strategies that throw tokens.
    #[arg(long, value_name = "T", default_value_t = TOKENS_PER_CAPACITY)]
    tokens: u32,
}

/// Runs it.
///
/// # Errors
/// If the servers cannot be placed as asked.
pub fn run(args: PlanArgs, json: bool) -> Result<Exit, Failure> {
    let (first, joined) = servers(&args)?;
    let rules = Rules {
        strategy: args.strategy.placement(),
        partitions: args.partitions,
        replicas: args.replicas,
        tokens: args.tokens,
    };
    let before = Placement::by(rules, &first).map_err(Failure::setup)?;
    let after = match joined.len() {
        0 => before.clone(),
        _ => before.try_change(&[first, joined].concat()).map_err(Failure::setup)?,
    };
    require_spread(&after, args.spread)?;
    if let Some(shortfall) = after.zone_shortfall() {
        say(format_args!("warning: {shortfall}; partitions have copies in {} zones instead", after.spread()));
    }
    if json { stdout::line(object(&args, &before, &after)) } else { table(&args, &before, &after) }?;
    Ok(Exit::Held)
}

fn servers(args: &PlanArgs) -> Result<(Vec<PlacementNode>, Vec<PlacementNode>), Failure> {
    if !args.zones.is_empty() && args.zones.len() != args.capacities.len() {
        return Err(Failure::setup(format_args!(
            "--zones names {} zones for {} capacities; give each server one",
            args.zones.len(),
            args.capacities.len()
        )));
    }
    if args.zones.is_empty() && !args.join_zones.is_empty() {
        return Err(Failure::setup("--join-zones without --zones: say where the first servers are too"));
    }
    if !args.zones.is_empty() && args.join_zones.len() != args.join.len() {
        return Err(Failure::setup(format_args!(
            "--join-zones names {} zones for {} servers that join; with --zones each needs one",
            args.join_zones.len(),
            args.join.len()
        )));
    }
    let list = |capacities: &[u32], zones: &[String], from: usize| -> Vec<PlacementNode> {
        let zone = |i: usize| zones.get(i).map_or("", String::as_str);
        let one = |(i, c): (usize, &u32)| server(0, from + i + 1, *c, zone(i));
        capacities.iter().enumerate().map(one).collect()
    };
    let first = list(&args.capacities, &args.zones, 0);
    let joined = list(&args.join, &args.join_zones, first.len());
    Ok((first, joined))
}

fn object(args: &PlanArgs, before: &Placement, after: &Placement) -> serde_json::Value {
    let balance = after.balance();
    let partitions = f64::from(after.rules().partitions);
    let nodes: Vec<_> = after
        .nodes()
        .iter()
        .zip(&balance.nodes)
        .enumerate()
        .map(|(i, (node, load))| {
            json!({
                "node": i + 1,
                "capacity": node.capacity,
                "zone": node.zone,
                "joins": i >= args.capacities.len(),
                "partitions": load.partitions,
                "fair_share": load.fair * partitions,
                "load_over_fair": load.over_fair(),
            })
        })
        .collect();
    let mut object = json!({
        "strategy": args.strategy.name(),
        "partitions": after.partitions(),
        "replicas": args.replicas,
        "nodes": nodes,
        "max_over_fair": balance.max_over_fair(),
        "min_over_fair": balance.min_over_fair(),
        "efficiency": balance.efficiency(),
        "zones_wanted": zones_wanted(after),
        "spread": after.spread(),
        "zones_met": after.zones_met(),
        "zone_too_small": after.zone_shortfall().map(|s| s.zone),
        "view_bytes": after.view_bytes(),
    });
    if !args.join.is_empty() {
        object["max_over_fair_before"] = before.balance().max_over_fair().into();
        object["moved"] = before.moves(after).len().into();
        object["moved_fraction"] = before.moved_fraction(after).into();
        // Token values cut partitions anew: counting them says nothing.
        object["moved_minimum"] = match args.strategy {
            Strategy::Tokens => serde_json::Value::Null,
            _ => before.moves_minimum(after).into(),
        };
    }
    object
}

fn table(args: &PlanArgs, before: &Placement, after: &Placement) -> Result<(), Failure> {
    let balance = after.balance();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header(["server", "capacity", "zone", "partitions", "fair", "load/fair"]);
    for (i, (node, load)) in after.nodes().iter().zip(&balance.nodes).enumerate() {
        let joins = if i >= args.capacities.len() { " joins" } else { "" };
        table.add_row([
            format!("{}{joins}", i + 1),
            node.capacity.to_string(),
            node.zone.clone(),
            load.partitions.to_string(),
            format!("{:.1}", load.fair * f64::from(after.rules().partitions)),
            format!("{:.4}", load.over_fair()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    stdout::line(table)?;
    stdout::line(format_args!(
        "{} partitions x {} copies; most loaded {:.4} of its fair share, least {:.4}; view {} bytes",
        after.partitions(),
        args.replicas,
        balance.max_over_fair(),
        balance.min_over_fair(),
        after.view_bytes(),
    ))?;
    if !args.zones.is_empty() {
        stdout::line(format_args!(
            "every partition has copies in {} zones or more, of {} wanted",
            after.zones_met(),
            zones_wanted(after)
        ))?;
    }
    if !args.join.is_empty() {
        let minimum = match args.strategy {
            Strategy::Tokens => String::new(),
            _ => format!(", at least {}", before.moves_minimum(after)),
        };
        stdout::line(format_args!(
            "the join moves {} copies{minimum}: {:.2} % of all data",
            before.moves(after).len(),
            before.moved_fraction(after) * 100.0
        ))?;
    }
    Ok(())
}
