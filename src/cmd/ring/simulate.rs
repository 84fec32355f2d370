//! `quorate ring simulate`: servers come, go and grow, and what each step costs.

use std::fmt;
use std::fs;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use quorate_cluster::ring::{Placement, PlacementNode, Rules};
use serde::Serialize;
use serde_json::json;

use super::servers::{Strategy, capacity, server};
use crate::outcome::{Exit, Failure, say};
use crate::stdout;

/// Partitions for each server where none are asked for.
const PARTITIONS_PER_SERVER: u32 = 8;
/// Small rings get this many partitions where none are asked for.
const PARTITIONS_MIN: u32 = 1024;
/// Beyond it names would run out of digits.
const SERVERS_MAX: usize = 1_000_000;

/// Servers come, go and grow: balance and movement, step by step and strategy by strategy.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quorate ring simulate --capacities 1,1,2,2,4 --partitions 1024
  quorate ring simulate --capacities 1,1,2,2,4 --events join:2,leave:1,resize:2:4
  quorate ring simulate --servers 10000 --capacities 1,2,4 --zones a,b,c,d,e
  quorate ring simulate --servers 50000 --strategy quota --json
  quorate ring simulate --gossip 1000 --seed 1

Efficiency is the paper's load-balancing efficiency (Dynamo, section 6.2): the average load over the
highest, each relative to the server's fair share, with every key asked for alike. To compare
strategies of equal size, tokens are thrown so that all servers together have as many as partitions.
Quotas are whole copies: what they are off by is less than a copy, so more partitions are evener,
and the view is larger by two bytes a copy.")]
pub struct SimulateArgs {
    /// Each server's capacity; with --servers the list is repeated.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1", value_parser = capacity)]
    capacities: Vec<u32>,
    /// How many servers. As many as capacities when left out.
    #[arg(long, value_name = "COUNT")]
    servers: Option<usize>,
    /// Each server's zone; repeated as capacities are.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    zones: Vec<String>,
    /// Partitions of the ring. 8 for each server when left out, and at least 1024.
    #[arg(long, value_name = "Q")]
    partitions: Option<u32>,
    /// Copies of every partition.
    #[arg(long, value_name = "N", default_value_t = 3)]
    replicas: u32,
    /// What happens, one after the other: `join:CAPACITY[:ZONE]`, `leave:NUMBER`,
    /// `resize:NUMBER:CAPACITY`. Servers are numbered from 1 in the order in which they came.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "join:2,leave:1")]
    events: Vec<Event>,
    /// Only these strategies. All three when left out.
    #[arg(long = "strategy", value_enum, value_name = "STRATEGY")]
    strategies: Vec<Strategy>,
    /// Other names for the servers, and so other tokens; with --gossip, other chance.
    #[arg(long, default_value_t = 0)]
    seed: u32,
    /// Instead: so many nodes gossip, in simulated time over links with latency and loss. They
    /// start, one crashes and restarts, they are split and healed, one learns a new view.
    #[arg(long, value_name = "NODES", value_parser = clap::value_parser!(u32).range(2..=10_000),
          conflicts_with_all = ["servers", "zones", "partitions", "strategies"])]
    gossip: Option<u32>,
    /// With --gossip: how many messages are lost, of one.
    #[arg(long, value_name = "FRACTION", default_value_t = 0.01, requires = "gossip", value_parser = fraction)]
    loss: f64,
}

/// A change of the members.
#[derive(Clone, Debug)]
enum Event {
    Join { capacity: u32, zone: Option<String> },
    Leave { number: usize },
    Resize { number: usize, capacity: u32 },
}

