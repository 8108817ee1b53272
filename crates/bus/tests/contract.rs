//! The contract of the bus, kept by both local backends.

use bus::{EmbeddedBus, MemoryBus, Settings, contract};

#[test]
fn the_memory_bus_keeps_the_contract() {
    contract::all(MemoryBus::default);
}

#[test]
fn the_embedded_log_keeps_the_contract() {
    let mut folders = Vec::new();
    contract::all(|| {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(folder.path(), Settings::default()).unwrap();
        folders.push(folder);
        bus
    });
}

#[test]
fn the_embedded_log_keeps_the_contract_with_little_room() {
    let settings = Settings {
        compression: bus::Compression::None,
        pending_bytes_max: 1024 * 1024,
        memtable_bytes_max: 256 * 1024,
        cache_bytes: 1024 * 1024,
        ..Settings::default()
    };
    let mut folders = Vec::new();
    contract::all(|| {
        let folder = tempfile::tempdir().unwrap();
        let bus = EmbeddedBus::open(folder.path(), settings.clone()).unwrap();
        folders.push(folder);
        bus
    });
}
