//! Files that are deleted, replaced or emptied: nothing is confirmed that nobody will find, and no
//! new store hides the loss.

use std::{fs, path::Path, sync::Arc};

use store::{
    EmbeddedStore, NewEpoch, Store, StoreError, StoreOptions,
    operators::{self, Throttle},
};

use crate::writing::{eventually, put, whole};

fn open(dir: &Path) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(dir, StoreOptions::default()).unwrap())
}

fn refusal(dir: &Path) -> StoreError {
    EmbeddedStore::open(dir, StoreOptions::default()).err().expect("refused")
}

#[tokio::test]
async fn a_store_whose_files_are_deleted_refuses_writes_until_they_are_back() {
    for name in ["bridge.db", "bridge.db-wal", "bridge.lock", ""] {
        let outside = tempfile::tempdir().unwrap();
        let dir = outside.path().join("data");
        let store = open(&dir);
        let first = put(&store, "agent:a", 300).await.unwrap();
        let path = if name.is_empty() { dir.clone() } else { dir.join(name) };
        let elsewhere = outside.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        // Nobody writes, so only the store itself can find out.
        eventually("the store finds out that a file is gone", || !store.health().is_ready()).await;
        let refused = put(&store, "agent:a", 300).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Gone(gone) if gone.starts_with(&dir)), "{name}: {refused:?}");
        assert!(!refused.is_temporary() && refused.to_string().contains("was deleted or replaced"), "{refused}");
        assert_eq!(store.health().fault.as_ref(), Some(&refused));
        assert_eq!(whole(&*store, "agent:a").await.len(), 1, "reading goes on");

        fs::rename(&elsewhere, &path).unwrap();
        eventually("the store finds out that it is back", || store.health().is_ready()).await;
        let second = put(&store, "agent:a", 300).await.unwrap();
        drop(store);
        let found = whole(&*open(&dir), "agent:a").await;
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [first, second], "{name}");
    }
}

#[tokio::test]
async fn a_busy_store_confirms_nothing_more_once_its_file_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(store::DATABASE);
    let store = open(dir.path());
    put(&store, "agent:a", 300).await.unwrap();
    let copy = dir.path().join("copy");
    fs::copy(&path, &copy).unwrap();
    fs::rename(&copy, &path).unwrap();
    let mut confirmed = 0;
    while put(&store, "agent:a", 300).await.is_ok() {
        confirmed += 1;
        assert!(confirmed < 1_000_000, "the store never finds out");
    }
    for _ in 0..100 {
        assert!(matches!(put(&store, "agent:a", 300).await, Err(StoreError::Gone(_))));
    }
}

#[tokio::test]
async fn a_store_that_lost_its_folder_leaves_the_one_that_is_there_now_alone() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("data");
    let lost = open(&dir);
    put(&lost, "agent:a", 300).await.unwrap();
    fs::rename(&dir, outside.path().join("elsewhere")).unwrap();
    let store = open(&dir);
    let first = put(&store, "agent:b", 300).await.unwrap();
    while put(&lost, "agent:a", 300).await.is_ok() {}
    drop(lost);
    let second = put(&store, "agent:b", 300).await.unwrap();
    assert!(store.health().is_ready() && dir.join("bridge.db-wal").exists());
    drop(store);
    let found = whole(&*open(&dir), "agent:b").await;
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [first, second]);
}

#[tokio::test]
async fn deleting_the_lock_lets_no_second_store_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    fs::remove_file(dir.path().join("bridge.lock")).unwrap();
    let refused = refusal(dir.path());
    assert!(matches!(&refused, StoreError::Locked { path, .. } if path.ends_with(store::DATABASE)), "{refused:?}");
    drop(store);
    open(dir.path());
}

#[tokio::test]
async fn an_emptied_store_is_refused_and_a_restored_one_is_not() {
    let outside = tempfile::tempdir().unwrap();
    let dir = outside.path().join("data");
    let backup = outside.path().join("backup.db");
    let path = dir.join(store::DATABASE);
    let store = open(&dir);
    put(&store, "agent:a", 300).await.unwrap();
    operators::backup(&dir, &backup, Throttle::default()).unwrap();
    drop(store);
    for empties in [|path: &Path| fs::write(path, ""), |path: &Path| fs::remove_file(path)] {
        empties(&path).unwrap();
        for _ in 0..2 {
            let refused = refusal(&dir);
            assert!(matches!(&refused, StoreError::Emptied { trace, .. } if trace.ends_with("bridge.lock")), "{refused:?}");
            assert!(refused.to_string().contains("store restore") && refused.to_string().contains("delete"), "{refused}");
        }
        operators::restore(&backup, &dir).unwrap();
        assert_eq!(whole(&*open(&dir), "agent:a").await.len(), 1);
    }
    // Whoever wants an empty store says so.
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(open(&dir).health().records, 0);
}

#[tokio::test]
async fn a_log_without_its_database_is_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("bridge.db-wal");
    fs::write(&log, "what a database has yet to get").unwrap();
    let refused = refusal(dir.path());
    assert!(matches!(&refused, StoreError::Emptied { trace, .. } if *trace == log), "{refused:?}");
    assert!(log.exists() && !dir.path().join(store::DATABASE).exists());
    fs::remove_file(&log).unwrap();
    open(dir.path());
}

/// Copies the files of a folder into a new one.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_was_put_back_begins_a_new_epoch_and_a_moved_one_does_not() {
    let outside = tempfile::tempdir().unwrap();
    let [dir, saved, moved] = ["data", "saved", "moved"].map(|name| outside.path().join(name));
    let store = open(&dir);
    let (epoch, early) = (store.epoch(), put(&store, "agent:a", 300).await.unwrap());
    assert_eq!(store.health().new_epoch, None);
    drop(store);
    copy_folder(&dir, &saved);
    let store = open(&dir);
    assert_eq!((store.epoch(), store.health().new_epoch), (epoch, None), "the same file");
    put(&store, "agent:a", 300).await.unwrap();
    drop(store);

    fs::remove_dir_all(&dir).unwrap();
    copy_folder(&saved, &dir);
    let store = open(&dir);
    let begun = store.epoch();
    assert_ne!(begun, epoch);
    assert_eq!(store.health().new_epoch, Some(NewEpoch::CopiedFile));
    assert_eq!(whole(&*store, "agent:a").await.into_keys().collect::<Vec<_>>(), [early], "what is in it is served");
    drop(store);

    fs::rename(&dir, &moved).unwrap();
    let store = open(&moved);
    assert_eq!((store.epoch(), store.health().new_epoch), (begun, None));
}
