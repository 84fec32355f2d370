//! Any engine behaves like an ordered map, across reopening where it keeps its data.

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_env::SystemDisk;

use super::*;

/// Where an engine keeps its data between two openings.
enum Home {
    SimulatedDisk(SimulatedDisk, Compression),
    Directory(EngineKind, tempfile::TempDir),
    Memory,
}

/// How much the counters of an engine say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// All is exact.
    All,
    /// Records are; bytes are those that are stored.
    Records,
    /// Whether there is a record at all.
    Whether,
}

impl Home {
    async fn open(&self) -> Arc<dyn Engine> {
        match self {
            Self::SimulatedDisk(disk, compression) => {
                open_with(EngineKind::Log, *compression, disk.mount(), None, small()).await.unwrap()
            }
            Self::Directory(kind, directory) => {
                let disk = Arc::new(SystemDisk::open(directory.path()).unwrap());
                open_with(*kind, Compression::None, disk, Some(directory.path()), small()).await.unwrap()
            }
            Self::Memory => Arc::new(MemoryEngine::new()),
        }
    }

    fn counts(&self) -> Counts {
        match self {
            Self::SimulatedDisk(_, Compression::Lz4 | Compression::Zstd) => Counts::Records,
            Self::Directory(EngineKind::Fjall, _) => Counts::Whether,
            Self::SimulatedDisk(..) | Self::Directory(..) | Self::Memory => Counts::All,
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Write>),
    Scan { prefix: Vec<u8>, after: Option<Vec<u8>>, limit: usize },
    Flush,
    Compact,
    Reopen,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    // Few keys, some a prefix of others, with the extreme bytes.
    vec(prop_oneof![Just(0_u8), Just(b'a'), Just(255)], 0..3)
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        3 => (key(), vec(any::<u8>(), 0..60)).prop_map(|(key, value)| put(key, value)),
        1 => (key(), vec(0..3_u8, 0..300)).prop_map(|(key, value)| put(key, value)),
        1 => key().prop_map(delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let scan = (key(), proptest::option::of(key()), 0..5_usize);
    prop_oneof![
        12 => vec(write(), 0..4).prop_map(Step::Apply),
        3 => scan.prop_map(|(prefix, after, limit)| Step::Scan { prefix, after, limit }),
        1 => Just(Step::Flush),
        3 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

async fn run(home: &Home, steps: Vec<Step>) {
    let mut engine = home.open().await;
    let mut model = Model::new();
    let mut last = Position::default();
    for step in steps {
        match step {
            Step::Apply(batch) => {
                apply_to_model(&mut model, &batch);
                let is_empty = batch.is_empty();
                let position = engine.apply(batch, engine.strongest()).await.unwrap();
                assert!(position > last || (is_empty && position >= last), "{position:?} after {last:?}");
                last = position;
            }
            Step::Scan { prefix, after, limit } => {
                let wanted = model.iter().filter(|(key, _)| {
                    key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after)
                });
                let wanted: Vec<_> = wanted.take(limit).map(|(k, v)| (k.clone(), v.clone())).collect();
                assert_eq!(engine.scan(&prefix, after.as_deref(), limit).unwrap(), wanted);
                let keys: Vec<_> = wanted.into_iter().map(|(key, _)| key).collect();
                assert_eq!(engine.keys(&prefix, after.as_deref(), limit).unwrap(), keys);
            }
            Step::Flush => assert!(engine.flush().await.unwrap() >= last),
            Step::Compact => {
                engine.compact_step(&Unhurried).await.unwrap();
            }
            Step::Reopen if matches!(home, Home::Memory) => {}
            Step::Reopen => {
                drop(engine);
                engine = home.open().await;
                last = Position::default();
            }
        }
        for (key, value) in &model {
            assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
        }
        assert_eq!(contents(&*engine), model);
        let stats = engine.stats();
        assert_eq!(stats.records == 0, model.is_empty());
        let counts = home.counts();
        if counts != Counts::Whether {
            assert_eq!(stats.records, model.len() as u64);
        }
        if counts == Counts::All {
            let bytes = model.iter().map(|(k, v)| (k.len() + v.len()) as u64);
            assert_eq!(stats.live_bytes, bytes.sum::<u64>());
        }
        assert_eq!((stats.damaged_records, stats.unreadable_regions, stats.torn_bytes), (0, 0, 0));
    }
}

fn check(cases: u32, home: impl Fn() -> Home) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    proptest!(config, |(steps in vec(step(), 1..60))| runtime.block_on(run(&home(), steps)));
}

#[test]
fn the_log_is_a_map_on_a_simulated_disk() {
    check(300, || Home::SimulatedDisk(SimulatedDisk::new(), Compression::None));
}

#[test]
fn the_log_is_a_map_with_values_compressed() {
    check(100, || Home::SimulatedDisk(SimulatedDisk::new(), Compression::Lz4));
    check(100, || Home::SimulatedDisk(SimulatedDisk::new(), Compression::Zstd));
}

#[test]
fn the_log_is_a_map_on_a_real_disk() {
    check(8, || Home::Directory(EngineKind::Log, tempfile::tempdir().unwrap()));
}

#[test]
fn memory_is_a_map() {
    check(100, || Home::Memory);
}

#[test]
fn sled_behind_the_log_is_a_map() {
    check(8, || Home::Directory(EngineKind::Sled, tempfile::tempdir().unwrap()));
}

#[test]
fn fjall_is_a_map() {
    check(8, || Home::Directory(EngineKind::Fjall, tempfile::tempdir().unwrap()));
}

#[tokio::test]
async fn an_engine_refuses_a_promise_it_cannot_keep_and_sizes_it_cannot_hold() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [EngineKind::Log, EngineKind::Memory, EngineKind::Fjall, EngineKind::Sled] {
        let engine = open(kind, SimulatedDisk::new().mount(), Some(directory.path())).await.unwrap();
        for promise in [Promise::Memory, Promise::OsBuffered, Promise::Synced] {
            let result = engine.apply(vec![put("k", "v")], promise).await;
            assert_eq!(result.is_ok(), promise <= engine.strongest(), "{kind:?} {promise:?}");
            assert!(result.is_ok() || matches!(result, Err(StoreError::Unsupported { .. })));
        }
        for (key_len, is_held) in [(65_534, true), (65_537, false)] {
            let key = vec![0; key_len];
            let held = engine.apply(vec![put("other", "v"), put(&key, "v")], Promise::Memory).await;
            assert_eq!(held.is_ok(), is_held, "{kind:?} {key_len}");
            assert!(matches!(held, Ok(_) | Err(StoreError::TooLarge { bytes: 65_537, .. })));
            assert_eq!(engine.get(&key).unwrap().is_some(), is_held);
            assert_eq!(engine.get(b"other").unwrap().is_some(), is_held, "all of a batch or nothing");
            engine.apply(vec![delete("other")], Promise::Memory).await.unwrap();
        }
    }
    for kind in [EngineKind::Fjall, EngineKind::Sled] {
        let error = open(kind, SimulatedDisk::new().mount(), None).await.err().unwrap();
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error}");
    }
}
