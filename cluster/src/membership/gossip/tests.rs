//! One detector and what it is sent.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_env::Random;

use super::*;
use crate::config::NodeId;
use crate::membership::{Phase, ViewVersion};
use crate::testing::node;

const NOW: Duration = Duration::from_secs(100);

fn version(epoch: u64) -> ViewVersion {
    ViewVersion { epoch, phase: Phase::Stable, fence: 0 }
}

fn detector(n: u32, starts: u64, members: &[u32]) -> Detector {
    let me = GossipId { node: node(n), incarnation: Incarnation::of_start(starts) };
    let mut detector = Detector::new(me, Random::from_seed(u64::from(n)));
    detector.set_view(NOW, version(1), &set(members));
    detector
}

fn set(members: &[u32]) -> BTreeSet<NodeId> {
    members.iter().map(|n| node(*n)).collect()
}

/// What `from` sends `to` now.
fn mail(from: &mut Detector, to: NodeId) -> Vec<Datagram> {
    let mail = |effect| match effect {
        Effect::Send { to: receiver, datagram } if receiver == to => Some(datagram),
        _ => None,
    };
    from.take_effects().into_iter().filter_map(mail).collect()
}

/// Carries messages back and forth until nobody has any. Returns what else was to be done.
fn converse(a: &mut Detector, b: &mut Detector) -> Vec<Effect> {
    let (id_a, id_b) = (a.identity().node, b.identity().node);
    let mut others = Vec::new();
    for _ in 0..20 {
        carry(a, id_a, b, id_b, &mut others);
        carry(b, id_b, a, id_a, &mut others);
    }
    others
}

fn carry(from: &mut Detector, from_id: NodeId, to: &mut Detector, to_id: NodeId, others: &mut Vec<Effect>) {
    for effect in from.take_effects() {
        match effect {
            Effect::Send { to: receiver, datagram } if receiver == to_id => {
                to.receive(NOW, from_id, &datagram);
            }
            Effect::Send { .. } => {}
            other => others.push(other),
        }
    }
}

fn liveness(of: &Detector, n: u32) -> Option<Liveness> {
    of.seen().get(&node(n)).map(|seen| seen.liveness)
}

#[test]
fn two_members_find_each_other() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 1, &[1, 2]));
    assert_eq!(liveness(&a, 2), Some(Liveness::Suspect), "nothing was heard of it yet");
    converse(&mut a, &mut b);
    assert_eq!(liveness(&a, 2), Some(Liveness::Alive));
    assert_eq!(liveness(&b, 1), Some(Liveness::Alive));
}

#[test]
fn a_node_that_is_no_member_is_not_listened_to() {
    let (mut a, mut stranger) = (detector(1, 1, &[1, 2]), detector(3, 1, &[1, 2, 3]));
    for datagram in mail(&mut stranger, node(1)) {
        a.receive(NOW, node(3), &datagram);
    }
    assert_eq!((a.ignored(), liveness(&a, 3)), (1, None));
    assert!(mail(&mut a, node(3)).is_empty(), "nor answered");
}

#[test]
fn a_removed_node_does_not_come_back_by_hearsay() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2, 3]), detector(2, 1, &[1, 2, 3]));
    let mut c = detector(3, 1, &[1, 2, 3]);
    converse(&mut a, &mut b);
    converse(&mut b, &mut c);
    assert_eq!(liveness(&b, 3), Some(Liveness::Alive));
    a.set_view(NOW, version(2), &set(&[1, 2]));
    // b is still in the old view, and full of news of c.
    converse(&mut a, &mut b);
    for _ in 0..5 {
        let later = b.next_deadline().unwrap();
        b.tick(later);
        converse(&mut b, &mut a);
    }
    assert_eq!(liveness(&a, 3), None);
    assert_eq!(a.active(), 1, "and is not probed either");
    b.set_view(NOW, version(2), &set(&[1, 2]));
    assert_eq!((liveness(&b, 3), b.active()), (None, 1), "what was believed of it is forgotten");
}

#[test]
fn nobody_speaks_for_another() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2, 3]), detector(2, 1, &[1, 2, 3]));
    for datagram in mail(&mut b, node(1)) {
        a.receive(NOW, node(3), &datagram);
    }
    assert_eq!((a.ignored(), a.active()), (1, 0));
}

