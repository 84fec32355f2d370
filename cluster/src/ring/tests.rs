//! What placements hold for any nodes: quotas, distinct owners, zones, and few moves.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::config;

fn zoned(nodes: &[(u32, &str)]) -> Vec<PlacementNode> {
    let node = |(i, (capacity, zone)): (usize, &(u32, &str))| PlacementNode {
        id: format!("n{i:03}").parse().unwrap(),
        capacity: *capacity,
        zone: (*zone).into(),
    };
    nodes.iter().enumerate().map(node).collect()
}

fn nodes(capacities: &[u32]) -> Vec<PlacementNode> {
    zoned(&capacities.iter().map(|c| (*c, "")).collect::<Vec<_>>())
}

fn copies(placement: &Placement) -> BTreeMap<NodeId, u32> {
    placement.nodes().iter().map(|n| n.id).zip(placement.copies()).collect()
}

/// Every promise of a placement by quotas, counted anew from its owners.
#[track_caller]
fn sound(placement: &Placement) {
    let mut held: BTreeMap<NodeId, u32> = placement.nodes().iter().map(|n| (n.id, 0)).collect();
    let zone: BTreeMap<NodeId, &str> = placement.nodes().iter().map(|n| (n.id, n.zone.as_str())).collect();
    for partition in 0..placement.partitions() {
        let owners: BTreeSet<NodeId> = placement.owners(partition).collect();
        assert_eq!(owners.len(), placement.replicas());
        let zones: BTreeSet<&str> = owners.iter().map(|o| zone[o]).collect();
        assert!(zones.len() >= placement.spread(), "partition {partition}: {owners:?} in {zones:?}");
        for owner in owners {
            *held.get_mut(&owner).unwrap() += 1;
        }
    }
    assert_eq!(held, copies(placement));
    // Rounding, and keeping what rounding gave before, explain less than two copies.
    for node in &placement.balance().nodes {
        let off = (node.load - node.fair) * f64::from(placement.partitions());
        assert!(off.abs() < 2.0, "{node:?} is off by {off} copies");
        assert_eq!(node.partitions, held[&node.id]);
    }
}

#[test]
fn unequal_capacities_are_balanced_to_a_percent() {
    let placement = Placement::new(&nodes(&[1, 1, 2, 2, 4]), 1024, 3);
    sound(&placement);
    assert_eq!(placement.copies(), [341, 341, 683, 683, 1024]);
    assert!(placement.balance().max_over_fair() <= 1.01, "{:?}", placement.balance());
    let ten = Placement::new(&nodes(&[1, 1, 1, 2, 2, 2, 4, 4, 4, 8]), 1024, 3);
    assert!(ten.balance().max_over_fair() <= 1.01);
}

#[test]
fn balance_says_what_each_node_holds_and_should() {
    // Four copies of each partition can be on two small nodes and two large ones in one way only.
    let placement = Placement::new(&nodes(&[1, 1, 3, 3]), 8, 2);
    let balance = placement.balance();
    let of = |i: usize| (balance.nodes[i].partitions, balance.nodes[i].load, balance.nodes[i].fair);
    assert_eq!(
        [of(0), of(1), of(2), of(3)],
        [(2, 0.25, 0.25), (2, 0.25, 0.25), (6, 0.75, 0.75), (6, 0.75, 0.75)]
    );
    assert_eq!((balance.max_over_fair(), balance.min_over_fair(), balance.efficiency()), (1.0, 1.0, 1.0));
    let node = |load, fair| NodeLoad { load, fair, ..balance.nodes[0] };
    assert_eq!(node(0.0, 0.0).over_fair(), 1.0);
    assert_eq!(node(0.1, 0.0).over_fair(), f64::INFINITY);
    assert_eq!(node(0.1, 0.2).over_fair(), 0.5);
    let uneven = Balance { nodes: vec![node(0.4, 0.2), node(0.1, 0.2)] };
    assert_eq!((uneven.max_over_fair(), uneven.min_over_fair(), uneven.efficiency()), (2.0, 0.5, 0.5));
    let owners = 8 * 2 * size_of::<u32>();
    assert_eq!(placement.memory_bytes(), owners + 4 * size_of::<PlacementNode>());
}

