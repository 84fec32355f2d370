//! Who owns what, for clients that ask owners (Dynamo, section 6.4).
//!
//! Owners are numbers of nodes, two bytes each and four beyond 65,535 nodes, least significant
//! first, N for each partition, in base64: a list of names would be ten times as long.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::config::NodeId;
use crate::membership::{Phase, View};

/// The placement that gets follow in `view`; while data moves also the one that it moves to, `next`.
pub(super) fn placement(view: &View) -> Value {
    let placement = view.placement();
    let nodes: BTreeMap<_, _> = view.everybody().map(|member| (member.id, &member.api)).collect();
    let numbers: BTreeMap<_, usize> = nodes.keys().zip(0..).map(|(id, number)| (*id, number)).collect();
    let narrow = nodes.len() <= usize::from(u16::MAX);
    let encoded = |owners_of: &dyn Fn(u32) -> Vec<NodeId>| {
        let mut owners = Vec::with_capacity(placement.partitions() as usize * placement.replicas() * 4);
        for owner in (0..placement.partitions()).flat_map(owners_of) {
            // Everybody who is asked is a member, or still leaving.
            let number = numbers.get(&owner).copied().unwrap_or_default() as u32;
            owners.extend_from_slice(&number.to_le_bytes()[..if narrow { 2 } else { 4 }]);
        }
        STANDARD.encode(owners)
    };
    let is_moving = view.version().phase != Phase::Stable;
    let next = is_moving.then(|| encoded(&|partition| placement.owners(partition).collect()));
    let cuts: Vec<u8> = placement.cuts().iter().flat_map(|cut| cut.to_le_bytes()).collect();
    let nodes: Vec<_> = nodes.into_iter().map(|(id, api)| json!({ "id": id, "api": api })).collect();
    json!({
        "strategy": placement.rules().strategy.to_string(),
        "partitions": placement.partitions(),
        "replicas": placement.replicas(),
        "nodes": nodes,
        "owners": encoded(&|partition| view.read_owners(partition)),
        "next": next,
        "cuts": STANDARD.encode(cuts),
    })
}