impl FromStr for Event {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(':').collect();
        let number = |word: &str| match word.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("`{word}` is no server's number; they count from 1")),
        };
        match words[..] {
            ["join", c] => Ok(Self::Join { capacity: capacity(c)?, zone: None }),
            ["join", c, zone] => Ok(Self::Join { capacity: capacity(c)?, zone: Some(zone.to_owned()) }),
            ["leave", n] => Ok(Self::Leave { number: number(n)? }),
            ["resize", n, c] => Ok(Self::Resize { number: number(n)?, capacity: capacity(c)? }),
            _ => Err("say join:CAPACITY[:ZONE], leave:NUMBER or resize:NUMBER:CAPACITY".into()),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join { capacity, zone: None } => write!(f, "join:{capacity}"),
            Self::Join { capacity, zone: Some(zone) } => write!(f, "join:{capacity}:{zone}"),
            Self::Leave { number } => write!(f, "leave:{number}"),
            Self::Resize { number, capacity } => write!(f, "resize:{number}:{capacity}"),
        }
    }
}

/// Reads a part of one.
fn fraction(text: &str) -> Result<f64, String> {
    let parsed = text.parse::<f64>().ok().filter(|f| (0.0..=0.9).contains(f));
    parsed.ok_or_else(|| "a fraction is a number from 0 to 0.9".into())
}

/// What one step of one strategy came to.
#[derive(Debug, Serialize)]
struct Step {
    strategy: &'static str,
    event: String,
    servers: usize,
    partitions: u32,
    max_over_fair: f64,
    min_over_fair: f64,
    efficiency: f64,
    zones_met: usize,
    /// Of all copies of all keys. Nothing for the first placement.
    moved_fraction: Option<f64>,
    moved: Option<usize>,
    /// Unequal partitions cannot be counted.
    moved_minimum: Option<u64>,
    place_ms: f64,
    memory_bytes: usize,
    view_bytes: usize,
}

/// Runs it.
///
/// # Errors
/// If the servers cannot be placed as asked, or an event names a server that is not there.
pub fn run(args: SimulateArgs, json: bool) -> Result<Exit, Failure> {
    if let Some(nodes) = args.gossip {
        return super::gossip::run(nodes, args.loss, args.seed, json);
    }
    let count = args.servers.unwrap_or(args.capacities.len());
    if count > SERVERS_MAX {
        return Err(Failure::setup(format_args!("--servers {count}: at most {SERVERS_MAX}")));
    }
    if args.servers.is_none() && !args.zones.is_empty() && args.zones.len() != count {
        return Err(Failure::setup(format_args!(
            "--zones names {} zones for {count} capacities; give each server one, or say --servers",
            args.zones.len()
        )));
    }
    let zone = |i: usize| if args.zones.is_empty() { "" } else { &args.zones[i % args.zones.len()] };
    let first: Vec<PlacementNode> = (0..count)
        .map(|i| server(args.seed, i + 1, args.capacities[i % args.capacities.len()], zone(i)))
        .collect();
    let per_server = u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(PARTITIONS_PER_SERVER);
    let partitions = args.partitions.unwrap_or(per_server.max(PARTITIONS_MIN));
    let capacity: u64 = first.iter().map(|n| u64::from(n.capacity)).sum();
    let tokens = u32::try_from(u64::from(partitions) / capacity.max(1)).unwrap_or(1).max(1);
    let every = [Strategy::Tokens, Strategy::TokensEqualPartitions, Strategy::Quota];
    let chosen = if args.strategies.is_empty() { &every[..] } else { &args.strategies };

    let mut steps = Vec::new();
    for strategy in chosen {
        let rules = Rules { strategy: strategy.placement(), partitions, replicas: args.replicas, tokens };
        steps.extend(simulate(&args, *strategy, rules, &first)?);
    }
    let peak = peak_memory_bytes();
    if json {
        stdout::line(json!({
            "replicas": args.replicas,
            "tokens_per_capacity": tokens,
            "peak_memory_bytes": peak,
            "steps": steps,
        }))?;
    } else {
        stdout::line(table(&steps))?;
        if let Some(peak) = peak {
            stdout::line(format_args!("peak memory of this process: {:.1} MiB", mib(peak)))?;
        }
    }
    Ok(Exit::Held)
}

