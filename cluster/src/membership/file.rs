//! Small files of a node's data directory: a value and its checksum, replaced as a whole. Their format is
//! that of the directory, which a node looks at first (`node/identity`).

use std::io;

use quorate_env::Disk;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The value in a file; nothing if there is no such file.
pub(super) fn read<T: DeserializeOwned>(disk: &dyn Disk, name: &str) -> io::Result<Option<T>> {
    let bytes = match disk.read(name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {why}"));
    let (body, checksum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("too short"))?;
    if crc32fast::hash(body).to_be_bytes() != *checksum {
        return Err(damaged("its checksum does not fit"));
    }
    postcard::from_bytes(body)
        .map(Some)
        .map_err(|e| damaged(&format!("{e}; was it written by another version?")))
}

/// Makes `value` the file's content, durably.
pub(super) async fn save<T: Serialize>(disk: &dyn Disk, name: &str, value: &T) -> io::Result<()> {
    let mut bytes = postcard::to_stdvec(value).map_err(io::Error::other)?;
    let checksum = crc32fast::hash(&bytes).to_be_bytes();
    bytes.extend_from_slice(&checksum);
    disk.write_atomic(name, &bytes).await
}
