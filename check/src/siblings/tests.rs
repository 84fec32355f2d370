//! Each sibling check is shown a history that it must catch and neighbours that it must pass.

use crate::report::{Guarantee, Kind, Model, Report, Verdict};
use crate::testing::history;
use crate::{Options, check};

fn siblings(text: &str) -> Report {
    check(&history(text), &Options { model: Some(Model::Siblings), ..Options::default() })
}

/// The kinds found, in order, each with its operations.
fn kinds(text: &str) -> Vec<(Kind, Vec<usize>)> {
    siblings(text).violations.into_iter().map(|v| (v.kind, v.operations)).collect()
}

#[test]
fn concurrent_writes_side_by_side_are_fine() {
    let report = siblings(
        "1 put a 10-20
         2 put b 10-20
         3 get a,b 30-40
         3 put c 50-60 ctx=a,b
         1 get c 70-80
         9 get c 100-110 final node=n1
         9 get c 120-130 final node=n2
         9 get c 140-150 final",
    );
    assert_eq!(report.sibling_counts, [(1, 4), (2, 1)].into(), "gets by how many values they show");
    assert_eq!((report.verdict, report.violations, report.not_judged), (Verdict::Valid, vec![], vec![]));
}

#[test]
fn a_get_that_misses_an_acknowledged_put_is_stale() {
    let report = siblings("1 put a 10-20\n 1 put b 30-40 ctx=a\n 2 get a 50-60");
    assert_eq!(report.verdict, Verdict::Invalid);
    assert_eq!(report.violations[0].kind, Kind::Stale);
    expect_test::expect!["the get of a by process 2 (50 ns to 60 ns) misses the put of b by process 1 (30 ns to 40 ns), which was acknowledged before it began and which nothing shown had read"]
        .assert_eq(&report.violations[0].says);
    assert_eq!(report.staleness.map(|staleness| staleness.stale_reads), Some(1.0));
    // Equal stamps are concurrent across processes, and in order within one.
    assert_eq!(kinds("1 put a 10-20\n 2 get - 20-60"), []);
    let own = [(Kind::Stale, vec![0, 1]), (Kind::Session, vec![0, 1])];
    assert_eq!(kinds("1 put a 10-20\n 1 get - 20-60"), own);
}

#[test]
fn a_delete_excuses_a_get_that_finds_nothing_and_convicts_one_that_finds_something() {
    assert_eq!(kinds("1 put a 10-20\n 1 del d 30-40 ctx=a\n 2 get - 50-60"), []);
    // Open or failed deletes: the first may have happened, the second did not.
    assert_eq!(kinds("1 put a 10-20\n 1 del d 30-? ctx=a\n 2 get - 50-60"), []);
    assert_eq!(kinds("1 put a 10-20\n 1 del! d 30-40 ctx=a\n 2 get - 50-60"), [(Kind::Stale, vec![0, 2])]);
    assert_eq!(kinds("1 put a 10-20\n 1 del d 30-40 ctx=a\n 2 get a 50-60"), [(Kind::Stale, vec![0, 1, 2])]);
}

#[test]
fn a_raw_copy_may_be_behind() {
    assert_eq!(kinds("1 put a 10-20\n 2 get - 30-40 node=n1"), []);
}

#[test]
fn reads_that_go_back_across_clients_are_found() {
    let report = siblings("1 put a 10-90\n 2 get a 20-30\n 3 get - 40-50\n 3 get a 95-99");
    let violation = &report.violations[0];
    assert_eq!(
        (violation.kind, violation.guarantee, violation.operations.as_slice()),
        (Kind::Session, Some(Guarantee::ReadsGoBack), [0, 1, 2].as_slice())
    );
    assert_eq!(report.violations.len(), 1);
}

/// The guarantees broken, each with its operations.
fn guarantees(text: &str) -> Vec<(Guarantee, Vec<usize>)> {
    let sessions = siblings(text).violations.into_iter().filter_map(|v| Some((v.guarantee?, v.operations)));
    sessions.filter(|(guarantee, _)| *guarantee != Guarantee::ReadsGoBack).collect()
}