fn simulate(
    args: &SimulateArgs,
    strategy: Strategy,
    rules: Rules,
    first: &[PlacementNode],
) -> Result<Vec<Step>, Failure> {
    let mut members = first.to_vec();
    let mut came = members.len();
    let began = Instant::now();
    let mut placement = Placement::by(rules, &members).map_err(Failure::setup)?;
    let mut steps = vec![step(strategy, "start".into(), &placement, None, began)];
    for event in &args.events {
        apply(event, &mut members, &mut came, args)?;
        let began = Instant::now();
        let after = placement
            .try_change(&members)
            .map_err(|e| Failure::setup(format_args!("--events {event}: {e}")))?;
        steps.push(step(strategy, event.to_string(), &after, Some(&placement), began));
        placement = after;
    }
    if let Some(shortfall) = placement.zone_shortfall() {
        say(format_args!(
            "warning: {shortfall}; partitions have copies in {} zones instead",
            placement.spread()
        ));
    }
    Ok(steps)
}

fn apply(
    event: &Event,
    members: &mut Vec<PlacementNode>,
    came: &mut usize,
    args: &SimulateArgs,
) -> Result<(), Failure> {
    let at = |number: usize, members: &[PlacementNode]| {
        let id = server(args.seed, number, 1, "").id;
        members
            .iter()
            .position(|n| n.id == id)
            .ok_or_else(|| Failure::setup(format_args!("--events {event}: there is no server {number} then")))
    };
    match event {
        Event::Join { capacity, zone } => {
            let zone = match (zone, args.zones.is_empty()) {
                (Some(zone), _) => zone,
                (None, true) => "",
                (None, false) => &args.zones[*came % args.zones.len()],
            };
            *came += 1;
            members.push(server(args.seed, *came, *capacity, zone));
        }
        Event::Leave { number } => {
            let at = at(*number, members)?;
            members.remove(at);
        }
        Event::Resize { number, capacity } => {
            let at = at(*number, members)?;
            members[at].capacity = *capacity;
        }
    }
    Ok(())
}

fn step(
    strategy: Strategy,
    event: String,
    placement: &Placement,
    before: Option<&Placement>,
    began: Instant,
) -> Step {
    let place_ms = began.elapsed().as_secs_f64() * 1e3;
    let balance = placement.balance();
    let countable = before.filter(|_| strategy != Strategy::Tokens);
    Step {
        strategy: strategy.name(),
        event,
        servers: placement.nodes().len(),
        partitions: placement.partitions(),
        max_over_fair: balance.max_over_fair(),
        min_over_fair: balance.min_over_fair(),
        efficiency: balance.efficiency(),
        zones_met: placement.zones_met(),
        moved_fraction: before.map(|before| before.moved_fraction(placement)),
        moved: countable.map(|before| before.moves(placement).len()),
        moved_minimum: countable.map(|before| before.moves_minimum(placement)),
        place_ms,
        memory_bytes: placement.memory_bytes(),
        view_bytes: placement.view_bytes(),
    }
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    table.set_header([
        "strategy",
        "event",
        "servers",
        "partitions",
        "max/fair",
        "min/fair",
        "efficiency",
        "zones",
        "moved",
        "copies",
        "at least",
        "ms",
        "memory MiB",
        "view KiB",
    ]);
    for step in steps {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        table.add_row([
            step.strategy.to_owned(),
            step.event.clone(),
            step.servers.to_string(),
            step.partitions.to_string(),
            format!("{:.4}", step.max_over_fair),
            format!("{:.4}", step.min_over_fair),
            format!("{:.3}", step.efficiency),
            step.zones_met.to_string(),
            or_dash(step.moved_fraction.map(|f| format!("{:.3} %", f * 100.0))),
            or_dash(step.moved.map(|m| m.to_string())),
            or_dash(step.moved_minimum.map(|m| m.to_string())),
            format!("{:.1}", step.place_ms),
            format!("{:.2}", mib(step.memory_bytes as u64)),
            format!("{:.1}", step.view_bytes as f64 / 1024.0),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What this process used at most, where the system says so.
fn peak_memory_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
