//! The store of a swarm: one of the profiles, or something between them.

use std::time::Duration;

use quorate_cluster::config::{AntiEntropy, Conflict, Durability, PROFILES, QuorumKind, StoreDefinition};
use quorate_env::RandomStream;
use rand::RngExt;

use super::pick;

/// Name of a store that is none of the profiles.
pub(super) const OWN: &str = "own";

/// How often it is drawn again before a profile has to do.
const ATTEMPTS: u32 = 20;

/// A store that `nodes` nodes can keep.
pub(super) fn draw(nodes: usize, stream: &mut RandomStream) -> StoreDefinition {
    if stream.random_bool(0.35) {
        for _ in 0..ATTEMPTS {
            let own = own(stream);
            if own.n() <= nodes && own.validate().is_ok() {
                return own;
            }
        }
    }
    let profile = *pick(&PROFILES, stream);
    StoreDefinition::profile(profile).expect("a built-in profile is valid")
}

/// Anything; not all of it makes sense.
fn own(stream: &mut RandomStream) -> StoreDefinition {
    let replicas = *pick(&[2, 3, 3, 4, 5], stream);
    let quorum = *pick(&[QuorumKind::Sloppy, QuorumKind::Strict], stream);
    let conflict = *pick(&[Conflict::Siblings, Conflict::Siblings, Conflict::LastWriteWins], stream);
    let interval = Duration::from_millis(stream.random_range(50..=400));
    let durability = *pick(&[Durability::Commit, Durability::Commit, Durability::Interval(interval)], stream);
    let anti_entropy = AntiEntropy::Every(Duration::from_secs(stream.random_range(1..=3)));
    StoreDefinition {
        name: OWN.to_owned(),
        replicas,
        read_quorum: stream.random_range(1..=replicas),
        write_quorum: stream.random_range(1..=replicas),
        quorum,
        conflict,
        durability,
        partitions: *pick(&[4, 16, 32], stream),
        read_repair: stream.random_bool(0.8),
        hinted_handoff: stream.random_bool(0.85),
        anti_entropy: if stream.random_bool(0.9) { anti_entropy } else { AntiEntropy::Off },
        ..StoreDefinition::default()
    }
}