#[test]
fn a_restarted_node_replaces_its_old_self_at_once() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 1, &[1, 2]));
    converse(&mut a, &mut b);
    let mut again = detector(2, 2, &[1, 2]);
    let effects = converse(&mut a, &mut again);
    assert_eq!(effects, [], "it never was away");
    assert_eq!(a.seen()[&node(2)].incarnation, Some(Incarnation { starts: 2, rejoins: 0 }));
    assert_eq!(liveness(&a, 2), Some(Liveness::Alive));
}

#[test]
fn a_node_that_lost_its_disk_is_heard_again() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 7, &[1, 2]));
    converse(&mut a, &mut b);
    let mut wiped = detector(2, 1, &[1, 2]);
    converse(&mut a, &mut wiped);
    assert_eq!(wiped.identity().incarnation, Incarnation { starts: 7, rejoins: 1 });
    assert_eq!(a.seen()[&node(2)].incarnation, Some(wiped.identity().incarnation));
    assert_eq!((a.active(), wiped.active()), (1, 1));
}

#[test]
fn late_words_of_an_earlier_life_change_nothing() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 1, &[1, 2]));
    let late = mail(&mut b, node(1));
    let mut again = detector(2, 2, &[1, 2]);
    converse(&mut a, &mut again);
    for datagram in late {
        a.receive(NOW, node(2), &datagram);
    }
    converse(&mut a, &mut again);
    assert_eq!(again.identity().incarnation, Incarnation { starts: 2, rejoins: 0 });
    assert_eq!(a.seen()[&node(2)].incarnation, Some(again.identity().incarnation));
}

#[test]
fn a_newer_view_is_heard_of_with_any_message() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 1, &[1, 2]));
    converse(&mut a, &mut b);
    b.set_view(NOW, version(2), &set(&[1, 2]));
    let effects = converse(&mut a, &mut b);
    assert!(effects.contains(&Effect::NewerView { held_by: node(2), version: version(2) }), "{effects:?}");
}

#[test]
fn a_new_view_is_spoken_of_in_so_many_rounds() {
    let (mut a, mut b) = (detector(1, 1, &[1, 2]), detector(2, 1, &[1, 2]));
    let (mut now, mut rumours, mut is_newer) = (NOW, 0, false);
    while now < NOW + Duration::from_secs(40) {
        now = a.next_deadline().unwrap().min(b.next_deadline().unwrap());
        a.tick(now);
        b.tick(now);
        // By now all other news has been told.
        if !is_newer && now > NOW + Duration::from_secs(30) {
            a.set_view(now, version(2), &set(&[1, 2]));
            (is_newer, rumours) = (true, 0);
        }
        for _ in 0..4 {
            for datagram in mail(&mut a, node(2)) {
                let message = datagram::read(&datagram.packet, |_| true).unwrap().header.message;
                rumours += u32::from(message == foca::Message::Gossip);
                b.receive(now, node(1), &datagram);
            }
            for datagram in mail(&mut b, node(1)) {
                a.receive(now, node(2), &datagram);
            }
        }
    }
    assert_eq!(rumours, pace::RUMOURS, "one each, for there is one to tell");
}

#[test]
fn a_member_that_is_never_heard_of_is_down_in_time() {
    let mut a = detector(1, 1, &[1, 2]);
    let mut downs = Vec::new();
    while a.next_deadline().unwrap() < NOW + Duration::from_secs(10) {
        let due = a.next_deadline().unwrap();
        a.tick(due);
        downs.extend(a.take_effects().into_iter().filter(|e| *e == Effect::Down(node(2))).map(|_| due - NOW));
    }
    assert_eq!(downs.len(), 1, "said once");
    assert!(downs[0] > Duration::from_secs(5), "{downs:?}");
    assert_eq!(liveness(&a, 2), Some(Liveness::Down));
    let mut b = detector(2, 1, &[1, 2]);
    assert_eq!(converse(&mut b, &mut a), [Effect::Up(node(2))]);
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut a = detector(1, 1, &[1, 2]);
    a.take_effects();
    for packet in [&b"\xff\xff\xff\xff"[..], b"\x02n2\x01", b"GET / HTTP/1.1"] {
        let datagram =
            Datagram { view: version(1), spoken_to: None, suspected: None, packet: packet.to_vec().into() };
        a.receive(NOW, node(2), &datagram);
    }
    assert_eq!((a.ignored(), a.active()), (3, 0));
    assert_eq!(a.take_effects(), []);
}