#[test]
fn a_session_reads_what_it_wrote() {
    use Guarantee::ReadYourWrites;
    assert_eq!(guarantees("1 put a 10-20\n 1 get - 30-40"), [(ReadYourWrites, vec![0, 1])]);
    assert_eq!(guarantees("1 put a 10-20\n 2 get - 30-40"), [], "another session is owed nothing here");
    let one_session = "1 put a 10-20 session=s\n 2 get - 30-40 session=s";
    assert_eq!(guarantees(one_session), [(ReadYourWrites, vec![0, 1])]);
    assert_eq!(
        guarantees("1 put a 10-20\n 2 put b 22-25 ctx=a\n 1 get b 30-40"),
        [],
        "b's writer had read a"
    );
    let own_delete = "1 put a 10-20\n 1 del d 30-40 ctx=a\n 1 get a 50-60";
    assert_eq!(guarantees(own_delete), [(ReadYourWrites, vec![0, 1, 2])]);
    assert_eq!(guarantees("1 put a 10-?\n 2 get - 30-40"), [], "nobody was told that it happened");
}

#[test]
fn a_session_reads_what_it_read() {
    use Guarantee::MonotonicReads;
    assert_eq!(
        guarantees("1 put a 10-90\n 2 get a 20-30\n 2 get - 40-50\n 3 get - 40-50"),
        [(MonotonicReads, vec![0, 1, 2])]
    );
    let removed = "1 put a 10-90\n 2 get a 20-30\n 3 del d 35-? ctx=a\n 2 get - 40-50";
    assert_eq!(guarantees(removed), [], "an open delete may have removed it");
}

#[test]
fn writes_keep_the_order_of_their_session() {
    use Guarantee::{MonotonicWrites, WritesFollowReads};
    let blind = "1 put a 10-20\n 1 put b 30-90\n 2 get b 15-80";
    assert_eq!(guarantees(blind), [(MonotonicWrites, vec![0, 1, 2])]);
    assert_eq!(guarantees("1 put a 10-20\n 1 put b 30-90 ctx=a\n 2 get b 15-80"), []);
    let through_another = "1 put a 10-20\n 1 put b 30-90\n 2 put c 40-90 ctx=b\n 3 get c 15-80";
    assert_eq!(guarantees(through_another), [(MonotonicWrites, vec![0, 1, 2])]);
    let read = "1 put a 10-90\n 2 get a 12-14\n 2 put b 20-90\n 3 get b 13-80";
    assert_eq!(guarantees(read), [(WritesFollowReads, vec![0, 1, 2, 3])]);
    assert_eq!(guarantees(&read.replace("3 get b", "3 get a,b")), []);
}

#[test]
fn of_two_updates_from_one_state_the_swallowed_one_is_lost() {
    let text = "1 put a 10-20
                1 put b 30-40 ctx=a
                2 put c 30-45 ctx=a
                3 get c 50-60";
    let found = kinds(text);
    assert!(found.contains(&(Kind::LostUpdate, vec![1, 2, 3])), "{found:?}");
    // Blind writes never count; a get of both is fine; a later write that read both is fine.
    let blind = kinds("1 put b 30-40\n 2 put c 30-45\n 3 get c 50-60");
    assert!(blind.iter().all(|(kind, _)| *kind != Kind::LostUpdate), "{blind:?}");
    assert_eq!(
        kinds(
            "1 put a 10-20\n 1 put b 30-40 ctx=a\n 2 put c 30-45 ctx=a\n 3 get b,c 50-60\n 3 put d 70-80 ctx=b,c\n 3 get d 90-99"
        ),
        []
    );
}

#[test]
fn an_update_that_its_own_process_knew_first_is_still_found_lost() {
    // At 16 only process 1 knows that its put is over; whoever asks later is owed it all the same.
    let found = kinds(
        "1 put a 1-2
         1 put b 10-16 ctx=a
         2 put c 10-12 ctx=a
         1 get b,c 16-18
         3 get c 16-17
         3 get c 20-22",
    );
    assert!(found.contains(&(Kind::LostUpdate, vec![1, 2, 5])), "{found:?}");
}

#[test]
fn a_lost_update_that_comes_back_is_not_lasting() {
    let start = "1 put a 10-20\n 1 put b 30-40 ctx=a\n 2 put c 30-45 ctx=a\n 3 get c 50-60\n";
    let lasting = |end: &str| {
        let report = siblings(&format!("{start}{end}"));
        let found = report.violations.into_iter().find(|v| v.kind == Kind::LostUpdate);
        found.map(|violation| violation.lasting)
    };
    assert_eq!(lasting(""), Some(None));
    assert_eq!(lasting("9 get b,c 70-80 final"), Some(Some(false)));
    assert_eq!(lasting("9 get c 70-80 final"), Some(Some(true)));
}

