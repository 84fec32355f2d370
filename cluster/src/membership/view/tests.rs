//! Views and the changes between them: what neighbouring phases promise each other.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use super::*;
use crate::config;
use crate::testing::member;

fn view(nodes: usize) -> View {
    View::new((1..=nodes).map(member).collect(), 16, 3)
}

fn intersects(a: &[NodeId], b: &[NodeId]) -> bool {
    a.iter().any(|node| b.contains(node))
}

/// All subsets of `nodes` with `size` members.
fn quorums(nodes: &[NodeId], size: usize) -> Vec<Vec<NodeId>> {
    (0_u32..1 << nodes.len())
        .filter(|mask| mask.count_ones() as usize == size)
        .map(|mask| nodes.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0).map(|(_, n)| *n).collect())
        .collect()
}

#[test]
fn what_a_phase_acknowledges_the_next_phase_reads() {
    for change in [Change::Join(member(5)), Change::Leave(member(2).id), Change::Remove(member(3).id)] {
        let before = view(4);
        let copying = before.successor(&change).unwrap();
        let reading = copying.advanced();
        let stable = reading.advanced();
        for (writer, reader) in [
            (&before, &copying),
            (&copying, &before),
            (&copying, &reading),
            (&reading, &copying),
            (&reading, &stable),
            (&stable, &reading),
        ] {
            for partition in 0..16 {
                let sets = writer.write_sets(partition);
                let acknowledged = sets.iter().fold(vec![Vec::new()], |so_far: Vec<Vec<NodeId>>, set| {
                    let with = |have: &Vec<NodeId>, quorum: Vec<NodeId>| [have.clone(), quorum].concat();
                    so_far
                        .iter()
                        .flat_map(|have| quorums(set, 2).into_iter().map(move |q| with(have, q)))
                        .collect()
                });
                for written_to in acknowledged {
                    for asked in quorums(&reader.read_owners(partition), 2) {
                        let met = intersects(&written_to, &asked);
                        // New owners have merged the old ones before they are read, so a write
                        // that only the old owners have is met through that.
                        let merged =
                            writer.version() == before.version() && reader.version() >= reading.version();
                        assert!(met || merged, "{} {} {partition}", writer.version(), reader.version());
                    }
                }
            }
        }
    }
}

#[test]
fn a_new_owner_must_merge_enough_old_owners_to_meet_every_write_quorum() {
    let copying = view(4).successor(&Change::Leave(member(1).id)).unwrap();
    let gained: usize = copying.gaining().iter().map(|n| copying.gained_by(*n).len()).sum();
    assert_eq!(gained, 12, "every copy of the node that leaves");
    let nobody = BTreeSet::new();
    let gaining = copying.gaining().into_iter().next().unwrap();
    let gained = copying.gained_by(gaining)[0];
    assert_eq!(copying.sources(gaining, gained, 2, &nobody).unwrap().1, 2);
    assert_eq!(copying.sources(gaining, gained, 1, &nobody).unwrap().1, 3);
    let owner = copying.read_owners(gained)[0];
    let (able, needed) = copying.sources(owner, gained, 1, &nobody).unwrap();
    assert_eq!((able.contains(&owner), able.len(), needed), (false, 2, 2), "it cannot ask itself");
    assert_eq!(copying.sources(member(9).id, 0, 2, &nobody), None);
    let removed = view(4).successor(&Change::Remove(member(1).id)).unwrap();
    let (node, moving) = removed.gaining().into_iter().map(|n| (n, removed.gained_by(n)[0])).next().unwrap();
    let sources = |lost: &BTreeSet<NodeId>| removed.sources(node, moving, 1, lost).unwrap();
    let (able, needed) = sources(&nobody);
    assert_eq!((able.len(), needed), (2, 2), "who is gone cannot be asked");
    let (able, needed) = sources(&BTreeSet::from([able[0]]));
    assert_eq!((able.len(), needed), (1, 1), "nor who went since");
}

#[test]
fn whoever_gains_is_among_the_gaining_and_nobody_else() {
    for change in [Change::Join(member(9)), Change::Leave(member(2).id), Change::Remove(member(3).id)] {
        let copying = view(8).successor(&change).unwrap();
        let gains = |m: &&Member| !copying.gained_by(m.id).is_empty();
        let one_by_one: BTreeSet<NodeId> = copying.members().iter().filter(gains).map(|m| m.id).collect();
        assert!(!one_by_one.is_empty());
        assert_eq!(copying.gaining(), one_by_one);
        assert_eq!(copying.advanced().gaining(), BTreeSet::new());
    }
}