#[test]
fn a_join_moves_its_quota_and_no_more() {
    let before = Placement::new(&nodes(&[1, 1, 2, 2, 4]), 1024, 3);
    let after = before.change(&nodes(&[1, 1, 2, 2, 4, 2]));
    sound(&after);
    let moves = before.moves(&after);
    assert_eq!(moves.len(), 512);
    assert_eq!(before.moves_minimum(&after), 512);
    assert!(moves.iter().all(|m| m.to.as_str() == "n005"));
    assert!((before.moved_fraction(&after) - 512.0 / 3072.0).abs() < 1e-12);
}

#[test]
fn no_change_moves_nothing() {
    for members in [nodes(&[1, 1, 2, 2, 4]), zoned(&[(1, "a"), (1, "a"), (2, "b"), (2, "b"), (4, "c")])] {
        let placement = Placement::new(&members, 1000, 3);
        assert_eq!(placement.change(&members), placement);
    }
}

#[test]
fn a_leave_moves_only_its_copies() {
    let before = Placement::new(&nodes(&[2, 3, 2, 3, 4, 1, 5]), 512, 3);
    let stay: Vec<PlacementNode> =
        before.nodes().iter().filter(|n| n.id.as_str() != "n003").cloned().collect();
    let after = before.change(&stay);
    sound(&after);
    let moves = before.moves(&after);
    assert!(moves.iter().all(|m| m.from.as_str() == "n003"));
    assert_eq!(moves.len() as u64, before.moves_minimum(&after));
    assert_eq!(moves.len() as u32, copies(&before)[&"n003".parse().unwrap()]);
}

#[test]
fn a_grown_server_takes_from_the_others_only_what_it_gains() {
    let before = Placement::new(&nodes(&[1, 1, 1, 1, 1, 1]), 600, 3);
    let after = before.change(&nodes(&[1, 1, 2, 1, 1, 1]));
    sound(&after);
    assert_eq!(after.copies(), [257, 257, 514, 257, 257, 258]);
    assert_eq!(before.moves(&after).len(), 214);
    assert!(before.moves(&after).iter().all(|m| m.to.as_str() == "n002"));
}

#[test]
fn as_many_zones_as_replicas_hold_one_copy_each() {
    let placement = Placement::new(&zoned(&[(1, "a"), (1, "a"), (2, "b"), (2, "b"), (4, "c")]), 1024, 3);
    sound(&placement);
    assert_eq!((placement.spread(), placement.zones_met()), (3, 3));
    assert_eq!(placement.copies(), [512, 512, 512, 512, 1024]);
    assert_eq!(placement.zone_shortfall(), None);
}

#[test]
fn fewer_zones_than_replicas_all_hold_a_copy() {
    let placement = Placement::new(&zoned(&[(3, "a"), (3, "a"), (3, "a"), (1, "b"), (1, "b")]), 999, 3);
    sound(&placement);
    assert_eq!(placement.spread(), 2);
    // Fair by capacity alone would be 0.55 of a set in zone b.
    let b: u32 = placement.copies()[3..].iter().sum();
    assert_eq!(b, 999);
    // Where capacity asks for more than the spread does, capacity decides.
    let more = Placement::new(&zoned(&[(2, "a"), (1, "a"), (2, "b"), (1, "b")]), 600, 3);
    sound(&more);
    assert_eq!(more.copies(), [600, 300, 600, 300]);
}

#[test]
fn a_zone_too_small_is_named_and_the_spread_relaxed() {
    let members = zoned(&[(10, "a"), (10, "a"), (10, "b"), (10, "b"), (1, "tiny")]);
    let placement = Placement::new(&members, 410, 3);
    sound(&placement);
    assert_eq!((placement.spread(), placement.zones_met()), (2, 2));
    assert_eq!(placement.copies()[4], 30);
    let shortfall = placement.zone_shortfall().unwrap();
    assert_eq!((shortfall.zone.as_str(), shortfall.spread), ("tiny", 3));
    assert!((shortfall.over - 41.0 / 3.0).abs() < 1e-6, "{shortfall:?}");
    let refused = placement.require_zones().unwrap_err();
    assert!(refused.to_string().contains("zone \"tiny\" is too small"), "{refused}");
    // A zone of nodes that hold nothing is no zone.
    let drained = Placement::new(&zoned(&[(1, "a"), (1, "b"), (1, "b"), (0, "c")]), 30, 2);
    assert_eq!((drained.spread(), drained.zone_shortfall()), (2, None));
    assert_eq!(drained.copies(), [30, 15, 15, 0]);
}

