//! Opening by hint files gives what opening by reading gives, and no hint is ever believed wrongly.

use rand::RngExt;

use super::*;

/// A log with several full segments, each with a hint, of values written over and deleted.
async fn written(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    let mut random = random(seed);
    for count in 0..120 {
        let batch = (0..random.random_range(1..4)).map(|_| {
            let key = format!("k{}", random.random_range(0..25));
            if random.random_bool(0.2) { delete(key) } else { put(key, format!("{count:050}")) }
        });
        let batch = batch.collect();
        engine.apply(batch, Promise::Synced).await.unwrap();
        if random.random_bool(0.3) {
            engine.compact_step(&Unhurried).await.unwrap();
        }
    }
    while engine.compact_step(&Unhurried).await.unwrap() {}
    disk.kill();
    disk
}

fn names(disk: &SimulatedDisk, suffix: &str) -> Vec<String> {
    disk.mount().list().unwrap().into_iter().filter(|name| name.ends_with(suffix)).collect()
}

fn remove_hints(disk: &SimulatedDisk) {
    for name in names(disk, ".hint") {
        disk.mount().remove(&name).unwrap();
    }
}

#[tokio::test]
async fn every_full_segment_has_a_hint_that_says_what_the_segment_says() {
    for seed in 0..20 {
        let disk = written(seed).await;
        let hints = names(&disk, ".hint").len();
        assert!(hints >= 3 && hints == names(&disk, ".segment").len() - 1, "{hints} hints");
        let by_hints = open_log(&disk).await.unwrap();
        let (model, stats) = (contents(&by_hints), by_hints.stats());
        disk.kill();
        remove_hints(&disk);
        let by_reading = open_log(&disk).await.unwrap();
        assert_eq!(contents(&by_reading), model);
        assert_eq!(by_reading.stats(), stats);
        disk.kill();
        assert_eq!(names(&disk, ".hint").len(), hints, "opening wrote them again");

        // What compaction counts on came out the same: everything can be given up.
        let engine = open_log(&disk).await.unwrap();
        for round in 0..200 {
            engine.apply(vec![put("k0", format!("{round:0200}"))], Promise::Synced).await.unwrap();
            while engine.compact_step(&Unhurried).await.unwrap() {}
        }
        let mut model = model;
        model.insert(b"k0".to_vec(), format!("{:0200}", 199).into());
        disk.power_cut(&mut random(seed));
        let engine = open_log(&disk).await.unwrap();
        assert_eq!(contents(&engine), model);
        let stats = engine.stats();
        assert!(stats.log_bytes < 3 * stats.live_bytes + 4000, "{stats:?}");
        assert!(names(&disk, ".hint").len() <= names(&disk, ".segment").len(), "no stray is left");
    }
}

#[tokio::test]
async fn a_segment_with_a_hint_is_not_read_and_its_rot_is_found_when_its_value_is() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    engine.apply(vec![put("victim", "v".repeat(600))], Promise::Synced).await.unwrap();
    engine.apply(vec![put("later", "v")], Promise::Synced).await.unwrap();
    while engine.compact_step(&Unhurried).await.unwrap() {}
    disk.kill();
    disk.flip_byte("log-0000000001.segment", 300).unwrap();
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(engine.stats().damaged_records, 0, "nobody looked yet");
    assert!(matches!(engine.get(b"victim"), Err(StoreError::Damaged { .. })));
    assert_eq!(engine.damaged(), [b"victim"]);
    assert_eq!(engine.get(b"later").unwrap().unwrap(), "v");
}

#[tokio::test]
async fn a_hint_that_is_damaged_cut_or_of_another_version_is_passed_over_and_written_anew() {
    let disk = written(1).await;
    let model = contents(&open_log(&disk).await.unwrap());
    let stats = open_log(&disk).await.unwrap().stats();
    let victim = names(&disk, ".hint").remove(0);
    let sound = disk.mount().read(&victim).unwrap();
    let mut broken: Vec<Vec<u8>> = (0..sound.len()).map(|len| sound[..len].to_vec()).collect();
    for at in 0..sound.len() {
        let mut rotten = sound.clone();
        rotten[at] ^= 1;
        broken.push(rotten);
    }
    broken.push(vec![7; 4096]);
    for bytes in broken {
        disk.mount().write_atomic(&victim, &bytes).await.unwrap();
        let engine = open_log(&disk).await.unwrap();
        assert_eq!(contents(&engine), model);
        assert_eq!(engine.stats(), stats);
        assert_eq!(disk.mount().read(&victim).unwrap(), sound, "it is there again");
    }
}

#[tokio::test]
async fn a_hint_of_another_log_is_passed_over() {
    let (disk, other) = (written(1).await, written(2).await);
    let model = contents(&open_log(&disk).await.unwrap());
    for name in names(&other, ".hint") {
        let stranger = other.mount().read(&name).unwrap();
        disk.mount().write_atomic(&name, &stranger).await.unwrap();
    }
    assert_eq!(contents(&open_log(&disk).await.unwrap()), model);
}

#[tokio::test]
async fn a_segment_with_rot_gets_no_hint_so_that_every_start_tells_of_it() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    engine.apply(vec![put("victim", "v".repeat(600))], Promise::Synced).await.unwrap();
    engine.apply(vec![put("later", "v")], Promise::Synced).await.unwrap();
    disk.kill();
    disk.flip_byte("log-0000000001.segment", 300).unwrap();
    for _ in 0..2 {
        assert_eq!(open_log(&disk).await.unwrap().damaged(), [b"victim"]);
        assert!(names(&disk, ".hint").is_empty());
    }
}

#[tokio::test]
async fn a_disk_too_full_for_hints_costs_nothing_but_time() {
    let disk = written(3).await;
    let model = contents(&open_log(&disk).await.unwrap());
    remove_hints(&disk);
    disk.set_capacity(Some(disk.used()));
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(contents(&engine), model);
    assert!(names(&disk, ".hint").is_empty());
    while engine.compact_step(&Unhurried).await.unwrap_or(false) {}
    disk.set_capacity(None);
    disk.power_cut(&mut random(1));
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(contents(&engine), model);
    assert!(!names(&disk, ".hint").is_empty());
}
