//! Rot, a full disk, a failing sync: each is told as what it is, and costs no more than it must.

use std::time::Duration;

use super::*;

/// A log that never rolls, for tests that count offsets in its one segment.
async fn open_large(disk: &SimulatedDisk) -> LogEngine {
    LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap()
}

#[tokio::test]
async fn rot_anywhere_is_never_taken_for_data() {
    let mut batches = Vec::new();
    for at in 0..6 {
        batches.push(vec![put(format!("k{at}"), format!("first{at}"))]);
    }
    batches.push(vec![put("k2", "second2"), delete("k3"), put("k4", "second4")]);
    batches.push(vec![put("k0", "second0")]);
    let mut histories: BTreeMap<Vec<u8>, Vec<Option<Bytes>>> = BTreeMap::new();
    for write in batches.iter().flatten() {
        let Write::Put { key, value } = write else { continue };
        histories.entry(key.clone()).or_default().push(Some(value.clone()));
    }
    let write_all = async || {
        let disk = SimulatedDisk::new();
        let engine = open_large(&disk).await;
        for batch in &batches {
            engine.apply(batch.clone(), Promise::Synced).await.unwrap();
        }
        (disk, engine)
    };
    let (disk, _) = write_all().await;
    let name = newest_segment(&disk);
    let len = disk.mount().read(&name).unwrap().len() as u64;
    let mut counts = (0, 0, 0);
    for offset in 0..len {
        let (disk, engine) = write_all().await;
        disk.flip_byte(&name, offset).unwrap();
        // Rot under a running engine: a read says damaged or gives the value itself.
        for (key, values) in &histories {
            match engine.get(key) {
                Ok(value) => assert!(value.is_none() || values.last() == Some(&value), "offset {offset}"),
                Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
            }
        }
        drop(engine);
        let engine = open_large(&disk).await;
        let stats = engine.stats();
        let kinds = (stats.damaged_records > 0, stats.unreadable_regions > 0, stats.torn_bytes > 0);
        counts.0 += u64::from(kinds.0);
        counts.1 += u64::from(kinds.1);
        counts.2 += u64::from(kinds.2);
        let told = u8::from(kinds.0) + u8::from(kinds.1) + u8::from(kinds.2);
        // Only the value of a superseded record rots without any effect.
        assert!(told <= 1, "offset {offset}: {stats:?}");
        assert_eq!(engine.damaged().len() as u64, stats.damaged_records);
        for (key, values) in &histories {
            match engine.get(key) {
                // An older value may show where a header is unreadable, and that is told.
                Ok(Some(value)) => {
                    let is_newest = values.last() == Some(&Some(value.clone())) && key != b"k3";
                    assert!(values.contains(&Some(value)) && (is_newest || told == 1), "offset {offset}");
                }
                Ok(None) => assert!(key == b"k3" || told == 1, "offset {offset}"),
                Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
            }
        }
        // A damaged record heals when it is written again, for good.
        for key in engine.damaged() {
            engine.apply(vec![put(&key, "repaired")], Promise::Synced).await.unwrap();
            assert_eq!(engine.get(&key).unwrap().unwrap(), "repaired");
        }
        drop(engine);
        assert_eq!(open_large(&disk).await.stats().damaged_records, 0);
    }
    assert!(counts.0 > 0 && counts.1 > 0 && counts.2 > 0, "{counts:?}");
}

#[tokio::test]
async fn a_damaged_record_stays_damaged_through_compaction() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    engine.apply(vec![put("victim", "a value to rot")], Promise::Synced).await.unwrap();
    let first = newest_segment(&disk);
    let at = engine.stats().log_bytes - 1;
    disk.flip_byte(&first, at).unwrap();
    for round in 0..100 {
        engine.apply(vec![put("other", format!("{round:050}"))], Promise::Synced).await.unwrap();
    }
    while engine.compact_step(&Unhurried).await.unwrap() {}
    assert!(!disk.mount().list().unwrap().contains(&first), "the segment was given up");
    assert!(matches!(engine.get(b"victim"), Err(StoreError::Damaged { .. })));
    drop(engine);
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(engine.damaged(), [b"victim"]);
    assert_eq!(engine.scan(b"", None, 10).unwrap().len(), 1, "a scan leaves it out");
    assert!(matches!(engine.get(b"victim"), Err(StoreError::Damaged { .. })));
}

