//! What is stored of a value, and that rot is found before anything is decompressed.

use rand::Rng;

use super::*;

/// Something that compresses, something that does not, something short, nothing.
fn samples() -> Vec<Vec<u8>> {
    let mut noise = vec![0; 5000];
    random(1).fill_bytes(&mut noise);
    let text = "a value of which much is said again and again, ".repeat(100).into_bytes();
    vec![text, noise, b"short".to_vec(), Vec::new(), vec![0; 1 << 20]]
}

async fn open_compressed(disk: &SimulatedDisk, compression: Compression) -> Arc<dyn Engine> {
    open_with(EngineKind::Log, compression, disk.mount(), None, LogOptions::default()).await.unwrap()
}

#[tokio::test]
async fn values_come_back_as_they_were_and_take_less_where_they_can() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let disk = SimulatedDisk::new();
        for value in samples() {
            let engine = open_compressed(&disk, compression).await;
            let key = format!("{compression:?}{}", value.len());
            let before = disk.used();
            engine.apply(vec![put(&key, &value)], Promise::Synced).await.unwrap();
            let stored = disk.used() - before;
            let (least, most) = match value.len() {
                4700 => (0, 400),
                1_048_576 => (0, 10_000),
                // One byte says that it is stored as it is, the rest is the record's.
                len => (len as u64 + 1, len as u64 + 100),
            };
            assert!((least..most).contains(&stored), "{compression:?}: {stored} for {}", value.len());
            assert_eq!(engine.get(key.as_bytes()).unwrap().unwrap(), value);
            assert_eq!(engine.scan(key.as_bytes(), None, 1).unwrap()[0].1, value);
            disk.kill();
            let engine = open_compressed(&disk, compression).await;
            assert_eq!(engine.get(key.as_bytes()).unwrap().unwrap(), value);
        }
    }
}

#[tokio::test]
async fn rot_of_what_is_stored_is_damage_and_never_another_value() {
    for compression in [Compression::Lz4, Compression::Zstd] {
        let value = samples().remove(0);
        let disk = SimulatedDisk::new();
        let engine = open_compressed(&disk, compression).await;
        engine.apply(vec![put("k", &value)], Promise::Synced).await.unwrap();
        let (name, len) = (newest_segment(&disk), disk.mount().read(&newest_segment(&disk)).unwrap().len());
        let value_start = 32 + 1;
        for at in value_start..len as u64 {
            disk.flip_byte(&name, at).unwrap();
            let engine = open_compressed(&disk, compression).await;
            assert!(matches!(engine.get(b"k"), Err(StoreError::Damaged { .. })), "byte {at}");
            disk.flip_byte(&name, at).unwrap();
        }
        assert_eq!(open_compressed(&disk, compression).await.get(b"k").unwrap().unwrap(), value);
    }
}
