//! One node's chain of views: what outlives a power cut, and what peers may tell it.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]
use quorate_env::disk::SimulatedDisk;

use super::*;
use crate::config::Member;
use crate::membership::Change;
use crate::testing::member;

fn first() -> View {
    View::new((1..=4).map(member).collect(), 8, 3)
}

async fn open(disk: &SimulatedDisk, first: Option<View>) -> Option<Views> {
    Views::open(member(1).id, disk.mount(), first, Found::EmptyAmongOthers, 1).await.unwrap()
}

/// As a node of a store that is new.
async fn found(disk: &SimulatedDisk) -> Views {
    let views = open(disk, Some(first())).await.unwrap();
    views.forgot_nothing().await.unwrap();
    views
}

#[tokio::test(start_paused = true)]
async fn the_newest_view_and_the_last_vote_outlive_a_power_cut() {
    let disk = SimulatedDisk::new();
    let mut random = quorate_env::Random::from_seed(1).stream("cut");
    let ballot = |round| Ballot { round, proposer: member(1).id };
    let views = found(&disk).await;
    let next = first().successor(&Change::Join(member(5))).unwrap();
    assert!(matches!(views.vote(2, ballot(5), None).await.unwrap(), Some(Vote::Promise(None))));
    disk.power_cut(&mut random);
    let views = open(&disk, None).await.unwrap();
    assert_eq!(views.vote(2, ballot(4), None).await.unwrap(), Some(Vote::Outrun(ballot(5))));
    assert!(views.learn(next.clone()).await.unwrap());
    assert!(!views.learn(first()).await.unwrap(), "an older view is never taken");
    disk.power_cut(&mut random);
    let views = open(&disk, Some(first())).await.unwrap();
    assert_eq!(*views.current(), next);
    assert_eq!(views.vote(2, ballot(9), None).await.unwrap(), None, "that view is chosen");
    assert!(open(&SimulatedDisk::new(), None).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn phases_follow_the_reports() {
    let disk = SimulatedDisk::new();
    let views = open(&disk, Some(first())).await.unwrap();
    assert_eq!(views.next_phase(2), None);
    let copying = first().successor(&Change::Join(member(5))).unwrap();
    views.learn(copying.clone()).await.unwrap();
    assert_eq!(views.next_phase(2), None, "the new node has not merged anything");
    let at =
        |view: &View, transferred| Report { version: view.version(), transferred, lost: BTreeSet::new() };
    views.heard(member(5).id, at(&copying, false));
    assert_eq!(views.next_phase(2), None);
    views.heard(member(5).id, at(&copying, true));
    let reading = views.next_phase(2).unwrap();
    assert_eq!(reading.version().phase, Phase::ReadingNew);
    views.learn(reading.clone()).await.unwrap();
    assert_eq!(views.next_phase(2), None, "the others may still read the old owners");
    for n in 2..=4 {
        views.heard(member(n).id, at(&reading, true));
    }
    assert_eq!(views.next_phase(2).unwrap().version().phase, Phase::Stable);
}

#[tokio::test(start_paused = true)]
async fn views_that_cannot_be_are_neither_learned_nor_voted_for() {
    let views = found(&SimulatedDisk::new()).await;
    let ballot = Ballot { round: 1, proposer: member(1).id };
    let next = first().successor(&Change::Join(member(5))).unwrap();
    let of_another_chain = View::new((1..=4).map(member).collect(), 16, 3);
    let of_another_chain = of_another_chain.successor(&Change::Join(member(5))).unwrap();
    let of_a_later_epoch = next.advanced().advanced().successor(&Change::Leave(member(5).id)).unwrap();
    assert!(!views.learn(of_another_chain.clone()).await.unwrap());
    for wrong in [of_another_chain, of_a_later_epoch, next.advanced()] {
        assert_eq!(views.vote(2, ballot, Some(wrong)).await.unwrap(), None);
    }
    assert_eq!(*views.current(), first());
    assert_eq!(views.vote(2, ballot, Some(next)).await.unwrap(), Some(Vote::Accepted));
}

#[tokio::test(start_paused = true)]
async fn only_those_who_take_part_are_heard_and_only_as_long() {
    let views = open(&SimulatedDisk::new(), Some(first())).await.unwrap();
    let copying = first().successor(&Change::Join(member(5))).unwrap();
    views.learn(copying.clone()).await.unwrap();
    let report = |epoch| Report {
        version: ViewVersion { epoch, ..copying.version() },
        transferred: true,
        lost: BTreeSet::from([member(3).id, member(9).id]),
    };
    views.heard(member(9).id, report(2));
    views.heard(member(2).id, report(7));
    assert!(views.lost().is_empty(), "of a change that this node knows nothing of");
    views.heard(member(2).id, report(2));
    assert_eq!(views.lost(), BTreeSet::from([member(3).id]));
    assert_eq!(lock(&views.reports).keys().copied().collect::<Vec<_>>(), [member(2).id]);
    let gone = copying.advanced().advanced().successor(&Change::Leave(member(2).id)).unwrap();
    views.learn(gone.advanced().advanced()).await.unwrap();
    assert!(lock(&views.reports).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_whom_somebody_said_to_be_gone() {
    let views = open(&SimulatedDisk::new(), Some(first())).await.unwrap();
    assert!(!views.declare_lost(member(3).id), "nothing is under way");
    let copying = first().successor(&Change::Join(member(5))).unwrap();
    views.learn(copying.clone()).await.unwrap();
    assert_eq!(views.next_phase(1), None);
    assert!(!views.declare_lost(member(9).id), "not a member");
    assert!(views.declare_lost(member(5).id));
    let reading = views.next_phase(1).unwrap();
    views.learn(reading.clone()).await.unwrap();
    let at = |view: &View, lost: &[Member]| Report {
        version: view.version(),
        transferred: true,
        lost: lost.iter().map(|m| m.id).collect(),
    };
    views.heard(member(2).id, at(&reading, &[]));
    views.heard(member(4).id, at(&reading, &[]));
    assert_eq!(views.next_phase(1), None, "n3 may still answer gets of the phase before, and R is 1");
    views.heard(member(4).id, at(&reading, &[member(3)]));
    assert_eq!(views.own_report().lost.len(), 2, "n3 is lost, as n4 was told");
    let stable = views.next_phase(1).unwrap();
    views.learn(stable.clone()).await.unwrap();
    assert!(views.lost().is_empty(), "the next change begins with everybody");
    views.learn(stable.successor(&Change::Leave(member(3).id)).unwrap()).await.unwrap();
    assert!(views.lost().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_was_lost_took_votes_with_it() {
    let disk = SimulatedDisk::new();
    let ballot = |round| Ballot { round, proposer: member(2).id };
    let views = open(&disk, Some(first())).await.unwrap();
    assert!(views.abstains().await);
    assert_eq!(views.vote(2, ballot(1), None).await.unwrap(), None);
    let next = first().successor(&Change::Join(member(5))).unwrap();
    let accepted = Accepted { ballot: ballot(3), value: next.clone() };
    assert!(!views.recover(7, ballot(9), None).await.unwrap(), "it decides on epoch 2");
    assert!(views.recover(2, ballot(9), Some(accepted.clone())).await.unwrap());
    let views = open(&disk, None).await.unwrap();
    assert_eq!(views.vote(2, ballot(8), None).await.unwrap(), Some(Vote::Outrun(ballot(9))));
    assert_eq!(views.vote(2, ballot(10), None).await.unwrap(), Some(Vote::Promise(Some(accepted))));
}

/// What the other first members say who know this node by that disk.
fn answers(own: u64) -> BTreeMap<NodeId, Disks> {
    let answer = |n: u64| {
        let mut disks = Disks::new(member(n).id, n, false);
        disks.note(member(1).id, own);
        (member(n).id, disks)
    };
    (2..=4).map(answer).collect()
}

#[tokio::test(start_paused = true)]
async fn whoever_becomes_a_member_may_have_been_one_before_and_votes_only_after_the_others() {
    let disk = SimulatedDisk::new();
    let five = async |first| {
        Views::open(member(5).id, disk.mount(), first, Found::EmptyAmongOthers, 5).await.unwrap().unwrap()
    };
    let views = five(Some(first())).await;
    assert!(!views.abstains().await, "nobody asks it");
    let joined = first().successor(&Change::Join(member(5))).unwrap();
    views.learn(joined.clone()).await.unwrap();
    let ballot = |round| Ballot { round, proposer: member(2).id };
    for views in [views, five(None).await] {
        assert!(views.abstains().await);
        assert_eq!(views.vote(3, ballot(1), None).await.unwrap(), None);
    }
    let views = five(None).await;
    assert!(views.recover(3, ballot(7), None).await.unwrap());
    views.learn(joined.advanced().advanced()).await.unwrap();
    assert_eq!(views.vote(3, ballot(8), None).await.unwrap(), Some(Vote::Promise(None)));
}

#[tokio::test(start_paused = true)]
async fn a_node_of_a_new_store_votes_once_all_others_know_its_disk() {
    let disk = SimulatedDisk::new();
    let views = open(&disk, Some(first())).await.unwrap();
    let own = views.maybe_first_disk().await.unwrap();
    let mut some = answers(own);
    some.remove(&member(3).id);
    assert!(!views.judge_disk(&some).await.unwrap() && views.abstains().await);
    let views = open(&disk, None).await.unwrap();
    assert_eq!(views.maybe_first_disk().await, Some(own), "a restart changes nothing");
    assert!(views.judge_disk(&answers(own)).await.unwrap() && !views.abstains().await);
    let known = views.introduced(member(2).id, 9).await.unwrap().unwrap();
    assert_eq!(known.of(member(2).id), Some(2), "the first disk that was told, even by an answer");
    assert_eq!(views.introduced(member(5).id, 5).await.unwrap(), None, "a stranger");
    views.learn(first().successor(&Change::Join(member(5))).unwrap()).await.unwrap();
    assert_eq!(views.introduced(member(2).id, 2).await.unwrap(), None, "no longer the first view");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_known_by_another_disk_never_takes_its_own_for_the_first() {
    let disk = SimulatedDisk::new();
    let views = open(&disk, Some(first())).await.unwrap();
    let own = views.maybe_first_disk().await.unwrap();
    let mut said = answers(own);
    said.extend(answers(own + 1).into_iter().take(1));
    assert!(!views.judge_disk(&said).await.unwrap() && views.abstains().await);
    let views = open(&disk, None).await.unwrap();
    assert_eq!(views.maybe_first_disk().await, None);
    assert!(!views.judge_disk(&answers(own)).await.unwrap() && views.abstains().await);
    assert!(views.introduced(member(2).id, 2).await.unwrap().unwrap().lost_one(), "nor vouches");
}

#[tokio::test(start_paused = true)]
async fn what_a_node_gains_it_does_not_hold_even_if_it_slept_through_the_change() {
    let views =
        Views::open(member(5).id, SimulatedDisk::new().mount(), Some(first()), Found::EmptyAmongOthers, 5);
    let views = views.await.unwrap().unwrap();
    assert!(views.holdings().gaps().is_empty() && views.voteless().is_empty());
    let copying = first().successor(&Change::Join(member(5))).unwrap();
    views.learn(copying.clone()).await.unwrap();
    let gained = copying.gained_by(member(5).id);
    assert_eq!(views.holdings().gaps().into_keys().collect::<Vec<_>>(), gained);
    assert!(views.voteless().is_empty(), "gets still ask the owners before");
    assert!(!views.own_report().transferred);
    views.learn(copying.advanced().advanced()).await.unwrap();
    assert_eq!(views.voteless().len(), gained.len(), "the change went on without this node");
    for (partition, mark) in views.holdings().gaps() {
        views.holdings().close(partition, mark);
    }
    assert!(views.own_report().transferred);
    let later = |view: &View, change| view.successor(&change).unwrap().advanced().advanced();
    let two_later =
        later(&later(&copying.advanced().advanced(), Change::Join(member(6))), Change::Join(member(7)));
    views.learn(two_later).await.unwrap();
    assert!(
        views.voteless().iter().any(|(_, why)| *why == Gap::Doubt),
        "it may have been no owner in between"
    );
}
