//! Check, backup, restore, compact.

use std::{sync::Arc, time::Duration};

use store::{
    Durability, EmbeddedOptions, EmbeddedStore, Nack, Policies, Store, StoreError, StoreOptions, operators, operators::Throttle,
};

use crate::writing::{channel, put, record, whole};

fn open(dir: &std::path::Path) -> Arc<EmbeddedStore> {
    let options = StoreOptions { embedded: EmbeddedOptions::with(Durability::Process), ..StoreOptions::default() };
    Arc::new(EmbeddedStore::open(dir, options).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_serving_store_is_whole_and_begins_a_new_history() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..300 {
        put(&store, "agent:a", 2_000).await.unwrap();
    }
    let until_now = whole(&*store, "agent:a").await;
    let copy = dir.path().join("copy.db");
    let backing_up = tokio::task::spawn_blocking({
        let (dir, copy) = (dir.path().to_owned(), copy.clone());
        move || operators::backup(&dir, &copy, Throttle { pages: 2, pause: Duration::from_millis(1) })
    });
    let mut meanwhile = 0;
    while !backing_up.is_finished() {
        put(&store, "agent:a", 2_000).await.unwrap();
        meanwhile += 1;
    }
    let copied = backing_up.await.unwrap().unwrap();
    assert!(copied.bytes > 300 * 2_000 && meanwhile > 10, "{copied:?}, {meanwhile} meanwhile");
    assert!(operators::backup(dir.path(), &copy, Throttle::default()).is_err(), "nothing is overwritten");

    // Just copied into place, without any command.
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(&copy, other.path().join(store::DATABASE)).unwrap();
    let report = operators::check(other.path()).unwrap();
    assert_eq!((&report.problems[..], report.epoch), (&[][..], None));
    let restored = open(other.path());
    assert_ne!(restored.epoch(), store.epoch());
    let found = whole(&*restored, "agent:a").await;
    assert!(until_now.iter().all(|(seq, id)| found.get(seq) == Some(id)));
}

#[tokio::test]
async fn a_restored_store_goes_on_above_both() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let epoch = store.epoch();
    let early = put(&store, "agent:a", 300).await.unwrap();
    let copy = dir.path().join("copy.db");
    operators::backup(dir.path(), &copy, Throttle::default()).unwrap();
    let late = put(&store, "agent:a", 300).await.unwrap();
    assert!(matches!(operators::restore(&copy, dir.path()), Err(StoreError::Locked { .. })));
    drop(store);

    let restored = operators::restore(&copy, dir.path()).unwrap();
    assert_eq!(restored.records, 1);
    let replaced = restored.replaced.unwrap();
    assert!(replaced.exists());
    let store = open(dir.path());
    assert_ne!(store.epoch(), epoch);
    assert_eq!(whole(&*store, "agent:a").await.into_keys().collect::<Vec<_>>(), [early]);
    assert!(store.reserve(1).await.unwrap().start > late);
    drop(store);
    // The replaced file can be restored in turn.
    operators::restore(&replaced, dir.path()).unwrap();
    assert_eq!(whole(&*open(dir.path()), "agent:a").await.into_keys().collect::<Vec<_>>(), [early, late]);

    let empty = tempfile::tempdir().unwrap();
    assert_eq!(operators::restore(&copy, empty.path()).unwrap().replaced, None);
    assert_eq!(whole(&*open(empty.path()), "agent:a").await.len(), 1);
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, "agent:a", 300).await.unwrap();
    let copy = dir.path().join("copy.db");
    operators::backup(dir.path(), &copy, Throttle::default()).unwrap();
    drop(store);
    let damaged = rusqlite::Connection::open(&copy).unwrap();
    damaged.execute("UPDATE channels SET records = 7", []).unwrap();
    drop(damaged);
    assert!(matches!(operators::restore(&copy, dir.path()), Err(StoreError::Corrupt(_))));
    assert_eq!(whole(&*open(dir.path()), "agent:a").await.len(), 1);
}

#[tokio::test]
async fn check_says_what_does_not_agree() {
    let dir = tempfile::tempdir().unwrap();
    assert!(operators::check(dir.path()).is_err(), "an empty directory is not a store, nor becomes one");
    assert!(!dir.path().join(store::DATABASE).exists());
    let store = open(dir.path());
    for _ in 0..3 {
        put(&store, "agent:a", 100).await.unwrap();
    }
    let report = operators::check(dir.path()).unwrap();
    assert_eq!((&report.problems[..], report.epoch), (&[][..], Some(store.epoch())));
    assert_eq!((report.channels, report.records, report.bytes, report.unacked), (1, 3, 300, 3));
    // First with its place in the indexes still to be taken, then with it.
    assert_eq!(problems_without_the_oldest(dir.path()), 2);
    store.trim(0, 1).await.unwrap();
    assert_eq!(problems_without_the_oldest(dir.path()), 6);
}

/// Removes a record behind the store's back, and counts the problems found.
fn problems_without_the_oldest(dir: &std::path::Path) -> usize {
    let conn = rusqlite::Connection::open(dir.join(store::DATABASE)).unwrap();
    conn.execute("DELETE FROM records WHERE seq = (SELECT min(seq) FROM records)", []).unwrap();
    let problems = operators::check(dir).unwrap().problems;
    println!("{problems:#?}");
    problems.len()
}

#[tokio::test]
async fn compacting_gives_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut policies = Policies::default();
    for family in store::ChannelFamily::ALL {
        policies.set(family, store::FamilyPolicy::default());
    }
    let options = StoreOptions { embedded: EmbeddedOptions::with(Durability::Process), policies, ..StoreOptions::default() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    let mut last = 0;
    for _ in 0..500 {
        last = put(&store, "agent:a", 4_000).await.unwrap();
    }
    assert!(matches!(operators::compact(dir.path()), Err(StoreError::Locked { .. })));
    let epoch = store.epoch();
    drop(store);
    // With bounds again, a serving store removes the records. How much it gives back by itself
    // depends on how much is free.
    let store = open(dir.path());
    store.ack(crate::writing::channel("agent:a"), store::Ack::Through(last)).await.unwrap();
    while store.trim(u64::MAX >> 12, 1_000).await.unwrap().more {}
    assert_eq!(store.health().records, 0);
    drop(store);
    let compacted = operators::compact(dir.path()).unwrap();
    assert!(compacted.after <= compacted.before && compacted.after < 400_000, "{compacted:?}");
    assert_eq!(open(dir.path()).epoch(), epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_sound_in_whatever_order_its_indexes_are_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut numbers = store.reserve(1_000).await.unwrap();
    let mut next = || numbers.next().unwrap();
    for _ in 0..60 {
        store.append(vec![record("topic:t", next(), 10)]).await.unwrap();
        let waiting = next();
        store.append(vec![record("agent:a", waiting, 10)]).await.unwrap();
        // In one batch, if they meet: one needs the index of an inbox, which makes all indexes
        // complete; the next appends to the topic again.
        let nack = Nack { not_before: 0, reason: String::new() };
        let nacked = store.nack(channel("agent:a"), waiting, nack);
        let appended = store.append(vec![record("topic:t", next(), 10)]);
        assert!(nacked.await.unwrap().is_some());
        appended.await.unwrap();
        assert_eq!(operators::check(dir.path()).unwrap().problems, Vec::<String>::new());
    }
}