#[test]
fn a_new_zone_gets_a_copy_of_everything_once_it_can_carry_it() {
    let two = zoned(&[(2, "a"), (2, "a"), (2, "b"), (2, "b")]);
    let before = Placement::new(&two, 256, 3);
    assert_eq!(before.spread(), 2);
    let three = zoned(&[(2, "a"), (2, "a"), (2, "b"), (2, "b"), (3, "c")]);
    let after = before.change(&three);
    sound(&after);
    assert_eq!((after.spread(), after.copies()[4]), (3, 256));
    assert_eq!(before.moves(&after).len(), 256);
}

#[test]
fn unplaceable_members_are_refused_by_reason() {
    let refused =
        |rules: Rules, members: &[PlacementNode]| Placement::by(rules, members).unwrap_err().to_string();
    let quota = Rules::quota(8, 3);
    assert!(refused(quota, &nodes(&[1, 1])).contains("2 node(s) with capacity cannot hold 3 copies"));
    assert!(refused(quota, &nodes(&[1, 1, 0])).contains("2 node(s)"));
    assert!(refused(quota, &[nodes(&[1, 1]), nodes(&[1])].concat()).contains("n000 is given twice"));
    assert!(refused(Rules::quota(0, 3), &nodes(&[1, 1, 1])).contains("at least 1"));
    assert!(refused(Rules::quota(8, 0), &nodes(&[1])).contains("at least 1"));
    assert!(refused(Rules::quota(1 << 30, 3), &nodes(&[1, 1, 1])).contains("more than a placement holds"));
    let tokens = Rules { strategy: config::Placement::Tokens, ..quota };
    assert!(refused(tokens, &nodes(&[u32::MAX, 1, 1])).contains("more than a placement holds"));
    assert!(refused(Rules { tokens: 0, ..tokens }, &nodes(&[1, 1, 1])).contains("at least 1"));
    let placement = Placement::new(&nodes(&[1, 1, 1]), 8, 3);
    assert!(matches!(
        placement.try_change(&nodes(&[1, 1])),
        Err(PlacementError::TooFewNodes { holding: 2, .. })
    ));
}

#[test]
fn a_placement_may_be_as_large_as_is_said_and_no_larger() {
    let members = nodes(&[1, 1]);
    let tokens = |tokens| Rules { strategy: config::Placement::Tokens, tokens, ..Rules::quota(1, 1) };
    for (fits, does_not) in
        [(Rules::quota(1 << 28, 1), Rules::quota((1 << 28) + 1, 1)), (tokens(1 << 27), tokens((1 << 27) + 1))]
    {
        assert_eq!(fits.check(&members), Ok(()));
        assert!(matches!(does_not.check(&members), Err(PlacementError::TooLarge { .. })));
    }
}

#[test]
fn every_other_node_serves_as_a_fallback() {
    let placement = Placement::new(&nodes(&[1; 7]), 64, 3);
    for partition in 0..64 {
        let list = placement.preference_list(partition, 7);
        assert_eq!(list.fallbacks.len(), 4);
        assert!(list.fallbacks.iter().all(|f| list.standing(*f) == Some(Standing::Fallback)));
        assert!(list.primaries.iter().all(|p| list.standing(*p) == Some(Standing::Primary)));
        assert_eq!(placement.preference_list(partition, 5).fallbacks.len(), 2);
        assert_eq!(list.standing("other".parse().unwrap()), None);
    }
}

#[test]
fn fallbacks_come_in_the_order_of_the_ring() {
    let placement = Placement::new(&nodes(&[1; 9]), 64, 3);
    let list = placement.preference_list(63, 9);
    let next: Vec<NodeId> = placement.owners(0).filter(|o| !list.primaries.contains(o)).collect();
    assert_eq!(list.fallbacks[..next.len()], next);
}

