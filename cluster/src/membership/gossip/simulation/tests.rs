#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

fn settled(nodes: usize, seed: u64) -> World {
    let mut world = World::new(&Settings::new(nodes, seed));
    world.run_until(PATIENCE, World::all_know_all).expect("nodes find each other");
    world
}

#[test]
fn a_cluster_finds_itself_notices_a_crash_and_heals() {
    for (nodes, seed) in [(2, 1), (3, 1), (5, 2), (25, 3), (60, 4)] {
        let outcome = simulate(&Settings::new(nodes, seed));
        println!("{outcome:?}");
        assert!(outcome.all_know_all_s.unwrap() < 2.0, "{outcome:#?}");
        assert_eq!(outcome.false_downs, 0, "{outcome:#?}");
        assert!(outcome.crash_known_all_s.unwrap() < if nodes <= 25 { 10.0 } else { 12.0 }, "{outcome:#?}");
        assert!(outcome.restart_known_all_s.unwrap() < 3.0, "{outcome:#?}");
        assert!(outcome.healed_known_all_s.unwrap() < 6.0, "{outcome:#?}");
        assert!(outcome.view_known_all_s.unwrap() < 2.0, "{outcome:#?}");
        let calm = if nodes == 2 { 2.5..4.5 } else { 2.5..3.5 };
        assert!(calm.contains(&outcome.calm.messages_per_s), "{outcome:#?}");
    }
}

#[test]
fn a_crash_among_25_is_known_to_all_within_10_seconds_whatever_the_seed() {
    let took = |seed| {
        let mut world = settled(25, seed);
        world.run_until(Duration::from_secs(3), |_| false);
        world.crash(7);
        let took = world.run_until(PATIENCE, |world| world.believed_down_by(7) == 24).unwrap();
        assert_eq!(world.declared_down(), 24, "seed {seed}: nobody else");
        took
    };
    let mut all: Vec<Duration> = (1..=100).map(took).collect();
    all.sort_unstable();
    println!("least {:?}, median {:?}, most {:?}", all[0], all[50], all[99]);
    assert!(all[99] < Duration::from_secs(10), "{all:?}");
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    assert_eq!(simulate(&Settings::new(20, 7)), simulate(&Settings::new(20, 7)));
    assert_ne!(simulate(&Settings::new(20, 7)), simulate(&Settings::new(20, 8)));
}

#[test]
fn a_node_that_stood_still_takes_nobody_down_with_it() {
    for seed in 1..=10 {
        let mut world = settled(12, seed);
        world.stop(5);
        world.run_until(PATIENCE, |world| world.believed_down_by(5) == 11).unwrap();
        let before = world.declared_down();
        world.resume(5);
        world.run_until(PATIENCE, World::all_know_all).unwrap();
        world.run_until(Duration::from_secs(10), |_| false);
        assert_eq!(world.declared_down(), before, "seed {seed}: healthy nodes were declared down");
        assert!(world.all_know_all());
    }
}

#[test]
fn a_node_that_was_cut_off_for_long_takes_nobody_down_with_it() {
    for seed in 1..=10 {
        let mut world = settled(12, seed);
        world.cut_off([5]);
        let all_but_one_by_one = |world: &World| (0..12).all(|n| n == 5 || world.believed_down_by(n) == 1);
        world
            .run_until(PATIENCE, |world| world.believed_down_by(5) == 11 && all_but_one_by_one(world))
            .unwrap();
        let before = world.declared_down();
        world.cut_off([]);
        let took = world.run_until(PATIENCE, World::all_know_all).unwrap();
        assert!(took < Duration::from_secs(5), "{took:?}");
        world.run_until(Duration::from_secs(10), |_| false);
        assert_eq!(world.declared_down(), before, "seed {seed}: healthy nodes were declared down");
    }
}

#[test]
fn short_silence_is_forgiven() {
    for seed in 1..=30 {
        let mut world = settled(12, seed);
        for seconds in [1, 2, 3] {
            world.cut_off([4]);
            world.run_until(Duration::from_secs(seconds), |_| false);
            world.cut_off([]);
            world.run_until(Duration::from_secs(15), |_| false);
            assert_eq!(world.declared_down(), 0, "seed {seed}, {seconds} s");
            assert!(world.all_know_all());
        }
    }
}