#[test]
fn a_write_that_is_gone_in_the_end_is_lost() {
    let found = kinds("1 put a 10-20\n 2 put b 10-20\n 9 get b 100-110 final");
    assert!(found.contains(&(Kind::Lost, vec![0, 2])), "{found:?}");
    // Superseded, deleted, or superseded by what was superseded: accounted for.
    for fine in [
        "1 put a 10-20\n 1 put b 30-40 ctx=a\n 9 get b 100-110 final",
        "1 put a 10-20\n 1 del d 30-40 ctx=a\n 9 get - 100-110 final",
        "1 put a 10-20\n 1 put b 30-? ctx=a\n 2 put c 50-60 ctx=b\n 9 get c 100-110 final",
        "1 put! a 10-20\n 9 get - 100-110 final",
        "1 put a 10-?\n 9 get - 100-110 final",
    ] {
        assert_eq!(kinds(fine), [], "{fine}");
    }
}

#[test]
fn without_final_reads_what_needs_them_is_not_judged_and_the_report_says_so() {
    let report = siblings("1 put a 10-20\n 2 put b 10-20");
    let named: Vec<&str> = report.not_judged.iter().map(|entry| entry.what.as_str()).collect();
    assert_eq!(named, ["lost", "resurrected", "not-converged"]);
    assert_eq!(report.verdict, Verdict::Valid);
    // Final reads of other keys, none of this one: that is a hole, not a choice.
    let report = siblings("1 put a 10-20\n 9 get - 50-60 final key=other");
    assert_eq!(report.verdict, Verdict::Unknown, "{report:#?}");
}

#[test]
fn a_value_that_is_back_after_its_delete_is_resurrected() {
    let found = kinds("1 put a 10-20\n 1 del d 30-40 ctx=a\n 9 get a 100-110 final");
    assert!(found.contains(&(Kind::Resurrected, vec![0, 1, 2])), "{found:?}");
    let open = kinds("1 put a 10-20\n 1 del d 30-? ctx=a\n 9 get a 100-110 final");
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_value_beside_the_one_that_had_read_it_is_a_false_sibling() {
    let found = kinds("1 put a 10-20\n 1 put b 30-40 ctx=a\n 2 get a,b 50-60");
    assert_eq!(found, [(Kind::FalseSibling, vec![0, 1, 2])]);
    assert_eq!(kinds("1 put a 10-20\n 2 get a,a 50-60"), [(Kind::FalseSibling, vec![0, 1])]);
}

#[test]
fn copies_that_differ_in_the_end_have_not_converged() {
    let start = "1 put a 10-20\n 2 put b 10-20\n 9 get a,b 90-95 final node=n1\n";
    assert_eq!(
        kinds(&format!("{start} 9 get b 100-110 final node=n2\n 9 get a,b 120-130 final")),
        [(Kind::NotConverged, vec![2, 3])]
    );
    assert_eq!(kinds(&format!("{start} 9 get b,a 100-110 final node=n2\n 9 get a,b 120-130 final")), []);
    let silent = siblings(&format!("{start} 9 get! - 100-110 final node=n2\n 9 get a,b 120-130 final"));
    assert_eq!(silent.verdict, Verdict::Unknown);
}

#[test]
fn phantoms_in_values_and_contexts_are_found() {
    assert_eq!(kinds("2 get a 10-20"), [(Kind::Phantom, vec![0])]);
    assert_eq!(kinds("2 get a 10-20\n 1 put a 30-40"), [(Kind::Phantom, vec![0, 1])]);
    let other_key = siblings("1 put a 10-20 key=x\n 2 get a 30-40");
    assert!(other_key.violations[0].says.contains("written to another key, x"), "{other_key:?}");
    let deleted = siblings("1 put a 10-20\n 1 del d 30-40 ctx=a\n 2 get d 50-60");
    assert!(deleted.violations[0].kind == Kind::Stale || deleted.count(Kind::Phantom) == 1);
    assert_eq!(kinds("1 put a 10-20 ctx=x"), [(Kind::Phantom, vec![0])]);
}

#[test]
fn repeated_values_are_not_judged() {
    let report = siblings("1 put a 10-20\n 2 put a 30-40\n 3 get a 50-60");
    assert_eq!(report.verdict, Verdict::Unknown);
    assert!(report.not_judged.iter().any(|entry| entry.what == "lost-update"), "{report:?}");
}
