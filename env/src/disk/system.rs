//! The machine's disk: one real directory, locked against a second process.
//!
//! Syncs run on tokio's blocking threads, so they need a tokio runtime. Plain appends and reads
//! go to the page cache and are made in place.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::buffer::spare_capacity;
use rustix::fs::FlockOperation;
use rustix::io::{Errno, pread};
use tokio::task::spawn_blocking;

use super::{Disk, DiskFile};
use crate::BoxFuture;

const LOCK_NAME: &str = ".lock";
const TEMPORARY_SUFFIX: &str = ".tmp";

/// A real directory.
#[derive(Debug)]
pub struct SystemDisk {
    root: Arc<Path>,
    /// Serialises [`Disk::write_atomic`], whose temporary name is a function of the final one.
    replacing: Arc<Mutex<()>>,
    _lock: File,
}

impl SystemDisk {
    /// Opens `root`, creating it and its parents when missing, and locks it for this process.
    ///
    /// # Errors
    /// Names the path when it cannot be created, listed or written, or when another process
    /// has it open ([`io::ErrorKind::ResourceBusy`]).
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|e| at("cannot create the directory", &root, &e))?;
        fs::read_dir(&root).map_err(|e| at("cannot list the directory", &root, &e))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join(LOCK_NAME))
            .map_err(|e| at("cannot write to the directory", &root, &e))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let message = format!("the directory {} is in use by another process", root.display());
            io::Error::new(io::ErrorKind::ResourceBusy, message)
        })?;
        Ok(Self { root: root.into(), replacing: Arc::default(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        // Exactly one plain component: no separator, not `.` or `..`, not one of our own.
        if Path::new(name).file_name() != Some(OsStr::new(name)) || is_own(name) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name:?} is not a plain file name"),
            ));
        }
        Ok(self.root.join(name))
    }
}

fn is_own(name: &str) -> bool {
    name == LOCK_NAME || (name.starts_with('.') && name.ends_with(TEMPORARY_SUFFIX))
}

impl Disk for SystemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root).map_err(|e| at("cannot list the directory", &self.root, &e))? {
            let entry = entry?;
            // Names that are not UTF-8 cannot be ours, and subdirectories are other people's.
            if let Ok(name) = entry.file_name().into_string()
                && !is_own(&name)
                && entry.file_type()?.is_file()
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let path = self.path(name)?;
        fs::read(&path).map_err(|e| at("cannot read", &path, &e))
    }

    fn write_atomic<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>> {
        let prepared = self.path(name).map(|path| {
            let temporary = self.root.join(format!(".{name}{TEMPORARY_SUFFIX}"));
            (path, temporary, bytes.to_vec(), Arc::clone(&self.root), Arc::clone(&self.replacing))
        });
        Box::pin(async move {
            let (path, temporary, bytes, root, replacing) = prepared?;
            let replace = move || {
                let _one_at_a_time = lock(&replacing);
                let mut file = File::create(&temporary)?;
                file.write_all(&bytes)?;
                file.sync_all()?;
                fs::rename(&temporary, &path)?;
                sync_directory(&root)
            };
            let at_name = self.root.join(name);
            joined(spawn_blocking(replace).await).map_err(|e| at("cannot replace", &at_name, &e))
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name)?;
        fs::remove_file(&path).map_err(|e| at("cannot remove", &path, &e))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path(name)?;
        let open = || {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let end = file.metadata()?.len();
            Ok((file, end))
        };
        let (file, end) = open().map_err(|e: io::Error| at("cannot open", &path, &e))?;
        Ok(Arc::new(SystemFile(Arc::new(Shared {
            file,
            path,
            directory: Arc::clone(&self.root),
            end: Mutex::new(end),
            name_synced: Mutex::new(false),
            failed: AtomicBool::new(false),
        }))))
    }
}

struct SystemFile(Arc<Shared>);

struct Shared {
    file: File,
    path: PathBuf,
    directory: Arc<Path>,
    /// Where the next append goes.
    end: Mutex<u64>,
    /// Whether the directory entry is known to be durable; the lock also serialises syncs.
    /// False on every open: who created the file may have died before syncing it.
    name_synced: Mutex<bool>,
    /// Set by a failed sync, also when nobody waits for it any more.
    failed: AtomicBool,
}