#[test]
fn a_dead_nodes_partitions_are_shared_by_all_others() {
    let placement = Placement::new(&nodes(&[1; 12]), 768, 3);
    for node in placement.nodes() {
        let mut beside: BTreeMap<NodeId, u32> = BTreeMap::new();
        for partition in placement.partitions_of(node.id) {
            for owner in placement.owners(partition).filter(|o| *o != node.id) {
                *beside.entry(owner).or_default() += 1;
            }
        }
        // 192 partitions, two other owners each, over eleven nodes: 35 each.
        assert_eq!(beside.len(), 11);
        assert!(beside.values().all(|together| (15..60).contains(together)), "{beside:?}");
    }
}

#[test]
fn owners_come_first_evenly() {
    let placement = Placement::new(&nodes(&[1; 6]), 1200, 3);
    let mut first: BTreeMap<NodeId, u32> = BTreeMap::new();
    for partition in 0..1200 {
        *first.entry(placement.owners(partition).next().unwrap()).or_default() += 1;
    }
    assert!(first.len() == 6 && first.values().all(|n| (150..250).contains(n)), "{first:?}");
}

#[test]
fn a_stores_definition_says_how_it_is_placed() {
    let store = config::StoreDefinition {
        partitions: 64,
        replicas: 2,
        placement: config::Placement::TokensEqualPartitions,
        ..config::StoreDefinition::default()
    };
    let placement = Placement::by(Rules::of_store(&store), &nodes(&[1, 1, 1])).unwrap();
    assert_eq!((placement.partitions(), placement.replicas()), (64, 2));
    assert_eq!(placement.rules().strategy, config::Placement::TokensEqualPartitions);
    assert_eq!(placement.rules().tokens, TOKENS_PER_CAPACITY);
}

fn by(strategy: config::Placement, members: &[PlacementNode]) -> Placement {
    Placement::by(Rules { strategy, tokens: 64, ..Rules::quota(512, 3) }, members).unwrap()
}

#[test]
fn a_key_falls_where_the_token_after_it_says() {
    let placement = by(config::Placement::Tokens, &nodes(&[1, 2, 1]));
    assert_eq!(placement.partitions(), 256);
    assert!(placement.memory_bytes() >= 256 * (3 * 4 + 8));
    let total: f64 = (0..256).map(|p| placement.width(p)).sum();
    assert!((total - 1.0).abs() < 1e-9);
    let cuts = &placement.cuts;
    for i in 0..2_000_u32 {
        let key = i.to_be_bytes();
        let at = (position(&key) >> 64) as u64;
        let partition = placement.partition_of(&key) as usize;
        let inside = match partition {
            0 => at <= cuts[0] || at > cuts[255],
            _ => at <= cuts[partition] && at > cuts[partition - 1],
        };
        assert!(inside, "{at} in {partition}");
    }
    // A token belongs to the partition that it ends.
    let at = (position(b"key") >> 64) as u64;
    assert_eq!(super::tokens::partition_of(b"key", &[at, at + 1]), 0);
    assert_eq!(super::tokens::partition_of(b"key", &[at - 1, at]), 1);
}

#[test]
fn tokens_balance_worse_than_quotas_and_a_join_moves_only_towards_it() {
    let members = nodes(&[1, 1, 2, 2, 4, 2, 1, 3]);
    let joined = nodes(&[1, 1, 2, 2, 4, 2, 1, 3, 2]);
    let efficiency = |strategy| by(strategy, &members).balance().efficiency();
    let quota = efficiency(config::Placement::Quota);
    assert!(quota > 0.99, "{quota}");
    for strategy in [config::Placement::Tokens, config::Placement::TokensEqualPartitions] {
        assert!(efficiency(strategy) < 0.95, "{strategy:?}");
        let (before, after) = (by(strategy, &members), by(strategy, &joined));
        assert_eq!(after, before.change(&joined));
        let moves = before.moves(&after);
        assert!(!moves.is_empty() && moves.iter().all(|m| m.to.as_str() == "n008"));
        let gained = after.balance().nodes[8].load / 3.0;
        assert!((before.moved_fraction(&after) - gained).abs() < 1e-9);
        assert_eq!((after.spread(), after.zone_shortfall()), (1, None));
    }
}

#[test]
fn equal_partitions_cover_the_ring() {
    let placement = by(config::Placement::Quota, &nodes(&[1, 1, 1]));
    assert!((0..512).all(|partition| (placement.width(partition) - 1.0 / 512.0).abs() < 1e-12));
}

