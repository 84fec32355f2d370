//! A file system that is full: what was acknowledged stays, and what is refused says whether it happened.
//!
//! Needs to mount a small file system in memory; where that is not allowed it says so and tests nothing.

use std::process::{Command, Stdio};

use quorate_env::SystemDisk;
use tempfile::TempDir;

use super::*;

/// A file system of its own size, until dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let disk = Self(TempDir::new().unwrap());
        disk.mount("size=3m").then_some(disk)
    }

    fn mount(&self, options: &str) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path());
        mount.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    async fn open(&self, kind: EngineKind) -> Arc<dyn Engine> {
        let disk = Arc::new(SystemDisk::open(self.0.path()).unwrap());
        let options = LogOptions { segment_bytes: 256 << 10, ..LogOptions::default() };
        open_with(kind, Compression::None, disk, Some(self.0.path()), options).await.unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(std::thread::panicking() || unmounted.is_ok_and(|status| status.success()));
    }
}

async fn fill(kind: EngineKind) {
    let Some(small) = SmallDisk::new() else {
        eprintln!("cannot mount a small file system here: not tested");
        return;
    };
    let engine = small.open(kind).await;
    let (mut model, mut doubtful) = (Model::new(), Vec::new());
    for at in 0..100_u32 {
        let value = at.to_string().repeat(20_000 / at.to_string().len());
        let batch = vec![put(format!("a{at}"), &value), put(format!("b{at}"), &value)];
        match engine.apply(batch.clone(), Promise::Synced).await {
            Ok(_) => {
                assert!(doubtful.is_empty() || kind != EngineKind::Fjall, "fjall stops at the first failure");
                apply_to_model(&mut model, &batch);
            }
            Err(error) => {
                let says_space = error.to_string().to_lowercase().contains("space");
                assert!(says_space || matches!(error, StoreError::Stopped { .. }), "{error}");
                if error.maybe_applied() {
                    doubtful.push(batch);
                }
            }
        }
    }
    assert!((20..90).contains(&(model.len() / 2)), "{} batches fit", model.len() / 2);
    assert_eq!(doubtful.is_empty(), kind != EngineKind::Fjall, "the log takes back what it refuses");
    for (key, value) in &model {
        assert_eq!(engine.get(key).unwrap().as_ref(), Some(value));
    }
    drop(engine);
    assert!(small.mount("remount,size=64m"));
    // A sled that could not be closed holds up every other one in its process; the log has everything.
    let engine = small.open(if kind == EngineKind::Sled { EngineKind::Log } else { kind }).await;
    let mut shown = contents(&*engine);
    for batch in doubtful {
        let there = batch.iter().filter(|write| shown.remove(write.key()).is_some()).count();
        assert!(there == 0 || there == batch.len(), "a batch shows in part");
    }
    assert_eq!(shown, model);
    engine.apply(vec![put("later", "there is space again")], Promise::Synced).await.unwrap();
}

#[tokio::test]
async fn the_log_on_a_full_disk() {
    fill(EngineKind::Log).await;
}

/// In a process of its own, for the sake of the other tests of sled.
#[tokio::test]
async fn sled_behind_the_log_on_a_full_disk() {
    const ALONE: &str = "QUORATE_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return fill(EngineKind::Sled).await;
    }
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "store::tests::full_disk::sled_behind_the_log_on_a_full_disk", "--nocapture"]);
    let ended = alone.env(ALONE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{ended:#?}");
}

#[tokio::test]
async fn fjall_on_a_full_disk() {
    fill(EngineKind::Fjall).await;
}
