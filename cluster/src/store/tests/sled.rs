//! Whatever becomes of sled, the log behind which it stands is what is read.

use quorate_env::SystemDisk;
use tempfile::TempDir;

use super::*;

async fn open_sled(directory: &TempDir) -> Result<Arc<dyn Engine>, StoreError> {
    let disk = Arc::new(SystemDisk::open(directory.path()).unwrap());
    open_with(EngineKind::Sled, Compression::None, disk, Some(directory.path()), LogOptions::default()).await
}

#[tokio::test]
async fn values_are_read_from_sled_and_only_while_the_log_agrees() {
    let directory = TempDir::new().unwrap();
    let segment = directory.path().join("log-0000000001.segment");
    let engine = open_sled(&directory).await.unwrap();
    engine.apply(vec![put("k", "old"), put("gone", "v")], Promise::Synced).await.unwrap();
    engine.flush().await.unwrap();
    drop(engine);
    let older = TempDir::new().unwrap();
    copy_directory(&directory.path().join("sled"), &older.path().join("sled"));

    // The log's bytes rot, and sled has them.
    let sound = std::fs::read(&segment).unwrap();
    let mut rotten = sound.clone();
    let at = rotten.windows(3).position(|window| window == b"old").unwrap();
    rotten[at] = b'0';
    std::fs::write(&segment, rotten).unwrap();
    let engine = open_sled(&directory).await.unwrap();
    assert_eq!(engine.damaged(), [b"k"]);
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "old");
    drop(engine);
    std::fs::write(&segment, sound).unwrap();

    // Sled is that of an older state: the log knows better.
    let engine = open_sled(&directory).await.unwrap();
    engine.apply(vec![put("k", "new"), delete("gone")], Promise::Synced).await.unwrap();
    drop(engine);
    std::fs::remove_dir_all(directory.path().join("sled")).unwrap();
    copy_directory(&older.path().join("sled"), &directory.path().join("sled"));
    let engine = open_sled(&directory).await.unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "new");
    assert_eq!(engine.get(b"gone").unwrap(), None);
    assert_eq!(contents(&*engine).len(), 1);
}

#[tokio::test]
async fn a_sled_that_cannot_be_opened_begins_anew_and_nothing_is_lost() {
    let directory = TempDir::new().unwrap();
    let engine = open_sled(&directory).await.unwrap();
    engine.apply(vec![put("k", "v")], Promise::Synced).await.unwrap();
    drop(engine);
    let sled = directory.path().join("sled");
    for name in ["conf", "db"] {
        std::fs::write(sled.join(name), b"this is no sled database").unwrap();
    }
    let engine = open_sled(&directory).await.unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "v");
    drop(engine);

    // Nor when it cannot begin anew: a file in its place.
    std::fs::remove_dir_all(&sled).unwrap();
    std::fs::write(&sled, b"").unwrap();
    let engine = open_sled(&directory).await.unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "v");
    engine.apply(vec![put("k", "w")], Promise::Synced).await.unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), "w");
}

#[tokio::test]
async fn a_sled_database_without_a_log_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let sled = directory.path().join("sled");
    std::fs::create_dir(&sled).unwrap();
    std::fs::write(sled.join("db"), b"somebody's data").unwrap();
    let error = open_sled(&directory).await.err().unwrap();
    assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("log.format"), "{error}");
    assert_eq!(std::fs::read(sled.join("db")).unwrap(), b"somebody's data");
    assert!(!directory.path().join("log.format").exists());
}

#[tokio::test]
async fn an_older_value_with_the_checksum_of_the_newest_is_told_from_it() {
    let (older, newer) = (&b"4baa5d72"[..], &b"75be4d1e"[..]);
    assert_eq!(crc32fast::hash(older), crc32fast::hash(newer), "also behind one and the same key");
    let directory = TempDir::new().unwrap();
    let engine = open_sled(&directory).await.unwrap();
    engine.apply(vec![put("k", older)], Promise::Synced).await.unwrap();
    engine.flush().await.unwrap();
    drop(engine);
    let (sled, before) = (directory.path().join("sled"), directory.path().join("before"));
    copy_directory(&sled, &before);

    let engine = open_sled(&directory).await.unwrap();
    engine.apply(vec![put("k", newer)], Promise::Synced).await.unwrap();
    drop(engine);
    std::fs::remove_dir_all(&sled).unwrap();
    copy_directory(&before, &sled);
    let engine = open_sled(&directory).await.unwrap();
    assert_eq!(engine.get(b"k").unwrap().unwrap(), newer);
}