#[tokio::test]
async fn a_value_that_holds_a_log_is_not_read_as_one() {
    let disk = SimulatedDisk::new();
    let engine = open_large(&disk).await;
    engine.apply(vec![put("inner", "forged")], Promise::Synced).await.unwrap();
    let stolen = disk.mount().read(&newest_segment(&disk)).unwrap();
    let at = stolen.len() as u64;
    engine.apply(vec![delete("inner"), put("outer", &stolen)], Promise::Synced).await.unwrap();
    engine.apply(vec![put("last", "good")], Promise::Synced).await.unwrap();
    // The header of `outer` follows the tombstone of `inner`.
    let outer = at + 32 + 5;
    disk.flip_byte(&newest_segment(&disk), outer).unwrap();
    drop(engine);
    let engine = open_large(&disk).await;
    assert_eq!(contents(&engine).keys().map(Vec::as_slice).collect::<Vec<_>>(), [b"last"]);
    assert_eq!(engine.stats().unreadable_regions, 1);
}

#[tokio::test]
async fn a_full_disk_refuses_whole_batches_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    let mut model = Model::new();
    disk.set_capacity(Some(2000));
    let mut refused = 0;
    for at in 0..40 {
        let batch = vec![put(format!("a{at}"), "x".repeat(30)), put(format!("b{at}"), "y".repeat(30))];
        match engine.apply(batch.clone(), Promise::Synced).await {
            Ok(_) => apply_to_model(&mut model, &batch),
            Err(error) => {
                assert!(matches!(error, StoreError::Full { .. }), "{error}");
                assert!(!error.maybe_applied());
                refused += 1;
            }
        }
        assert_eq!(contents(&engine), model);
    }
    assert!(refused > 20);
    disk.set_capacity(None);
    let batch = vec![put("later", "there is space again")];
    engine.apply(batch.clone(), Promise::Synced).await.unwrap();
    apply_to_model(&mut model, &batch);
    disk.power_cut(&mut random(1));
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(contents(&engine), model);
    assert_eq!(engine.stats().unreadable_regions, 0);
}

#[tokio::test]
async fn an_append_that_fails_is_taken_back_and_the_next_one_works() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    disk.fail_next_appends(1);
    let error = engine.apply(vec![put("k", "lost")], Promise::Synced).await.unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }) && !error.maybe_applied(), "{error}");
    assert!(error.to_string().contains("log-0000000001.segment"), "{error}");
    assert_eq!(engine.get(b"k").unwrap(), None);
    engine.apply(vec![put("k", "kept")], Promise::Synced).await.unwrap();
    disk.power_cut(&mut random(1));
    assert_eq!(open_log(&disk).await.unwrap().get(b"k").unwrap().unwrap(), "kept");
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_sync_nobody_is_acknowledged_until_the_log_is_opened_again() {
    let disk = SimulatedDisk::new();
    disk.set_sync_latency(Duration::from_millis(1));
    let engine = open_log(&disk).await.unwrap();
    engine.apply(vec![put("k", "old")], Promise::Synced).await.unwrap();
    disk.fail_next_syncs(1);
    let writes = ["a", "b", "k"].map(|key| engine.apply(vec![put(key, "new")], Promise::Synced));
    for result in futures_util::future::join_all(writes).await {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::SyncFailed { .. }) && error.maybe_applied(), "{error}");
    }
    let error = engine.apply(vec![put("c", "new")], Promise::OsBuffered).await.unwrap_err();
    assert!(matches!(error, StoreError::Stopped { .. }) && !error.maybe_applied(), "{error}");
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "new", "reads go on");

    // The page cache still shows what the failed sync gave up. Once a new process shows it,
    // it must not be lost any more, though no later sync of that file would save it.
    disk.kill();
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(contents(&engine).len(), 3);
    engine.apply(vec![put("c", "after")], Promise::Synced).await.unwrap();
    disk.power_cut(&mut random(1));
    let engine = open_log(&disk).await.unwrap();
    assert_eq!(contents(&engine).len(), 4);
    assert_eq!(engine.stats().unreadable_regions, 0);
}

#[tokio::test]
async fn a_directory_of_another_version_is_refused_and_left_alone() {
    let disk = SimulatedDisk::new();
    disk.mount().write_atomic("log.format", b"quorate-log 99\n").await.unwrap();
    let error = open_log(&disk).await.err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("log.format"), "{error}");
    assert_eq!(disk.mount().read("log.format").unwrap(), b"quorate-log 99\n");
    assert_eq!(disk.mount().list().unwrap(), ["log.format"]);
}
