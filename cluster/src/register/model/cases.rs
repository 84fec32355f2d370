//! The cases that are played: without a fault each must hold, and each fault must be found by one.

use super::{Action, Case, Change, Expected, Fault, Left, Searched, WriteId, id};
use crate::register::Write;
use crate::version::Payload;

fn value(text: &'static str) -> Option<Payload> {
    Some(Payload { content_type: String::new(), value: text.into() })
}

fn set(text: &'static str) -> Action {
    Action::Set(value(text))
}

/// Replaces the write of an operation of the script.
fn replace(client: usize, text: &'static str) -> Action {
    Action::CompareAndSet(Expected::Write(id(client)), value(text))
}

fn create(text: &'static str) -> Action {
    Action::CompareAndSet(Expected::Nothing, value(text))
}

/// Brings back a write of another store. Whoever restores, it is the same one.
fn restore() -> Action {
    let id = WriteId { incarnation: u64::MAX, sequence: 1 };
    Action::Restore(Write { id, payload: value("restored") })
}

/// Scripts, with the attempts that each operation may make. Changes of the owners multiply what may
/// happen, so under them there is less of the rest.
fn scripts(change: Change) -> Vec<(Vec<Action>, Vec<u8>)> {
    match change {
        Change::Never => vec![
            (vec![set("a"), Action::Get], vec![2, 2]),
            (vec![set("a"), replace(0, "b")], vec![2, 1]),
            (vec![set("a"), replace(0, "b"), Action::Get], vec![2, 1, 1]),
            (vec![create("a"), create("b"), Action::Get], vec![1, 1, 1]),
            (vec![set("a"), Action::Get, Action::Get], vec![1, 2, 1]),
            (vec![set("a"), Action::Set(None), Action::Get], vec![1, 1, 1]),
            (vec![restore(), set("b"), Action::Get], vec![2, 1, 1]),
            (vec![restore(), restore(), set("b")], vec![1, 2, 1]),
            (vec![restore(), restore(), Action::Get], vec![1, 1, 1]),
        ],
        Change::Replace => vec![(vec![set("a"), Action::Get], vec![1, 1])],
        Change::LoseDisk => vec![
            (vec![set("a"), Action::Get], vec![1, 2]),
            (vec![set("a"), create("b"), Action::Get], vec![1, 1, 1]),
        ],
    }
}

fn searched(change: Change, fault: Fault) -> impl Iterator<Item = Searched> {
    let search = move |(script, attempts): (Vec<Action>, Vec<u8>)| {
        Case { script, attempts, change, fault, left: vec![] }.search()
    };
    scripts(change).into_iter().map(search)
}

fn assert_holds(change: Change) {
    for (script, searched) in searched(change, Fault::None).enumerate() {
        assert!(searched.broken.is_none(), "script {script}: {:#?}", searched.broken);
        println!("{change:?}, script {script}: {} states", searched.states);
    }
}

fn assert_breaks(change: Change, fault: Fault) {
    let broken = searched(change, fault).any(|searched| searched.broken.is_some());
    assert!(broken, "{fault:?} is not found to break anything");
}

#[test]
fn a_register_whose_owners_stay_is_linearizable() {
    assert_holds(Change::Never);
}

#[test]
fn a_register_is_linearizable_while_an_owner_is_replaced() {
    assert_holds(Change::Replace);
}

#[test]
fn a_register_is_linearizable_when_an_owner_lost_its_disk() {
    assert_holds(Change::LoseDisk);
}

#[test]
fn an_operation_that_applies_itself_again_is_found() {
    assert_breaks(Change::Never, Fault::AppliesAgain);
}

#[test]
fn an_owner_that_forgets_its_promises_is_found() {
    assert_breaks(Change::Never, Fault::ForgetsPromises);
}

#[test]
fn an_owner_that_answers_under_an_earlier_view_is_found() {
    assert_breaks(Change::Replace, Fault::NoSeal);
}

#[test]
fn a_new_owner_that_merged_one_old_owner_is_found() {
    assert_breaks(Change::Replace, Fault::MergesOne);
}

/// An owner is replaced after two writers died: one owner accepted what the first wrote, another what the
/// second did, who had found nothing.
fn after_two_died(fault: Fault, attempts: [u8; 2]) -> Searched {
    let first = Left { client: 0, number: 1, promised: vec![0, 2], accepted: vec![0] };
    let second = Left { client: 1, number: 2, promised: vec![1, 2], accepted: vec![1] };
    let script = vec![set("a"), create("b"), Action::Get, Action::Get];
    let attempts = [vec![1, 1], attempts.to_vec()].concat();
    Case { script, attempts, change: Change::Replace, fault, left: vec![first, second] }.search()
}

/// An owner is replaced after a writer died who had found nothing and whom one owner has accepted; another
/// one writes, under a lower number.
fn after_one_died(fault: Fault) -> Searched {
    let left = Left { client: 1, number: 2, promised: vec![0, 2], accepted: vec![0] };
    let script = vec![set("a"), create("b"), Action::Get];
    Case { script, attempts: vec![1, 1, 2], change: Change::Replace, fault, left: vec![left] }.search()
}

#[test]
fn what_dead_writers_left_does_no_harm_when_an_owner_is_replaced() {
    for searched in [after_one_died(Fault::None), after_two_died(Fault::None, [1, 2])] {
        assert!(searched.broken.is_none(), "{:#?}", searched.broken);
        println!("left behind: {} states", searched.states);
    }
}

#[test]
fn a_ballot_that_a_new_epoch_does_not_raise_is_found() {
    assert!(after_one_died(Fault::BallotsWithoutEpoch).broken.is_some());
}

#[test]
fn a_get_that_trusts_the_majority_of_an_earlier_epoch_is_found() {
    assert!(after_two_died(Fault::TrustsOldMajority, [1, 2]).broken.is_some());
}

#[test]
fn a_get_that_does_not_write_back_what_it_found_is_found() {
    assert_breaks(Change::Never, Fault::NoWriteBack);
}

#[test]
fn an_owner_that_votes_with_an_empty_disk_is_found() {
    assert_breaks(Change::LoseDisk, Fault::VotesUnfilled);
}

#[test]
fn an_owner_that_is_filled_without_a_new_view_is_found() {
    assert_breaks(Change::LoseDisk, Fault::FilledUnfenced);
}
