#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use futures_util::FutureExt;

use super::*;
use crate::disk::DiskFile;
use crate::{Random, RandomStream};

fn random(seed: u64) -> RandomStream {
    Random::from_seed(seed).stream("disk")
}

fn sync(file: &Arc<dyn DiskFile>) -> io::Result<()> {
    file.sync().now_or_never().expect("without latency a sync is immediate")
}

fn replace(disk: &Arc<dyn Disk>, name: &str, bytes: &[u8]) {
    disk.write_atomic(name, bytes).now_or_never().expect("no latency").unwrap();
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_a_prefix_of_the_rest() {
    let mut kept = Vec::new();
    for seed in 0..64 {
        let disk = SimulatedDisk::new();
        let file = disk.mount().open("a").unwrap();
        file.append(b"synced").unwrap();
        sync(&file).unwrap();
        file.append(b"tail").unwrap();
        disk.mount().open("never-synced").unwrap().append(b"x").unwrap();
        disk.power_cut(&mut random(seed));
        assert_eq!(disk.mount().list().unwrap(), ["a"]);
        let after = disk.mount().read("a").unwrap();
        assert!(b"syncedtail".starts_with(&after) && after.starts_with(b"synced"), "{after:?}");
        kept.push(after.len());
    }
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept, [6, 7, 8, 9, 10], "every length of the torn tail occurs");
}

#[test]
fn a_kill_keeps_everything_and_dead_handles_write_nothing() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    let file = mount.open("a").unwrap();
    file.append(b"one").unwrap();
    disk.kill();
    assert!(file.append(b"late").is_err());
    assert!(file.truncate(0).is_err());
    assert!(sync(&file).is_err());
    assert!(mount.remove("a").is_err());
    assert!(mount.write_atomic("a", b"late").now_or_never().unwrap().is_err());
    assert_eq!(disk.mount().read("a").unwrap(), b"one");
}