#[test]
fn what_moves_between_placements_of_different_cuts_is_what_keys_see() {
    const KEYS: u32 = 20_000;
    let (few, many) = (nodes(&[1, 2, 1]), nodes(&[1, 2, 1, 3]));
    let rules = |strategy, partitions| Rules { strategy, tokens: 4, ..Rules::quota(partitions, 2) };
    let placed = |strategy, partitions, members| Placement::by(rules(strategy, partitions), members).unwrap();
    // Tokens of the three nodes make as many partitions, of other cuts.
    let quota = placed(config::Placement::Quota, 16, &few);
    let halves = placed(config::Placement::Quota, 8, &few);
    let tokens = placed(config::Placement::Tokens, 16, &few);
    let grown = placed(config::Placement::Tokens, 16, &many);
    assert_eq!((quota.partitions(), tokens.partitions()), (16, 16));
    for (name, from, to) in [
        ("quota to tokens", &quota, &tokens),
        ("tokens to quota", &tokens, &quota),
        ("quota to half as many", &quota, &halves),
        ("half as many to quota", &halves, &quota),
        ("tokens to more tokens", &tokens, &grown),
    ] {
        let come = |key: u32| {
            let key = key.to_be_bytes();
            let held: Vec<NodeId> = from.owners(from.partition_of(&key)).collect();
            to.owners(to.partition_of(&key)).filter(|owner| !held.contains(owner)).count()
        };
        let seen = (0..KEYS).map(come).sum::<usize>() as f64 / f64::from(2 * KEYS);
        let told = from.moved_fraction(to);
        assert!(seen > 0.0 && (told - seen).abs() < 0.02, "{name}: {told}, keys see {seen}");
    }
}

#[test]
fn a_partition_of_strategy_2_goes_to_the_tokens_after_its_end() {
    let placement = by(config::Placement::TokensEqualPartitions, &nodes(&[1, 2, 1, 1]));
    let thrown = super::tokens::thrown(placement.rules(), placement.nodes());
    for partition in 0..512_u32 {
        let end = ((u128::from(partition) + 1) << 64) / 512 - 1;
        let first = thrown.iter().find(|(at, _)| u128::from(*at) >= end).unwrap_or(&thrown[0]);
        assert_eq!(placement.owners(partition).next().unwrap(), placement.nodes()[first.1 as usize].id);
    }
    assert_eq!(placement.partitions(), 512);
}

#[test]
fn a_placement_travels_in_two_bytes_an_owner() {
    let placement = Placement::new(&zoned(&[(1, "a"), (1, "a"), (2, "b"), (2, "b"), (4, "c")]), 1024, 3);
    let bytes = postcard::to_stdvec(&placement).unwrap();
    assert!(bytes.len() < 1024 * 3 * 2 + 5 * 12 + 16, "{}", bytes.len());
    assert_eq!(placement.view_bytes(), bytes.len());
    assert_eq!(postcard::from_bytes::<Placement>(&bytes).unwrap(), placement);
    let json = serde_json::to_string(&placement).unwrap();
    assert_eq!(serde_json::from_str::<Placement>(&json).unwrap(), placement);
    for strategy in [config::Placement::Tokens, config::Placement::TokensEqualPartitions] {
        let placement = by(strategy, &nodes(&[1, 2, 1]));
        let bytes = postcard::to_stdvec(&placement).unwrap();
        assert!(bytes.len() < 60, "tokens follow from names: {}", bytes.len());
        assert_eq!(postcard::from_bytes::<Placement>(&bytes).unwrap(), placement);
    }
}

#[test]
fn beyond_two_bytes_of_nodes_a_placement_travels_in_four_bytes_an_owner() {
    let small = Placement::new(&nodes(&[1, 1, 1]), 4, 3);
    let mut nodes = nodes(&[1; 70_000]);
    nodes.sort_by_key(|node| node.id);
    let placement = Placement { owners: (0..12).map(|i| 69_999 - i).collect(), nodes, ..small };
    let bytes = postcard::to_stdvec(&placement).unwrap();
    assert_eq!(postcard::from_bytes::<Placement>(&bytes).unwrap(), placement);
}

