//! Random writers, a crash at a random point, and what must be there afterwards.
//!
//! After a power cut every key shows its last write acknowledged as synced or one issued later,
//! and no batch shows in part. After a kill everything that was appended is there.
//!
//! The same for the log, the log with values compressed, and the log with sled behind it: there the
//! simulated disk is the log's, and sled's own files get into any state at each crash.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{Either, select};
use rand::RngExt;
use tempfile::TempDir;
use tokio::task::LocalSet;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Appended, but nobody was told.
    Unknown,
    Acknowledged(Promise),
    Refused,
}

/// The batches of one run in the order of their appends. The first is what the run began with.
pub(super) struct History(pub(super) Vec<(Vec<Write>, Outcome)>);

impl History {
    pub(super) fn beginning_with(model: &Model) -> Self {
        let batch = model.iter().map(|(key, value)| put(key, value)).collect();
        Self(vec![(batch, Outcome::Acknowledged(Promise::Synced))])
    }

    /// The writes of `key` that may show, as (batch, value), oldest first, beginning with the
    /// last that must not be lost.
    fn candidates(&self, key: &[u8], is_safe: impl Fn(Outcome) -> bool) -> Vec<(usize, Option<Bytes>)> {
        let mut candidates = vec![(0, None)];
        for (at, (batch, outcome)) in self.0.iter().enumerate() {
            if *outcome == Outcome::Refused {
                continue;
            }
            for write in batch.iter().filter(|write| write.key() == key) {
                let value = match write {
                    Write::Put { value, .. } => Some(value.clone()),
                    Write::Delete { .. } => None,
                };
                if is_safe(*outcome) {
                    candidates.clear();
                }
                candidates.push((at, value));
            }
        }
        candidates
    }

    fn keys(&self) -> BTreeSet<&[u8]> {
        self.0.iter().flat_map(|(batch, _)| batch).map(Write::key).collect()
    }

    pub(super) fn check_after_power_cut(&self, after: &Model) {
        let is_safe = |outcome| outcome == Outcome::Acknowledged(Promise::Synced);
        let keys = self.keys();
        assert!(after.keys().all(|key| keys.contains(key.as_slice())), "an invented key");
        // The newest batch that each key may show: absences do not tell whose they are.
        let mut newest = BTreeMap::new();
        for key in keys {
            let shown = after.get(key);
            let candidates = self.candidates(key, is_safe);
            let fits = candidates.iter().rfind(|(_, value)| value.as_ref() == shown);
            let (at, _) = fits.unwrap_or_else(|| {
                panic!("key {} shows {shown:?}, which is none of {candidates:?}", key.escape_ascii())
            });
            newest.insert(key, *at);
        }
        for (key, at) in &newest {
            if after.contains_key(*key) {
                for write in &self.0[*at].0 {
                    assert!(newest[write.key()] >= *at, "batch {at} shows in part: {:?}", self.0[*at]);
                }
            }
        }
    }

    pub(super) fn check_after_kill(&self, after: &Model) {
        let mut model = Model::new();
        for (batch, outcome) in &self.0 {
            if *outcome != Outcome::Refused {
                apply_to_model(&mut model, batch);
            }
        }
        assert_eq!(*after, model);
    }
}

/// An engine over a simulated disk.
struct Subject {
    kind: EngineKind,
    compression: Compression,
    disk: SimulatedDisk,
    /// Sled's files, and an older state of them.
    directories: (TempDir, TempDir),
}

impl Subject {
    fn new(kind: EngineKind, compression: Compression) -> Self {
        let directories = (TempDir::new().unwrap(), TempDir::new().unwrap());
        Self { kind, compression, disk: SimulatedDisk::new(), directories }
    }

    async fn open(&self) -> Arc<dyn Engine> {
        let directory = Some(self.directories.0.path());
        open_with(self.kind, self.compression, self.disk.mount(), directory, small()).await.unwrap()
    }

    /// What a crash may do to files that nobody syncs: anything.
    fn disturb_sled(&self, random: &mut RandomStream) {
        let (now, older) = (self.directories.0.path().join("sled"), self.directories.1.path().join("sled"));
        if !now.exists() {
            return;
        }
        match random.random_range(0..4) {
            0 => {}
            1 => std::fs::remove_dir_all(now).unwrap(),
            2 if older.exists() => {
                std::fs::remove_dir_all(&now).unwrap();
                std::fs::rename(older, now).unwrap();
            }
            2 => copy_directory(&now, &older),
            _ => {
                let mut bytes = std::fs::read(now.join("db")).unwrap();
                for _ in 0..random.random_range(1..20) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= random.random_range(1..=255);
                }
                std::fs::write(now.join("db"), bytes).unwrap();
            }
        }
    }
}