#[tokio::test(start_paused = true)]
async fn a_sync_cut_by_a_crash_promises_nothing() {
    let disk = SimulatedDisk::new();
    disk.set_sync_latency(Duration::from_millis(10));
    disk.set_slow_factor(3);
    let file = disk.mount().open("a").unwrap();
    file.append(b"one").unwrap();
    let before = tokio::time::Instant::now();
    file.sync().await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_millis(30));
    file.append(b"two").unwrap();
    let under_way = file.sync();
    disk.power_cut(&mut random(1));
    assert!(under_way.await.is_err());
    assert!(disk.mount().read("a").unwrap().starts_with(b"one"));
    assert_eq!(disk.counters().syncs, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sync_covers_what_was_appended_before_it_began_and_no_more() {
    let mut shortest = usize::MAX;
    for seed in 0..16 {
        let disk = SimulatedDisk::new();
        disk.set_sync_latency(Duration::from_millis(1));
        let file = disk.mount().open("a").unwrap();
        file.append(b"before").unwrap();
        let under_way = file.sync();
        file.append(b"after").unwrap();
        under_way.await.unwrap();
        disk.power_cut(&mut random(seed));
        shortest = shortest.min(disk.mount().read("a").unwrap().len());
    }
    assert_eq!(shortest, b"before".len());
}

#[test]
fn unsynced_removals_and_truncations_may_come_back_and_synced_ones_never() {
    let mut seen = Vec::new();
    for seed in 0..64 {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        for name in ["kept", "removed", "removed-for-good"] {
            let file = mount.open(name).unwrap();
            file.append(b"0123456789").unwrap();
            sync(&file).unwrap();
        }
        mount.remove("removed-for-good").unwrap();
        replace(&mount, "marker", b"");
        mount.remove("removed").unwrap();
        let file = mount.open("kept").unwrap();
        file.truncate(5).unwrap();
        file.append(b"x").unwrap();
        disk.power_cut(&mut random(seed));
        let mount = disk.mount();
        assert!(!mount.list().unwrap().contains(&"removed-for-good".to_owned()));
        seen.push((mount.list().unwrap().len(), mount.read("kept").unwrap()));
    }
    seen.sort();
    seen.dedup();
    let contents = [b"01234".as_slice(), b"0123456789", b"01234x"];
    let expected: Vec<_> = [2, 3].into_iter().flat_map(|n| contents.map(|c| (n, c.to_vec()))).collect();
    assert_eq!(seen, expected);
}

#[test]
fn after_a_failed_sync_the_handle_refuses_and_a_later_sync_does_not_save_the_bytes() {
    let disk = SimulatedDisk::new();
    let file = disk.mount().open("a").unwrap();
    file.append(b"good").unwrap();
    sync(&file).unwrap();
    file.append(b"lost").unwrap();
    disk.fail_next_syncs(1);
    assert!(sync(&file).is_err());
    assert!(sync(&file).is_err());
    assert!(file.append(b"more").is_err());
    let again = disk.mount().open("a").unwrap();
    assert_eq!(again.read_at(4, 4).unwrap(), b"lost", "the page cache still shows it");
    again.append(b"more").unwrap();
    sync(&again).unwrap();
    disk.power_cut(&mut random(1));
    assert_eq!(disk.mount().read("a").unwrap(), b"good\0\0\0\0more");
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(Some(6));
    let file = disk.mount().open("a").unwrap();
    file.append(b"1234").unwrap();
    assert_eq!(file.append(b"5678").unwrap_err().kind(), io::ErrorKind::StorageFull);
    file.truncate(4).unwrap();
    disk.fail_next_appends(1);
    assert!(file.append(b"56").is_err());
    file.truncate(4).unwrap();
    disk.set_capacity(None);
    assert_eq!(file.append(b"5678").unwrap(), 4);
    disk.flip_byte("a", 0).unwrap();
    assert_eq!(disk.mount().read("a").unwrap()[1..], *b"2345678");
    assert_ne!(disk.mount().read("a").unwrap()[0], b'1');
    disk.wipe();
    assert!(disk.mount().list().unwrap().is_empty());
}

#[test]
fn the_same_seed_leaves_the_same_bytes() {
    let run = |seed| {
        let disk = SimulatedDisk::new();
        for name in ["a", "b", "c"] {
            let file = disk.mount().open(name).unwrap();
            sync(&file).unwrap();
            file.append(&[7; 1000]).unwrap();
        }
        disk.power_cut(&mut random(seed));
        ["a", "b", "c"].map(|name| disk.mount().read(name).unwrap().len())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn rot_hits_only_the_files_that_are_picked_in_proportion_to_their_size() {
    let disk = SimulatedDisk::new();
    for (name, bytes) in [("a.segment", 3_000), ("b.segment", 1_000), ("view.bin", 1_000)] {
        disk.mount().open(name).unwrap().append(&vec![0; bytes]).unwrap();
    }
    assert!(disk.rot(40, |name| name.ends_with(".segment"), &mut random(1)));
    let rotten = |name: &str| disk.mount().read(name).unwrap().iter().filter(|byte| **byte != 0).count();
    let (a, b) = (rotten("a.segment"), rotten("b.segment"));
    assert!(a > b && b > 0 && a + b > 30, "{a} and {b} of 40");
    assert_eq!(rotten("view.bin"), 0);
    assert!(!disk.rot(40, |name| name == "nowhere", &mut random(1)));
}

#[test]
fn operations_fail_by_chance_as_often_as_they_are_made_to_and_the_same_from_the_same_seed() {
    let run = |seed| {
        let disk = SimulatedDisk::new();
        let mount = disk.mount();
        replace(&mount, "a", b"0123456789");
        disk.set_errors(300_000, crate::Random::from_seed(seed).stream("errors"));
        let read: Vec<bool> = (0..500).map(|_| mount.read("a").is_ok()).collect();
        let appended: Vec<bool> = (0..500).map(|_| mount.open("b").unwrap().append(b"x").is_ok()).collect();
        let synced: Vec<bool> = (0..500).map(|_| sync(&mount.open("a").unwrap()).is_ok()).collect();
        let failed = |all: &[bool]| all.iter().filter(|ok| !**ok).count();
        for all in [&read, &appended, &synced] {
            assert!((100..200).contains(&failed(all)), "{}", failed(all));
        }
        let failures = failed(&read) + failed(&appended) + failed(&synced);
        assert_eq!(disk.counters().failures, failures as u64);
        disk.set_errors(0, crate::Random::from_seed(seed).stream("errors"));
        assert!((0..100).all(|_| mount.read("a").is_ok()));
        (read, appended, synced)
    };
    assert!(run(1) == run(1) && run(1) != run(2));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_disk_syncs_once_it_goes_on() {
    let disk = SimulatedDisk::new();
    disk.set_stalled(true);
    let file = disk.mount().open("a").unwrap();
    file.append(b"one").unwrap();
    let before = tokio::time::Instant::now();
    let goes_on = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        disk.set_stalled(false);
    };
    let (synced, ()) = tokio::join!(file.sync(), goes_on);
    synced.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(50));
    disk.power_cut(&mut random(1));
    assert_eq!(disk.mount().read("a").unwrap(), b"one");
}

#[test]
fn a_disk_that_is_put_back_holds_what_it_held_then() {
    let disk = SimulatedDisk::new();
    let mount = disk.mount();
    replace(&mount, "a", b"old");
    let copy = disk.copied();
    replace(&mount, "a", b"new");
    replace(&mount, "b", b"new");
    disk.restore(&copy);
    assert!(mount.read("a").is_err(), "who had it mounted is dead");
    assert_eq!(disk.mount().list().unwrap(), ["a"]);
    disk.mount().open("a").unwrap().append(b"er").unwrap();
    assert_eq!(disk.mount().read("a").unwrap(), b"older");
    assert_eq!(copy.mount().read("a").unwrap(), b"old", "the copy is not the disk");
    disk.power_cut(&mut random(1));
    assert!(disk.mount().read("a").unwrap().starts_with(b"old"));
}