#[test]
fn a_damaged_placement_is_refused() {
    let placement = Placement::new(&zoned(&[(1, "a"), (1, "b"), (1, "c"), (1, "a")]), 4, 3);
    let whole = serde_json::to_value(&placement).unwrap();
    let refused = |damage: &dyn Fn(&mut serde_json::Value)| {
        let mut json = whole.clone();
        damage(&mut json);
        serde_json::from_value::<Placement>(json).unwrap_err().to_string()
    };
    assert!(refused(&|json| json["owners"][0] = 200.into()).contains("none of its nodes"));
    assert!(refused(&|json| json["owners"][0] = 4.into()).contains("none of its nodes"));
    assert!(refused(&|json| json["owners"][2] = json["owners"][0].clone()).contains("two copies"));
    assert!(refused(&|json| json["rules"]["partitions"] = 5.into()).contains("as many owners"));
    assert!(
        refused(&|json| json["owners"].as_array_mut().unwrap().push(0.into())).contains("as many owners")
    );
    assert!(refused(&|json| json["nodes"][2]["zone"] = "a".into()).contains("fewer zones"));
    assert!(
        refused(&|json| json["nodes"].as_array_mut().unwrap().reverse()).contains("order of their names")
    );
    assert!(refused(&|json| json["nodes"][1]["id"] = "n000".into()).contains("given twice"));
    assert!(refused(&|json| json["rules"]["replicas"] = 4_000_000_000_u32.into()).contains("cannot hold"));
}

/// Members over time: each joins or leaves, or changes its capacity, one after the other.
#[derive(Clone, Debug)]
enum Event {
    Join(u32, usize),
    Leave(usize),
    Resize(usize, u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1_u32..9, 0_usize..4).prop_map(|(capacity, zone)| Event::Join(capacity, zone)),
        any::<usize>().prop_map(Event::Leave),
        (any::<usize>(), 1_u32..9).prop_map(|(at, capacity)| Event::Resize(at, capacity)),
    ]
}

const ZONES: [&str; 4] = ["a", "b", "c", "d"];

fn apply(members: &mut Vec<PlacementNode>, event: &Event, number: usize, replicas: usize) {
    match event {
        Event::Join(capacity, zone) => members.push(PlacementNode {
            id: format!("j{number:03}").parse().unwrap(),
            capacity: *capacity,
            zone: if members[0].zone.is_empty() { String::new() } else { ZONES[*zone].into() },
        }),
        Event::Leave(at) if members.len() > replicas => drop(members.remove(at % members.len())),
        Event::Leave(_) => {}
        Event::Resize(at, capacity) => {
            let at = at % members.len();
            members[at].capacity = *capacity;
        }
    }
}

/// The fewest moves from one placement to any with the copies by node of another: all copies
/// less the most that can stay, by a flow of least cost over node and partition, grown along
/// shortest paths (Bellman and Ford).
fn fewest_moves(from: &Placement, to: &Placement) -> usize {
    let (servers, partitions) = (to.nodes().len(), to.partitions() as usize);
    let (source, sink) = (servers + partitions, servers + partitions + 1);
    // Arcs in pairs, there and back: start, end, room, cost.
    let mut arcs: Vec<(usize, usize, i64, i64)> = Vec::new();
    let mut arc =
        |a: usize, b: usize, room: i64, cost: i64| arcs.extend([(a, b, room, cost), (b, a, 0, -cost)]);
    for (i, (node, copies)) in to.nodes().iter().zip(to.copies()).enumerate() {
        arc(source, i, i64::from(copies), 0);
        for partition in 0..partitions {
            let stays = from.owners(partition as u32).any(|o| o == node.id);
            arc(i, servers + partition, 1, -i64::from(stays));
        }
    }
    (0..partitions).for_each(|p| arc(servers + p, sink, to.replicas() as i64, 0));
    let mut cost = 0;
    for _ in 0..partitions * to.replicas() {
        let mut reached = vec![(i64::MAX, usize::MAX); sink + 1];
        reached[source].0 = 0;
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for (number, (a, b, room, cost)) in arcs.iter().enumerate() {
                if *room > 0 && reached[*a].0 < i64::MAX && reached[*a].0 + cost < reached[*b].0 {
                    reached[*b] = (reached[*a].0 + cost, number);
                    changed = true;
                }
            }
        }
        cost += reached[sink].0;
        let mut at = sink;
        while at != source {
            let number = reached[at].1;
            arcs[number].2 -= 1;
            arcs[number ^ 1].2 += 1;
            at = arcs[number].0;
        }
    }
    partitions * to.replicas() - (-cost) as usize
}

