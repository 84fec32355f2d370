//! A node as placement sees it, what a placement is made by, and why one cannot be made.

use serde::{Deserialize, Serialize};

use crate::config::{self, Member, NodeId};

/// A node as placement sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementNode {
    /// Its name.
    pub id: NodeId,
    /// Its share of the data relative to the others. A node of capacity 0 holds nothing.
    pub capacity: u32,
    /// The place whose failure takes it down with others. Nodes that name none share one.
    pub zone: String,
}

impl From<&Member> for PlacementNode {
    fn from(member: &Member) -> Self {
        Self { id: member.id, capacity: member.capacity, zone: member.zone.clone() }
    }
}

/// What a placement is made by, beside the nodes; fixed for the life of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How partitions are cut and dealt.
    pub strategy: config::Placement,
    /// Q: equal partitions of the ring. With `tokens` the tokens cut the ring instead.
    pub partitions: u32,
    /// N: copies of every partition.
    pub replicas: u32,
    /// T: tokens for each unit of a node's capacity, for the strategies that throw tokens.
    pub tokens: u32,
}

/// T where nobody chose one.
pub const TOKENS_PER_CAPACITY: u32 = 32;

/// Owners that a placement may hold in all, Q times N: beyond it is a slip of the keyboard.
const OWNERS_MAX: u64 = 1 << 28;

impl Rules {
    /// Equal partitions and quotas by capacity.
    #[must_use]
    pub fn quota(partitions: u32, replicas: usize) -> Self {
        let replicas = u32::try_from(replicas).unwrap_or(u32::MAX);
        Self { strategy: config::Placement::Quota, partitions, replicas, tokens: TOKENS_PER_CAPACITY }
    }

    /// What a store's definition says, with the usual number of tokens.
    #[must_use]
    pub fn of_store(store: &config::StoreDefinition) -> Self {
        Self { strategy: store.placement, ..Self::quota(store.partitions, store.n()) }
    }

    /// Whether these rules can place anything on `nodes`, in whatever order they come.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, nodes: &[PlacementNode]) -> Result<(), PlacementError> {
        if self.replicas == 0 || self.partitions == 0 || self.tokens == 0 {
            return Err(PlacementError::Nothing);
        }
        let mut names: Vec<NodeId> = nodes.iter().map(|n| n.id).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PlacementError::Twice(pair[0]));
        }
        let holding = nodes.iter().filter(|n| n.capacity > 0).count();
        if holding < self.replicas as usize {
            return Err(PlacementError::TooFewNodes { holding, replicas: self.replicas });
        }
        let tokens: u64 = nodes.iter().map(|n| u64::from(n.capacity)).sum::<u64>() * u64::from(self.tokens);
        let partitions = match self.strategy {
            config::Placement::Quota => u64::from(self.partitions),
            config::Placement::Tokens => tokens,
            config::Placement::TokensEqualPartitions => tokens.max(u64::from(self.partitions)),
        };
        let owners = partitions.saturating_mul(u64::from(self.replicas));
        if owners > OWNERS_MAX {
            return Err(PlacementError::TooLarge { owners });
        }
        Ok(())
    }
}

/// Why a placement was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlacementError {
    /// No two copies of a partition share a node.
    #[error(
        "{holding} node(s) with capacity cannot hold {replicas} copies of a partition: add nodes or lower replicas"
    )]
    TooFewNodes {
        /// Nodes whose capacity is above 0.
        holding: usize,
        /// Copies wanted.
        replicas: u32,
    },
    /// Two nodes have one name.
    #[error("node {0} is given twice; every node needs a name of its own")]
    Twice(NodeId),
    /// Without partitions, copies or tokens there is nothing to place.
    #[error("partitions, replicas and tokens must be at least 1")]
    Nothing,
    /// More owners than a placement holds.
    #[error(
        "{owners} owners in all are more than a placement holds ({OWNERS_MAX}): lower partitions, tokens or capacities"
    )]
    TooLarge {
        /// Partitions times replicas.
        owners: u64,
    },
    /// Spreading copies over as many zones as asked would overload a zone.
    #[error(transparent)]
    Zone(#[from] ZoneShortfall),
    /// A placement that was read does not hold together.
    #[error("a damaged placement: {0}")]
    Damaged(&'static str),
}

/// A zone too small for every partition to have a copy there as the spread asks.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "zone \"{zone}\" is too small: with every partition in {spread} zones its nodes would hold {over:.1} \
     times their fair share; add capacity there, or spread over fewer zones"
)]
pub struct ZoneShortfall {
    /// The zone that would be loaded most.
    pub zone: String,
    /// The distinct zones that each partition should have had copies in.
    pub spread: usize,
    /// What its nodes would hold over their share without zones.
    pub over: f64,
}
