//! The format file: which format the segments have, and which of them are no longer part of the log.
//!
//! Replaced atomically. A segment is listed as retired before its file is removed, because a
//! power cut may bring removed files back, and one of several, with a tombstone of another
//! already gone, would bring deleted keys back with it.

use std::collections::BTreeSet;
use std::io;

use quorate_env::Disk;

use crate::store::StoreError;

/// Name of the format file.
pub(in crate::store) const MANIFEST_NAME: &str = "log.format";

/// Name of the file that lists segments which a failed sync left in doubt.
pub(super) const SUSPECTS_NAME: &str = "log.suspect";

const FIRST_LINE: &str = "quorate-log 1";
const SEGMENT_PREFIX: &str = "log-";
const SEGMENT_SUFFIX: &str = ".segment";

/// How names of hint files end.
pub(super) const HINT_SUFFIX: &str = ".hint";

/// File name of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{SEGMENT_PREFIX}{segment:010}{SEGMENT_SUFFIX}")
}

/// File name of a segment's hint.
pub(super) fn hint_name(segment: u64) -> String {
    format!("{SEGMENT_PREFIX}{segment:010}{HINT_SUFFIX}")
}

/// The segments in a directory, oldest first.
pub(super) fn list_segments(disk: &dyn Disk) -> Result<Vec<u64>, StoreError> {
    numbered(disk, SEGMENT_SUFFIX)
}

/// The numbers of the files of a kind, in order.
pub(super) fn numbered(disk: &dyn Disk, suffix: &str) -> Result<Vec<u64>, StoreError> {
    let names = disk.list().map_err(|e| StoreError::io("the data directory", e))?;
    let number = |name: &String| name.strip_prefix(SEGMENT_PREFIX)?.strip_suffix(suffix)?.parse().ok();
    let mut segments: Vec<u64> = names.iter().filter_map(number).collect();
    segments.sort_unstable();
    Ok(segments)
}

/// What the format file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Segments whose files may still be there but count no more. Numbers are never used again.
    pub(super) retired: BTreeSet<u64>,
    /// Those of them that were gone already when this was written, which made that durable.
    /// Known in memory alone: after a restart it takes one more write to find out.
    gone: BTreeSet<u64>,
}

impl Manifest {
    /// Reads the format file of `disk`, or writes the first one of an empty log.
    pub(super) async fn open(disk: &dyn Disk, segments: &[u64]) -> Result<Self, StoreError> {
        match disk.read(MANIFEST_NAME) {
            Ok(bytes) => Self::parse(&bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                if let Some(segment) = segments.first() {
                    return Err(StoreError::Foreign {
                        file: segment_name(*segment),
                        says: format!(
                            "this directory has log segments but no {MANIFEST_NAME}; restore that file, or move the segments away to start empty"
                        ),
                    });
                }
                let manifest = Self::default();
                manifest.write(disk).await?;
                Ok(manifest)
            }
            Err(e) => Err(StoreError::io(MANIFEST_NAME, e)),
        }
    }

    /// The format file to write when `segment` is given up while `listed` files are there.
    pub(super) fn with_retired(&self, segment: u64, listed: &[u64]) -> Self {
        let mut retired: BTreeSet<u64> = self.retired.difference(&self.gone).copied().collect();
        let gone = retired.iter().filter(|segment| !listed.contains(segment)).copied().collect();
        retired.insert(segment);
        Self { retired, gone }
    }

    /// Makes this the durable format file.
    pub(super) async fn write(&self, disk: &dyn Disk) -> Result<(), StoreError> {
        let mut text = format!("{FIRST_LINE}\n");
        for segment in &self.retired {
            text += &format!("retired {segment}\n");
        }
        disk.write_atomic(MANIFEST_NAME, text.as_bytes()).await.map_err(|e| StoreError::io(MANIFEST_NAME, e))
    }

    fn parse(bytes: &[u8]) -> Result<Self, StoreError> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if first != FIRST_LINE {
            return Err(StoreError::Foreign {
                file: MANIFEST_NAME.into(),
                says: format!(
                    "found format `{first}`, this version reads `{FIRST_LINE}`; use the version that wrote it"
                ),
            });
        }
        let mut retired = BTreeSet::new();
        for line in lines {
            let segment = line.strip_prefix("retired ").and_then(|number| number.parse().ok());
            retired.insert(segment.ok_or_else(|| StoreError::Foreign {
                file: MANIFEST_NAME.into(),
                says: format!("line `{line}` is not understood"),
            })?);
        }
        Ok(Self { retired, gone: BTreeSet::new() })
    }
}

/// The segments in which a failed sync may have left bytes that are shown but not on disk.
pub(super) fn read_suspects(disk: &dyn Disk) -> Result<BTreeSet<u64>, StoreError> {
    match disk.read(SUSPECTS_NAME) {
        Ok(bytes) => {
            Ok(String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect())
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(e) => Err(StoreError::io(SUSPECTS_NAME, e)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use expect_test::expect;
    use futures_util::FutureExt;
    use quorate_env::SimulatedDisk;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_foreign_is_refused() {
        let disk = SimulatedDisk::new().mount();
        let manifest = Manifest { retired: [3, 17].into(), ..Manifest::default() };
        manifest.write(&*disk).now_or_never().unwrap().unwrap();
        assert_eq!(Manifest::open(&*disk, &[]).now_or_never().unwrap().unwrap(), manifest);

        let mut next = manifest.with_retired(20, &[17, 20]);
        assert_eq!(next.retired, [3, 17, 20].into(), "the file of 3 may come back until this is written");
        next = next.with_retired(21, &[17, 21]);
        assert_eq!(next.retired, [17, 20, 21].into());

        let refusal = |bytes: &[u8]| Manifest::parse(bytes).unwrap_err().to_string();
        expect!["log.format: found format `quorate-log 2`, this version reads `quorate-log 1`; use the version that wrote it"]
            .assert_eq(&refusal(b"quorate-log 2\n"));
        expect!["log.format: line `retired x` is not understood"]
            .assert_eq(&refusal(b"quorate-log 1\nretired x\n"));
        let without = SimulatedDisk::new().mount();
        let error = Manifest::open(&*without, &[4]).now_or_never().unwrap().unwrap_err();
        expect!["log-0000000004.segment: this directory has log segments but no log.format; restore that file, or move the segments away to start empty"]
            .assert_eq(&error.to_string());
    }
}
