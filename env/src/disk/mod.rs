//! One directory of append-only files, and the promise of each call after a crash.
//!
//! Bytes given to [`DiskFile::append`] survive the end of the process but not of the power;
//! [`DiskFile::sync`] makes them survive that too. [`SystemDisk`] is the machine's;
//! [`SimulatedDisk`] keeps both states in memory and, told that the power was cut, forgets
//! what was not synced.

mod simulated;
mod system;

use std::io;
use std::sync::Arc;

use crate::BoxFuture;

pub use simulated::{DiskCounters, SimulatedDisk};
pub use system::SystemDisk;

/// A directory. Names are plain file names without separators.
pub trait Disk: Send + Sync + 'static {
    /// The files, sorted by name.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A whole small file. [`io::ErrorKind::NotFound`] when there is none.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Replaces a whole small file. On return it is durable; after a crash before that the
    /// file is either the old or the new one.
    fn write_atomic<'a>(&'a self, name: &'a str, bytes: &'a [u8]) -> BoxFuture<'a, io::Result<()>>;

    /// Removes a file. It may come back after a power cut, until the next
    /// [`Disk::write_atomic`] returns.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Opens a file for appending and reading, creating it if there is none. A created file
    /// outlives a power cut once it was synced.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
}

/// A file that grows at its end and is read anywhere.
pub trait DiskFile: Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Appends all of `bytes` and returns the offset of the first. Handed to the operating
    /// system on return: it survives the process, not a power cut. After an error the end of
    /// the file is unspecified until [`DiskFile::truncate`].
    fn append(&self, bytes: &[u8]) -> io::Result<u64>;

    /// Exactly `len` bytes at `offset`; [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>>;

    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes all that was appended before this call survive a power cut. After an error
    /// nothing since the last success is known to be durable, now or ever: the kernel may have
    /// dropped the pages, so a later sync that succeeds proves nothing. This handle therefore
    /// refuses appends and syncs from then on.
    fn sync(&self) -> BoxFuture<'_, io::Result<()>>;
}