/// Its values are unique, also among the rounds: `name` must be.
async fn writer(engine: Arc<dyn Engine>, history: Rc<RefCell<History>>, name: u64, seed: u64) {
    let mut random = random(seed);
    for count in 0.. {
        let batch: Vec<Write> = (0..random.random_range(1..4))
            .map(|_| {
                let key = format!("k{}", random.random_range(0..12));
                match random.random_range(0..4) {
                    0 => delete(key),
                    _ => put(key, format!("{name}/{count}{}", "x".repeat(random.random_range(0..80)))),
                }
            })
            .collect();
        let promise = if random.random_bool(0.7) { Promise::Synced } else { Promise::OsBuffered };
        let at = history.borrow().0.len();
        history.borrow_mut().0.push((batch.clone(), Outcome::Unknown));
        // Appends in its first poll, which comes before any other task can run.
        let applied = engine.apply(batch, promise).await;
        history.borrow_mut().0[at].1 = match applied {
            Ok(_) => Outcome::Acknowledged(promise),
            Err(error) if error.maybe_applied() => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        if random.random_bool(0.3) {
            tokio::time::sleep(Duration::from_micros(random.random_range(0..3000))).await;
        }
        // A writer that gives up waiting: what it wrote may or may not become durable.
        if random.random_bool(0.1) {
            let batch = vec![put("impatient", format!("{name}/{count}"))];
            let at = history.borrow().0.len();
            history.borrow_mut().0.push((batch.clone(), Outcome::Unknown));
            let patience = std::pin::pin!(tokio::time::sleep(Duration::from_micros(300)));
            if let Either::Left((Err(error), _)) =
                select(engine.apply(batch, Promise::Synced), patience).await
                && !error.maybe_applied()
            {
                history.borrow_mut().0[at].1 = Outcome::Refused;
            }
        }
    }
}

/// Returns what it saw, for comparison with a second run of the same seed.
async fn live_through_crashes(subject: &Subject, seed: u64) -> Vec<Model> {
    let mut random = random(seed);
    let disk = &subject.disk;
    let mut model = Model::new();
    let mut seen = Vec::new();
    for round in 0..6 {
        disk.set_sync_latency(Duration::from_micros(random.random_range(0..2000)));
        let engine = subject.open().await;
        assert_eq!(contents(&*engine), model, "opening twice shows the same");
        let history = Rc::new(RefCell::new(History::beginning_with(&model)));
        let tasks = LocalSet::new();
        for name in 0..4 {
            tasks.spawn_local(writer(
                Arc::clone(&engine),
                Rc::clone(&history),
                round * 10 + name,
                random.random(),
            ));
        }
        let compacting = engine;
        tasks.spawn_local(async move {
            while !matches!(compacting.compact_step(&Unhurried).await, Err(StoreError::Stopped { .. })) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        let trouble = random.random_range(0..4);
        let (before, after) = (random.random_range(0..20_000), random.random_range(0..20_000));
        tasks
            .run_until(async {
                tokio::time::sleep(Duration::from_micros(before)).await;
                match trouble {
                    0 => disk.fail_next_syncs(1),
                    1 => disk.fail_next_appends(2),
                    2 => disk.set_capacity(Some(disk.used() + 300)),
                    _ => {}
                }
                tokio::time::sleep(Duration::from_micros(after)).await;
            })
            .await;
        let is_kill = random.random_bool(0.3);
        if is_kill {
            disk.kill()
        } else {
            disk.power_cut(&mut random)
        }
        disk.fail_next_syncs(0);
        disk.fail_next_appends(0);
        disk.set_capacity(None);
        drop(tasks);
        subject.disturb_sled(&mut random);
        // A kill between a failed sync and the note of it is the one case where bytes in doubt
        // are shown: nobody was promised anything, but they may go again.
        let in_doubt =
            is_kill && trouble == 0 && !disk.mount().list().unwrap().contains(&"log.suspect".into());
        let recovered = subject.open().await;
        assert_eq!(recovered.stats().damaged_records, 0);
        model = contents(&*recovered);
        drop(recovered);
        if is_kill {
            history.borrow().check_after_kill(&model);
        } else {
            history.borrow().check_after_power_cut(&model);
        }
        // What a restarted node shows it may have promised to others: it must not go any more.
        disk.power_cut(&mut random);
        if in_doubt {
            model = contents(&*subject.open().await);
        }
        seen.push(model.clone());
    }
    seen
}

fn run(kind: EngineKind, compression: Compression, seed: u64) -> Vec<Model> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live_through_crashes(&Subject::new(kind, compression), seed))
}

fn run_all(kind: EngineKind, compression: Compression, seeds: u64) {
    for seed in 0..seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(kind, compression, seed)) {
            eprintln!("failed with seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn what_was_acknowledged_as_synced_survives_and_nothing_is_torn_or_invented() {
    run_all(EngineKind::Log, Compression::None, 1500);
}

#[test]
fn the_same_holds_with_values_compressed() {
    run_all(EngineKind::Log, Compression::Lz4, 150);
    run_all(EngineKind::Log, Compression::Zstd, 150);
}

#[test]
fn the_same_holds_with_sled_behind_the_log_whatever_becomes_of_its_files() {
    run_all(EngineKind::Sled, Compression::None, 20);
}

#[test]
fn the_same_seed_gives_the_same_survivors() {
    for seed in 0..5 {
        let run = || run(EngineKind::Log, Compression::None, seed);
        assert_eq!(run(), run());
    }
}
