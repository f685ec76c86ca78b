//! Opening: what is refused, and that nothing is left behind.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use common::id::ClientName;
use store::{
    ConsumerId, EmbeddedStore, Store, StoreError, StoreOptions,
    operators::{self, Throttle},
};

use crate::writing::{channel, eventually, put, record, whole};

fn refusal(dir: &std::path::Path, options: StoreOptions) -> StoreError {
    EmbeddedStore::open(dir, options).err().expect("refused")
}

#[tokio::test]
async fn two_brokers_do_not_share_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap();
    let refused = refusal(dir.path(), StoreOptions::default());
    assert!(matches!(&refused, StoreError::Locked { holder, .. } if *holder == std::process::id().to_string()), "{refused:?}");
    assert!(refused.to_string().contains("bridge.lock"), "{refused}");
    // After it is closed, it can be opened.
    store.close().await.unwrap();
    EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_release_or_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
    let conn = rusqlite::Connection::open(dir.path().join(store::DATABASE)).unwrap();
    conn.pragma_update(None, "user_version", 900).unwrap();
    let refused = refusal(dir.path(), StoreOptions::default());
    assert!(matches!(refused, StoreError::NewerSchema { found: 900, .. }), "{refused:?}");

    let dir = tempfile::tempdir().unwrap();
    let conn = rusqlite::Connection::open(dir.path().join(store::DATABASE)).unwrap();
    conn.execute_batch("CREATE TABLE theirs (n)").unwrap();
    assert!(matches!(refusal(dir.path(), StoreOptions::default()), StoreError::NotAStore(_)));

    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(store::DATABASE), "no database at all, but long enough to be taken for a header".repeat(20))
        .unwrap();
    let refused = refusal(dir.path(), StoreOptions::default());
    assert!(matches!(refused, StoreError::Corrupt(_)), "{refused:?}");
    assert!(!refused.is_temporary());
}

#[tokio::test]
async fn closing_leaves_one_file_and_reopening_finds_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = std::sync::Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
    for _ in 0..10 {
        put(&store, "agent:a", 300).await.unwrap();
    }
    drop(store);
    let mut names: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["bridge.db", "bridge.lock"]);
    let store = EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap();
    assert_eq!(whole(&store, "agent:a").await.len(), 10);
}

/// Names in a folder that others than the owner may use.
fn open_to_others(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.chain([dir.to_owned()]).filter(|path| fs::metadata(path).unwrap().mode() & 0o077 != 0).collect()
}

#[tokio::test]
async fn every_file_is_the_owners_alone_also_one_that_was_not() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("data");
    let none: [PathBuf; 0] = [];
    let store = std::sync::Arc::new(EmbeddedStore::open(&dir, StoreOptions::default()).unwrap());
    put(&store, "agent:a", 300).await.unwrap();
    for name in ["bridge.db", "bridge.db-wal", "bridge.db-shm", "bridge.lock"] {
        assert!(dir.join(name).exists(), "{name}");
    }
    assert_eq!(open_to_others(&dir), none);
    let copy = outside.path().join("copy.db");
    operators::backup(&dir, &copy, Throttle::default()).unwrap();
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o777, 0o600);
    drop(store);

    // As an older release left it.
    for entry in fs::read_dir(&dir).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
    operators::restore(&copy, &dir).unwrap();
    assert_eq!(open_to_others(&dir), none);
    fs::set_permissions(dir.join("bridge.db"), fs::Permissions::from_mode(0o644)).unwrap();
    let store = std::sync::Arc::new(EmbeddedStore::open(&dir, StoreOptions::default()).unwrap());
    put(&store, "agent:a", 300).await.unwrap();
    assert_eq!(open_to_others(&dir), none);
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let refused = refusal(&dir.path().join("file"), StoreOptions::default());
    assert!(matches!(refused, StoreError::Io(_)), "{refused:?}");
}

#[tokio::test]
async fn ids_beyond_the_window_are_not_kept_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path(), StoreOptions { dedup_max: 50, ..StoreOptions::default() }).unwrap();
    for _ in 0..60 {
        let numbers = store.reserve(200).await.unwrap();
        store.append(numbers.map(|seq| record("topic:t", seq, 10)).collect()).await.unwrap();
    }
    drop(store);
    let conn = rusqlite::Connection::open(dir.path().join(store::DATABASE)).unwrap();
    let rows: u64 = conn.query_row("SELECT count(*) FROM commits", [], |row| row.get(0)).unwrap();
    assert!(rows < 30, "{rows} of 60 commits");
}

#[tokio::test]
async fn a_store_without_room_on_its_disk_is_not_ready_and_takes_no_new_positions() {
    let dir = tempfile::tempdir().unwrap();
    let reader = ConsumerId::of_client("session:s", &ClientName::new("tab").unwrap(), false);
    let (known, new) = (channel("topic:known"), channel("topic:new"));
    let store = EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap();
    store.save_cursors(reader.clone(), vec![(known.clone(), 1)], None, 1).await.unwrap();
    assert!(store.health().is_ready());
    drop(store);

    let reserve = u64::MAX;
    let options = StoreOptions { disk_reserve: reserve, ..StoreOptions::default() };
    let store = std::sync::Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    eventually("the disk is measured", || !store.health().is_ready()).await;
    assert_eq!(store.health().fault, Some(StoreError::DiskReserve { reserve: reserve / 2 }));
    let refused = store.save_cursors(reader.clone(), vec![(new.clone(), 2), (known.clone(), 2)], None, 2).await;
    assert_eq!(refused, Err(StoreError::DiskReserve { reserve }));
    // The positions of agents have the whole reserve, and the store's own records have no bound.
    let agent = ConsumerId::of_client("agent:a", &ClientName::new("tab").unwrap(), false);
    let refused = store.save_cursors(agent, vec![(new.clone(), 2)], None, 2).await;
    assert_eq!(refused, Err(StoreError::DiskReserve { reserve: reserve / 2 }));
    store.save_cursors(ConsumerId::told_of_dead_letters(), vec![(new, 2)], None, 2).await.unwrap();
    // What is known moves on.
    assert_eq!(store.cursors(reader).await.unwrap(), [(known, 2)]);
}
