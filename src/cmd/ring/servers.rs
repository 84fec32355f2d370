//! Lists of capacities and zones, as words of the command line, and the servers they describe.

use clap::ValueEnum;
use quorate_cluster::config;
use quorate_cluster::ring::{Placement, PlacementNode};

use crate::outcome::Failure;

/// How partitions are cut and dealt (Dynamo, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// Equal partitions, quotas by capacity (after strategy 3).
    Quota,
    /// Random tokens, partition by token value (strategy 1).
    Tokens,
    /// Random tokens, equal partitions (strategy 2).
    TokensEqualPartitions,
}

impl Strategy {
    /// The store setting of the same name.
    pub fn placement(self) -> config::Placement {
        match self {
            Self::Quota => config::Placement::Quota,
            Self::Tokens => config::Placement::Tokens,
            Self::TokensEqualPartitions => config::Placement::TokensEqualPartitions,
        }
    }

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Tokens => "tokens",
            Self::TokensEqualPartitions => "tokens-equal-partitions",
        }
    }
}

/// Reads one capacity.
///
/// # Errors
/// What is wrong with it, for clap to say beside the option's name.
pub fn capacity(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(0) => Err("a server of capacity 0 would hold nothing; give it at least 1".into()),
        Ok(capacity) => Ok(capacity),
        Err(_) => Err("a capacity is a whole number from 1 to 4294967295".into()),
    }
}

/// A server of a ring on paper. Names are padded, so that their order is that of `number`, which
/// counts from 1.
///
/// # Panics
/// If `number` has more than seven digits and `salt` eight.
pub fn server(salt: u32, number: usize, capacity: u32, zone: &str) -> PlacementNode {
    let id = match salt {
        0 => format!("n{number:07}"),
        salt => format!("{salt:x}n{number:07}"),
    };
    let id = id.parse().expect("digits and letters make a name");
    PlacementNode { id, capacity, zone: zone.to_owned() }
}

/// Refuses a placement whose partitions do not have copies in `wanted` zones.
///
/// # Errors
/// Naming the zone that is too small, or the number of zones there are.
pub fn require_spread(placement: &Placement, wanted: Option<usize>) -> Result<(), Failure> {
    let Some(wanted) = wanted.filter(|wanted| *wanted > placement.spread()) else { return Ok(()) };
    if placement.rules().strategy != config::Placement::Quota {
        return Err(Failure::setup("--spread: strategies that throw tokens know no zones; choose `quota`"));
    }
    if wanted > placement.replicas() {
        return Err(Failure::setup(format_args!(
            "--spread {wanted}: {} copies cannot be in {wanted} zones; raise --replicas or lower --spread",
            placement.replicas()
        )));
    }
    Err(match placement.zone_shortfall() {
        Some(shortfall) if wanted <= shortfall.spread => Failure::setup(shortfall),
        _ => Failure::setup(format_args!(
            "--spread {wanted}: there are only {} zones; add zones or lower --spread",
            zones(placement.nodes())
        )),
    })
}

/// Distinct zones.
pub fn zones(nodes: &[PlacementNode]) -> usize {
    nodes.iter().map(|n| n.zone.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

/// Zones that can be wanted of `placement`: as many as there are, up to its replicas.
pub fn zones_wanted(placement: &Placement) -> usize {
    zones(placement.nodes()).min(placement.replicas())
}