/// Rings of the size that stores use: there is room for every move to be direct.
#[test]
fn single_joins_and_leaves_of_a_roomy_ring_move_the_gains_only() {
    let mut members = nodes(&[1, 2, 3, 4, 1, 2, 3, 4, 2, 2]);
    let mut placement = Placement::new(&members, 256, 3);
    for number in 0..20 {
        let event =
            if number % 2 == 0 { Event::Join(1 + number as u32 % 5, 0) } else { Event::Leave(number * 7) };
        apply(&mut members, &event, number, 3);
        let after = placement.change(&members);
        sound(&after);
        let moves = placement.moves(&after);
        assert_eq!(moves.len() as u64, placement.moves_minimum(&after), "{event:?}");
        let there = |id: NodeId, placement: &Placement| placement.nodes().iter().any(|n| n.id == id);
        match event {
            Event::Join(..) => assert!(moves.iter().all(|m| !there(m.to, &placement))),
            _ => assert!(moves.iter().all(|m| !there(m.from, &after))),
        }
        placement = after;
    }
}

proptest! {
    #[test]
    fn every_quota_is_met_by_distinct_owners(
        capacities in prop::collection::vec(1_u32..9, 3..9), partitions in 1_u32..300, replicas in 1_usize..4,
    ) {
        let nodes = nodes(&capacities);
        let placement = Placement::new(&nodes, partitions, replicas);
        let mut held: BTreeMap<NodeId, u32> = BTreeMap::new();
        for partition in 0..partitions {
            let list = placement.preference_list(partition, 100);
            let all: BTreeSet<NodeId> = list.primaries.iter().chain(&list.fallbacks).copied().collect();
            prop_assert_eq!(list.primaries.len(), replicas);
            prop_assert_eq!(all.len(), list.primaries.len() + list.fallbacks.len());
            for node in list.primaries {
                *held.entry(node).or_default() += 1;
            }
        }
        let expected = quotas(&capacities, partitions, replicas);
        let held: Vec<u32> = nodes.iter().map(|n| held.get(&n.id).copied().unwrap_or(0)).collect();
        prop_assert_eq!(held, expected);
    }

    #[test]
    fn the_order_of_members_does_not_matter(capacities in prop::collection::vec(1_u32..9, 3..9)) {
        let mut shuffled = nodes(&capacities);
        shuffled.reverse();
        prop_assert_eq!(Placement::new(&nodes(&capacities), 64, 3), Placement::new(&shuffled, 64, 3));
    }

    #[test]
    fn changes_stay_sound_and_move_the_minimum_without_zones(
        capacities in prop::collection::vec(1_u32..9, 4..10), replicas in 1_usize..4,
        events in prop::collection::vec(event(), 1..6), partitions in 1_u32..40,
    ) {
        let mut members = nodes(&capacities);
        let mut placement = Placement::new(&members, partitions, replicas);
        for (number, event) in events.iter().enumerate() {
            apply(&mut members, event, number, replicas);
            let after = placement.change(&members);
            sound(&after);
            let moves = placement.moves(&after);
            let fewest = fewest_moves(&placement, &after);
            prop_assert!(fewest as u64 >= placement.moves_minimum(&after));
            prop_assert_eq!(moves.len(), fewest, "{:?}", event);
            placement = after;
        }
    }

    #[test]
    fn changes_with_zones_stay_sound(
        zones in prop::collection::vec((1_u32..9, 0_usize..4), 4..12), replicas in 1_usize..5,
        events in prop::collection::vec(event(), 1..8), partitions in 1_u32..200,
    ) {
        let mut members = zoned(&zones.iter().map(|(c, z)| (*c, ZONES[*z])).collect::<Vec<_>>());
        let mut placement = Placement::new(&members, partitions, replicas);
        sound(&placement);
        for (number, event) in events.iter().enumerate() {
            apply(&mut members, event, number, replicas);
            let after = placement.change(&members);
            sound(&after);
            prop_assert!(placement.moves(&after).len() as u64 >= placement.moves_minimum(&after));
            prop_assert_eq!(after.zone_shortfall(), Placement::new(&members, partitions, replicas).zone_shortfall());
            placement = after;
        }
    }
}