#[test]
fn only_views_that_can_come_next_are_taken_for_such() {
    let first = view(4);
    let joined = first.successor(&Change::Join(member(5))).unwrap();
    let left = first.successor(&Change::Leave(member(2).id)).unwrap();
    for view in [&joined, &left] {
        for later in [view.clone(), view.advanced(), view.advanced().advanced()] {
            assert!(later.follows(&first) && !first.follows(&later));
        }
    }
    let other_rules = View::new((1..=5).map(member).collect(), 8, 3);
    let crooked = |change: &dyn Fn(&mut View, &mut Previous)| {
        let mut view = left.clone();
        let mut previous = view.previous.clone().unwrap();
        change(&mut view, &mut previous);
        view.previous = Some(previous);
        view
    };
    let cases = [
        crooked(&|view, _| view.lineage ^= 1),
        crooked(&|view, _| view.version = first.version),
        crooked(&|view, _| view.version.epoch = u64::MAX),
        crooked(&|view, _| view.version.phase = Phase::Stable),
        crooked(&|view, _| view.placement = other_rules.placement.clone()),
        crooked(&|view, _| view.members.reverse()),
        crooked(&|view, _| drop(view.members.pop())),
        crooked(&|view, _| view.members[0].capacity += 1),
        crooked(&|_, previous| previous.placement = other_rules.placement.clone()),
        crooked(&|_, previous| previous.departing.clear()),
        crooked(&|_, previous| previous.departing.push(member(1))),
        crooked(&|_, previous| previous.removed = BTreeSet::from([member(1).id])),
        View { previous: None, ..left.clone() },
    ];
    for (number, view) in cases.iter().enumerate() {
        assert!(!view.follows(&first), "case {number}");
    }
}

#[test]
fn suspected_nodes_that_are_no_members_do_not_count_against_them() {
    let suspected = BTreeSet::from([member(1).id, member(8).id, member(9).id]);
    assert_eq!(view(3).unsuspected(&suspected), 2);
}

#[test]
fn a_phase_ends_only_when_no_quorum_is_left_in_the_one_before() {
    let copying = view(4).successor(&Change::Join(member(5))).unwrap();
    let all: BTreeSet<NodeId> = copying.everybody().map(|m| m.id).collect();
    assert!(copying.can_settle(&all, 2));
    assert!(!copying.can_settle(&BTreeSet::new(), 2));
    assert!(!copying.can_settle(&BTreeSet::from([member(1).id]), 2));
}

#[test]
fn nodes_told_different_first_members_are_told_apart() {
    let lineage = |members: Vec<Member>| View::new(members, 16, 3).lineage();
    let four: Vec<Member> = (1..=4).map(member).collect();
    let reversed = four.iter().rev().cloned().collect();
    assert_eq!(lineage(four.clone()), lineage(reversed));
    let larger = Member { capacity: 2, ..four[3].clone() };
    assert_ne!(lineage(four.clone()), lineage([&four[..3], &[larger]].concat()));
    let elsewhere = Member { zone: "z".into(), ..four[3].clone() };
    assert_ne!(lineage(four.clone()), lineage([&four[..3], &[elsewhere]].concat()));
    assert_ne!(lineage(four.clone()), lineage(four[..3].to_vec()));
    let joined = View::new(four, 16, 3).successor(&Change::Join(member(5))).unwrap();
    assert_eq!(joined.lineage(), view(4).lineage(), "a chain keeps its lineage");
}

#[test]
fn changes_that_make_no_sense_are_refused_by_name() {
    let refused = |view: &View, change| view.successor(&change).unwrap_err().to_string();
    assert!(refused(&view(4), Change::Join(member(2))).contains("n2 is a member already"));
    assert!(refused(&view(4), Change::Leave(member(9).id)).contains("n9 is not a member"));
    assert!(refused(&view(3), Change::Leave(member(1).id)).contains("2 node(s) would be left"));
    let taken = Member { api: member(3).peer, ..member(5) };
    assert!(refused(&view(4), Change::Join(taken)).contains("is an address of node n3"));
    let twice = Member { api: member(5).peer, ..member(5) };
    assert!(refused(&view(4), Change::Join(twice)).contains("is an address of node n5"));
    let copying = view(4).successor(&Change::Join(member(5))).unwrap();
    assert!(refused(&copying, Change::Join(member(6))).contains("2-copying"));
    let rules = Rules { strategy: config::Placement::Tokens, ..Rules::quota(16, 3) };
    let by_tokens = View::by((1..=4).map(member).collect(), rules);
    assert!(refused(&by_tokens, Change::Join(member(5))).contains("placed by `tokens`"));
}
