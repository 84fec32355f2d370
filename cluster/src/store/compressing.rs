//! An engine whose values are compressed before another one stores them.
//!
//! It lies in front of the engine, so that the engine's checksum covers the compressed bytes: what
//! has rotted is found before anything is decompressed. One byte before each value says how it is
//! stored; a value that would not get smaller is stored as it is. Which compression a store has is
//! part of its definition and never changes, so without one there is no such byte.

use std::sync::Arc;

use bytes::Bytes;
use quorate_env::BoxFuture;

use super::engine::VALUE_BYTES_MAX;
use super::{Engine, Pace, Position, Promise, Stats, StoreError, Write};
use crate::config::Compression;

const RAW: u8 = 0;
const LZ4: u8 = 1;
const ZSTD: u8 = 2;

/// zstd's cheapest level, since every write waits for it.
const ZSTD_LEVEL: i32 = 1;

/// A byte that says so, then the length of the value, precede what LZ4 makes of it.
const LZ4_START: usize = 5;

/// Values shorter than this are stored as they are: there is nothing to gain.
const BYTES_MIN: usize = 64;

/// Another engine, with its values compressed.
pub struct Compressing {
    engine: Arc<dyn Engine>,
    compression: Compression,
}

impl Compressing {
    /// `engine` with values compressed so. With [`Compression::None`] it is `engine` itself.
    #[must_use]
    pub fn around(engine: Arc<dyn Engine>, compression: Compression) -> Arc<dyn Engine> {
        match compression {
            Compression::None => engine,
            Compression::Lz4 | Compression::Zstd => Arc::new(Self { engine, compression }),
        }
    }

    fn restore(&self, key: &[u8], stored: &Bytes) -> Result<Bytes, StoreError> {
        // Passed the engine's checksum, so it is what some version wrote; this one cannot read it.
        unpack(stored).ok_or_else(|| StoreError::damaged(key, "a value whose compression is not known"))
    }
}

/// How `value` is stored.
fn pack(compression: Compression, value: &[u8]) -> Bytes {
    let mut packed = Vec::new();
    if value.len() >= BYTES_MIN {
        match compression {
            Compression::None => {}
            Compression::Lz4 => {
                packed.resize(LZ4_START + lz4_flex::block::get_maximum_output_size(value.len()), 0);
                packed[0] = LZ4;
                let len = u32::try_from(value.len()).expect("lengths are checked before");
                packed[1..LZ4_START].copy_from_slice(&len.to_le_bytes());
                let written = lz4_flex::block::compress_into(value, &mut packed[LZ4_START..]);
                packed.truncate(LZ4_START + written.expect("there is room for the most that it can be"));
            }
            Compression::Zstd => match zstd::bulk::compress(value, ZSTD_LEVEL) {
                Ok(compressed) => {
                    packed.reserve_exact(1 + compressed.len());
                    packed.push(ZSTD);
                    packed.extend_from_slice(&compressed);
                }
                // Only for want of memory; stored as it is then.
                Err(error) => tracing::warn!(%error, "a value could not be compressed"),
            },
        }
    }
    if packed.is_empty() || packed.len() > value.len() {
        packed = Vec::with_capacity(1 + value.len());
        packed.push(RAW);
        packed.extend_from_slice(value);
    }
    packed.into()
}

/// The value that was packed so, if it was.
fn unpack(stored: &Bytes) -> Option<Bytes> {
    match *stored.first()? {
        RAW => Some(stored.slice(1..)),
        LZ4 => {
            let (len, packed) = stored[1..].split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= VALUE_BYTES_MAX)?;
            let value = lz4_flex::block::decompress(packed, len).ok()?;
            (value.len() == len).then(|| value.into())
        }
        ZSTD => {
            let len = zstd::zstd_safe::get_frame_content_size(&stored[1..]).ok()??;
            let len = usize::try_from(len).ok().filter(|len| *len <= VALUE_BYTES_MAX)?;
            zstd::bulk::decompress(&stored[1..], len).ok().map(Into::into)
        }
        _ => None,
    }
}

impl Engine for Compressing {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine.get(key)?.map(|stored| self.restore(key, &stored)).transpose()
    }

    fn apply(&self, batch: Vec<Write>, promise: Promise) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            batch.iter().try_for_each(Write::check)?;
            let packed = batch.into_iter().map(|write| match write {
                Write::Put { key, value } => Write::Put { key, value: pack(self.compression, &value) },
                Write::Delete { key } => Write::Delete { key },
            });
            self.engine.apply(packed.collect(), promise).await
        })
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let stored = self.engine.scan(prefix, after, limit)?;
        let restored = stored.into_iter().map(|(key, stored)| {
            let value = self.restore(&key, &stored)?;
            Ok((key, value))
        });
        restored.collect()
    }

    fn keys(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.engine.keys(prefix, after, limit)
    }

    fn flush(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.engine.flush()
    }

    fn damaged(&self) -> Vec<Vec<u8>> {
        self.engine.damaged()
    }

    fn compact_step<'a>(&'a self, pace: &'a dyn Pace) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.engine.compact_step(pace)
    }

    fn strongest(&self) -> Promise {
        self.engine.strongest()
    }

    /// Bytes are those that are stored.
    fn stats(&self) -> Stats {
        self.engine.stats()
    }
}
