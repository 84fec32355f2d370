//! Many writers at once: one sync for many, and nobody hangs when a writer goes away.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use quorate_env::SystemDisk;

use super::*;

#[tokio::test(start_paused = true)]
async fn writers_that_come_together_share_syncs() {
    let disk = SimulatedDisk::new();
    let engine = LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap();
    disk.set_sync_latency(Duration::from_millis(1));
    let before = engine.stats().syncs;
    let writes = (0..100).map(|at| engine.apply(vec![put(format!("k{at}"), "v")], Promise::Synced));
    for result in join_all(writes).await {
        result.unwrap();
    }
    // Whoever begins it lets the others append before.
    assert_eq!(engine.stats().syncs - before, 1);
    disk.power_cut(&mut random(1));
    assert_eq!(contents(&open_log(&disk).await.unwrap()).len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_writer_dropped_in_the_middle_of_its_sync_leaves_nobody_waiting() {
    let disk = SimulatedDisk::new();
    let engine = Arc::new(LogEngine::open(disk.mount(), LogOptions::default()).await.unwrap());
    disk.set_sync_latency(Duration::from_millis(5));
    let mut leader = engine.apply(vec![put("leader", "v")], Promise::Synced);
    assert!((&mut leader).now_or_never().is_none());
    let waiting: Vec<_> = (0..3)
        .map(|at| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.apply(vec![put(format!("k{at}"), "v")], Promise::Synced).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(leader);
    let all = tokio::time::timeout(Duration::from_secs(1), join_all(waiting)).await;
    assert!(all.expect("nobody hangs").into_iter().all(|result| result.unwrap().is_ok()));
    disk.power_cut(&mut random(1));
    assert_eq!(
        contents(&open_log(&disk).await.unwrap()).len(),
        4,
        "a later sync covers the dropped write too"
    );
}

#[tokio::test(start_paused = true)]
async fn weaker_promises_wait_for_no_sync() {
    let disk = SimulatedDisk::new();
    let engine = open_log(&disk).await.unwrap();
    disk.set_sync_latency(Duration::from_secs(3600));
    for promise in [Promise::Memory, Promise::OsBuffered] {
        let applied = engine.apply(vec![put(format!("{promise:?}"), "v")], promise);
        assert!(applied.now_or_never().expect("no waiting").is_ok());
    }
    disk.kill();
    disk.set_sync_latency(Duration::ZERO);
    assert_eq!(contents(&open_log(&disk).await.unwrap()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_write_read_and_compact_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions { segment_bytes: 16 << 10, dead_bytes_min: 4 << 10, ..LogOptions::default() };
    let open = async || {
        let disk = Arc::new(SystemDisk::open(directory.path()).unwrap());
        Arc::new(LogEngine::open(disk, options).await.unwrap())
    };
    let engine = open().await;
    let writers: Vec<_> = (0..8_u64)
        .map(|name| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move {
                for count in 0..60_u64 {
                    let (key, value) = (format!("{name}-{}", count % 5), format!("{count:0>300}"));
                    engine.apply(vec![put(&key, &value)], Promise::Synced).await.unwrap();
                    assert_eq!(engine.get(key.as_bytes()).unwrap().unwrap(), value.as_bytes());
                    if count % 10 == 0 {
                        engine.compact_step(&Unhurried).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let before = contents(&*engine);
    assert_eq!(before.len(), 40);
    assert_eq!(engine.stats().appends, 480);
    drop(engine);
    assert_eq!(contents(&*open().await), before);
}

#[tokio::test(start_paused = true)]
async fn who_finds_the_queue_for_the_disk_full_has_written_nothing() {
    let disk = SimulatedDisk::new();
    let options = LogOptions { commits_max: 2, ..LogOptions::default() };
    let engine = LogEngine::open(disk.mount(), options).await.unwrap();
    disk.set_sync_latency(Duration::from_millis(5));
    let write = |key: &str| engine.apply(vec![put(key, "v")], Promise::Synced);
    let (first, second, third) = tokio::join!(write("a"), write("b"), write("c"));
    assert!(first.is_ok() && second.is_ok());
    let busy = third.unwrap_err();
    assert!(matches!(busy, StoreError::Busy { waiting: 2 }) && !busy.maybe_applied(), "{busy}");
    assert_eq!(engine.get(b"c").unwrap(), None);
    assert_eq!(engine.stats().busy, 1);
    write("c").await.unwrap();
    assert_eq!(engine.get(b"c").unwrap().unwrap(), "v", "there is room again");
}

/// Counts what it is asked for.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

impl Pace for Counting {
    fn spend(&self, bytes: u64) -> quorate_env::BoxFuture<'_, ()> {
        self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        Box::pin(std::future::ready(()))
    }
}

/// Fills a log so that `alive` of sixty records are still of use, and gives up one segment of it.
async fn asked_for(alive: usize) -> u64 {
    let disk = SimulatedDisk::new();
    let options = LogOptions { segment_bytes: 4 << 10, dead_bytes_min: 1 << 10, ..LogOptions::default() };
    let engine = LogEngine::open(disk.mount(), options).await.unwrap();
    let value = "v".repeat(100);
    for at in 0..60 {
        let key = if at < alive { format!("alive-{at}") } else { "overwritten".into() };
        engine.apply(vec![put(key, &value)], Promise::Memory).await.unwrap();
    }
    let asked = Counting::default();
    assert!(engine.compact_step(&asked).await.unwrap(), "there is something to give up");
    asked.0.into_inner()
}

#[tokio::test]
async fn compaction_keeps_pace_unless_space_is_badly_wanted() {
    assert!(asked_for(20).await > 0, "two thirds of the log are dead");
    assert_eq!(asked_for(2).await, 0, "nearly all of it is");
}
