//! What a crash and rot leave of fjall, whose files no simulated disk can hold.
//!
//! A kill is a copy of the directory while the engine lives: that is what the operating system has.
//! A power cut is made of two copies, one from when the last synced write was acknowledged and one from
//! later: of what was written in between a random prefix stays. Whether a sync reaches the disk cannot
//! be seen this way; that it asks the system to (`fdatasync` of the journal) is all there is.

use std::fs;
use std::path::PathBuf;

use rand::RngExt;
use tempfile::TempDir;

use super::crash::{History, Outcome};
use super::*;

fn open_fjall(directory: &Path) -> Result<FjallEngine, StoreError> {
    FjallEngine::open(directory, 64)
}

fn batch(random: &mut RandomStream, count: u64) -> Vec<Write> {
    let write = |_| {
        let key = format!("k{}", random.random_range(0..12));
        match random.random_range(0..4) {
            0 => delete(key),
            _ => put(key, format!("{count}{}", "x".repeat(random.random_range(0..200)))),
        }
    };
    (0..3).map(write).collect()
}

/// Applies some batches and notes them.
async fn write_some(
    engine: &FjallEngine,
    history: &mut History,
    random: &mut RandomStream,
    promise: Promise,
    count: u64,
) {
    for at in 0..count {
        let batch = batch(random, (history.0.len() as u64) << 20 | at);
        engine.apply(batch.clone(), promise).await.unwrap();
        history.0.push((batch, Outcome::Acknowledged(promise)));
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let home = TempDir::new().unwrap();
    let (mut random, mut model) = (random(1), Model::new());
    let mut now = home.path().join("0");
    for round in 1..12 {
        let mut history = History::beginning_with(&model);
        let engine = open_fjall(&now).unwrap();
        for promise in [Promise::Synced, Promise::OsBuffered, Promise::Memory] {
            let count = random.random_range(0..8);
            write_some(&engine, &mut history, &mut random, promise, count).await;
        }
        let next = home.path().join(round.to_string());
        copy_directory(&now, &next);
        drop(engine);
        fs::remove_dir_all(&now).unwrap();
        now = next;
        let engine = open_fjall(&now).unwrap();
        assert_eq!(engine.stats().unreadable_regions, 0);
        model = contents(&engine);
        history.check_after_kill(&model);
    }
}

/// Cuts what was written since `synced` off at a random point.
fn cut(synced: &Path, later: &Path, random: &mut RandomStream) {
    for entry in fs::read_dir(later).unwrap() {
        let path = entry.unwrap().path();
        let before = synced.join(path.file_name().unwrap());
        if path.is_dir() {
            cut(&before, &path, random);
            continue;
        }
        let Ok(old) = fs::read(&before) else {
            fs::remove_file(path).unwrap();
            continue;
        };
        let new = fs::read(&path).unwrap();
        assert_eq!(old.len(), new.len(), "{}: journals do not grow so soon", path.display());
        let Some(first) = (0..new.len()).find(|at| old[*at] != new[*at]) else { continue };
        let last = (0..new.len()).rfind(|at| old[*at] != new[*at]).unwrap();
        let at = random.random_range(first..=last + 1);
        let mixed = [&new[..at], &old[at..]].concat();
        fs::write(path, mixed).unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_as_synced_survives_a_power_cut_and_no_batch_shows_in_part() {
    let mut torn = 0;
    for seed in 0..12 {
        let home = TempDir::new().unwrap();
        let directory = |name: &str| home.path().join(name);
        let mut random = random(seed);
        let mut history = History::beginning_with(&Model::new());
        let engine = open_fjall(&directory("now")).unwrap();
        write_some(&engine, &mut history, &mut random, Promise::Synced, 6).await;
        copy_directory(&directory("now"), &directory("synced"));
        write_some(&engine, &mut history, &mut random, Promise::OsBuffered, 6).await;
        copy_directory(&directory("now"), &directory("later"));
        drop(engine);
        cut(&directory("synced"), &directory("later"), &mut random);
        let engine = open_fjall(&directory("later")).unwrap();
        let stats = engine.stats();
        assert_eq!(stats.unreadable_regions, 0, "a torn end is no rot");
        torn += u64::from(stats.torn_bytes > 0);
        history.check_after_power_cut(&contents(&engine));
        // And goes on from there.
        write_some(&engine, &mut history, &mut random, Promise::Synced, 3).await;
        let model = contents(&engine);
        drop(engine);
        assert_eq!(contents(&open_fjall(&directory("later")).unwrap()), model);
    }
    assert!(torn > 3, "{torn} of the cuts tore a batch");
}

/// The files of a directory that hold something, with how much.
fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Writes, has `settle` do something, then rots byte after byte of all files that `picked` names and
/// sees what opening and reading make of it. Returns how often opening was refused, a key was known as
/// damaged, and an absence was told to be no vote.
async fn rot(settle: impl Fn(&FjallEngine), picked: impl Fn(&Path) -> bool, every: usize) -> (u32, u32, u32) {
    let home = TempDir::new().unwrap();
    let sound = home.path().join("sound");
    let engine = open_fjall(&sound).unwrap();
    let keys: Vec<String> = (0..20).map(|at| format!("k{at}")).collect();
    for key in &keys {
        engine.apply(vec![put(key, format!("value of {key}"))], Promise::Synced).await.unwrap();
    }
    settle(&engine);
    drop(engine);
    let mut all = Vec::new();
    files(&sound, &mut all);
    let (mut refused, mut damaged, mut told) = (0, 0, 0);
    for path in all.iter().filter(|path| picked(path)) {
        let bytes = fs::read(path).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        for at in (0..written).step_by(every) {
            let copy = home.path().join("copy");
            copy_directory(&sound, &copy);
            let mut rotten = bytes.clone();
            rotten[at] ^= 0x10;
            fs::write(copy.join(path.strip_prefix(&sound).unwrap()), rotten).unwrap();
            match open_fjall(&copy) {
                Err(error) => {
                    assert!(error.to_string().contains("fjall"), "{error}");
                    refused += 1;
                }
                Ok(engine) => {
                    let stats = engine.stats();
                    let is_told = stats.unreadable_regions > 0 || stats.torn_bytes > 0;
                    told += u32::from(is_told);
                    for key in &keys {
                        match engine.get(key.as_bytes()) {
                            Ok(Some(value)) => assert_eq!(value, format!("value of {key}")),
                            Ok(None) => assert!(is_told, "{}: byte {at} hides {key}", path.display()),
                            Err(StoreError::Damaged { .. }) => damaged += 1,
                            Err(error) => panic!("{}: byte {at}: {error}", path.display()),
                        }
                    }
                }
            }
            fs::remove_dir_all(&copy).unwrap();
        }
    }
    (refused, damaged, told)
}

#[tokio::test]
async fn rot_in_a_journal_is_refused_or_told_and_never_a_value() {
    let is_journal = |path: &Path| path.extension().is_some_and(|end| end == "jnl");
    let (refused, _, told) = rot(|_| {}, is_journal, 37).await;
    assert!(refused > 0 && told > 0, "{refused} refused, {told} told");
}

#[tokio::test]
async fn rot_in_a_table_is_refused_or_damage_and_never_a_value() {
    let settle = |engine: &FjallEngine| engine.write_tables();
    let is_table = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("tables"));
    let (_, damaged, _) = rot(settle, is_table, 41).await;
    assert!(damaged > 0);
}

#[tokio::test]
async fn syncs_follow_the_journal_and_are_shared() {
    let home = TempDir::new().unwrap();
    let engine = Arc::new(open_fjall(home.path()).unwrap());
    engine.apply(vec![put("a", "v")], Promise::Synced).await.unwrap();
    engine.write_tables();
    engine.apply(vec![put("b", "v")], Promise::Synced).await.unwrap();
    let before = engine.stats().syncs;
    let writes = (0..50).map(|at| engine.apply(vec![put(format!("k{at}"), "v")], Promise::Synced));
    for applied in futures_util::future::join_all(writes).await {
        applied.unwrap();
    }
    let syncs = engine.stats().syncs - before;
    assert!(syncs <= 3, "{syncs} syncs for writers that came together");
    assert_eq!(contents(&*engine).len(), 52);
}

#[tokio::test]
async fn a_directory_of_another_version_is_refused_and_left_alone() {
    let home = TempDir::new().unwrap();
    fs::write(home.path().join("version"), b"FJL\x04").unwrap();
    let error = open_fjall(home.path()).err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    let says = error.to_string();
    assert!(says.contains("FJL\\x04") && says.contains("FJL\\x03"), "{says}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
}