impl Shared {
    fn refuse_after_failed_sync(&self) -> io::Result<()> {
        if self.failed.load(Ordering::Acquire) {
            return Err(io::Error::other(format!(
                "{}: an earlier sync failed, so nothing written since is known to be on disk; open it again",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn sync_blocking(&self) -> io::Result<()> {
        // Serialised, because the kernel reports a write error to one of two overlapping syncs only.
        let mut name_synced = lock(&self.name_synced);
        self.refuse_after_failed_sync()?;
        let mut sync = || {
            self.file.sync_data()?;
            if !*name_synced {
                sync_directory(&self.directory)?;
                *name_synced = true;
            }
            Ok(())
        };
        sync().map_err(|e| {
            self.failed.store(true, Ordering::Release);
            at("cannot sync", &self.path, &e)
        })
    }
}

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(*lock(&self.0.end))
    }

    fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let shared = &*self.0;
        shared.refuse_after_failed_sync()?;
        let mut end = lock(&shared.end);
        // Not O_APPEND: the offset is ours, so what a failed write left behind is written over.
        shared.file.write_all_at(bytes, *end).map_err(|e| at("cannot append to", &shared.path, &e))?;
        let offset = *end;
        *end += bytes.len() as u64;
        Ok(offset)
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let cannot = |e: io::Error| self::at("cannot read", &self.0.path, &e);
        // Into memory that nobody has cleared before: for small records that costs as much as the read.
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let at = offset + bytes.len() as u64;
            match pread(&self.0.file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(cannot(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(cannot(error.into())),
            }
        }
        bytes.truncate(len);
        Ok(bytes)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut end = lock(&self.0.end);
        if len > *end {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "truncate cannot make a file longer"));
        }
        self.0.file.set_len(len).map_err(|e| at("cannot truncate", &self.0.path, &e))?;
        *end = len;
        Ok(())
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { joined(spawn_blocking(move || shared.sync_blocking()).await) })
    }
}

fn sync_directory(root: &Path) -> io::Result<()> {
    File::open(root)?.sync_all()
}

fn joined(result: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    result.unwrap_or_else(|e| Err(io::Error::other(format!("the runtime stopped during a sync: {e}"))))
}

/// The same kind of error, saying what was tried and where.
fn at(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no code panics while holding this lock")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_back_after_opening_again() {
        let directory = tempfile::tempdir().unwrap();
        {
            let disk = SystemDisk::open(directory.path()).unwrap();
            let file = disk.open("a").unwrap();
            assert!(file.is_empty().unwrap());
            assert_eq!(file.append(b"hello").unwrap(), 0);
            assert_eq!(file.append(b" world").unwrap(), 5);
            file.truncate(8).unwrap();
            assert_eq!(file.append(b"!").unwrap(), 8);
            file.sync().await.unwrap();
            disk.write_atomic("b", b"old").await.unwrap();
            disk.write_atomic("b", b"new").await.unwrap();
            disk.open("c").unwrap();
            disk.remove("c").unwrap();
        }
        let disk = SystemDisk::open(directory.path()).unwrap();
        assert_eq!(disk.list().unwrap(), ["a", "b"]);
        assert_eq!(disk.read("a").unwrap(), b"hello wo!");
        assert_eq!(disk.read("b").unwrap(), b"new");
        let file = disk.open("a").unwrap();
        assert_eq!(file.read_at(6, 3).unwrap(), b"wo!");
        assert_eq!(file.read_at(6, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(disk.read("c").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn errors_name_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("a-file");
        fs::write(&blocked, b"").unwrap();
        let error = SystemDisk::open(&blocked).unwrap_err();
        assert!(error.to_string().contains("a-file"), "{error}");

        let disk = SystemDisk::open(directory.path()).unwrap();
        let error = SystemDisk::open(directory.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(error.to_string().contains(directory.path().to_str().unwrap()), "{error}");
        for name in ["", "..", "a/b", "/a", LOCK_NAME] {
            assert!(disk.open(name).is_err(), "{name:?} was taken");
        }
    }
}
