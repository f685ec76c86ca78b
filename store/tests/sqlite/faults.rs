//! Full disks, failing syncs, crowds: nothing is confirmed falsely, and service resumes by itself.

use std::sync::Arc;

use futures_util::future::join_all;
use store::{Durability, EmbeddedOptions, EmbeddedStore, Kind, NewRecord, OwnerKey, Standing, Store, StoreError, StoreOptions};

use crate::{
    chance::Chance,
    fault_disk::{FaultDisk, VFS},
    writing::{eventually, put, record, whole},
};

fn options() -> StoreOptions {
    StoreOptions {
        embedded: EmbeddedOptions { checkpoint_bytes: 64 * 1024, vfs: Some(VFS.to_owned()), ..EmbeddedOptions::default() },
        ..StoreOptions::default()
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_the_store_resumes_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::under(dir.path());
    let store = Arc::new(EmbeddedStore::open(dir.path(), options()).unwrap());
    let first = put(&store, "agent:a", 300).await.unwrap();
    let numbers = store.reserve(20).await.unwrap();

    disk.set_full(true);
    let refused = join_all(numbers.clone().take(10).map(|seq| store.append(vec![record("agent:a", seq, 300)]))).await;
    assert!(refused.iter().all(|answer| *answer == Err(StoreError::DiskFull)), "{refused:?}");
    assert_eq!(store.reserve(1).await, Err(StoreError::DiskFull));
    let health = store.health();
    assert_eq!(health.fault, Some(StoreError::DiskFull));
    assert!(!health.is_ready());
    // Reading goes on.
    assert_eq!(whole(&*store, "agent:a").await.len(), 1);

    disk.set_full(false);
    // Nobody writes, so only the store itself can find out.
    eventually("the store finds out that there is space", || store.health().is_ready()).await;
    let second = numbers.clone().next_back().unwrap();
    store.append(vec![record("agent:a", second, 300)]).await.unwrap();
    drop(store);
    let store = EmbeddedStore::open(dir.path(), options()).unwrap();
    assert_eq!(whole(&store, "agent:a").await.into_keys().collect::<Vec<_>>(), [first, second]);
    assert_eq!((store.health().records, store.health().channels), (1 + 1, 1));
}

#[tokio::test]
async fn messages_refused_for_a_full_disk_can_be_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::under(dir.path());
    let store = Arc::new(EmbeddedStore::open(dir.path(), options()).unwrap());
    let numbers = store.reserve(2).await.unwrap();
    disk.set_full(true);
    let message = record("agent:new", numbers.start, 300);
    assert!(store.append(vec![message.clone()]).await.is_err());
    disk.set_full(false);
    let answer = store.append(vec![message]).await.unwrap();
    assert!(matches!(answer.as_slice(), [store::Appended::Stored { .. }]), "{answer:?}");
    assert_eq!(store.health().duplicates, 0);
}

#[tokio::test]
async fn accounts_survive_a_batch_that_fails_while_many_others_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::under(dir.path());
    let store = Arc::new(EmbeddedStore::open(dir.path(), options()).unwrap());
    let owner = |address: u32| OwnerKey {
        standing: Standing::Anonymous,
        sender: format!("session:00000000-0000-4000-8000-{address:012}"),
        user: None,
        address: Some(format!("10.0.{}.{}", address / 256, address % 256)),
        key: None,
    };
    let numbers = store.reserve(3).await.unwrap();
    let of = |address: u32, seq| NewRecord { owner: Some(store.owner(&owner(address))), ..record("agent:a", seq, 300) };
    store.append(vec![of(0, numbers.start)]).await.unwrap();
    disk.set_full(true);
    assert_eq!(store.append(vec![of(1, numbers.start + 1)]).await, Err(StoreError::DiskFull));
    // So many that unused owners are removed.
    (2..20_000).for_each(|address| drop(store.owner(&owner(address))));
    disk.set_full(false);
    store.append(vec![of(1, numbers.start + 2)]).await.unwrap();
    let mut charged = store.usage().fullest;
    charged.retain(|(kind, ..)| *kind == Kind::Address);
    let used = |address: &str| charged.iter().find(|(_, name, _)| name == address).map_or(0, |(.., used)| used.records);
    assert_eq!((used("10.0.0.0"), used("10.0.0.1")), (1, 1), "{charged:?}");
}

#[tokio::test]
async fn a_failed_sync_is_not_confirmed_and_what_follows_is_safe() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FaultDisk::under(dir.path());
    let mut chance = Chance::from_environment("failing syncs");
    let store = Arc::new(EmbeddedStore::open(dir.path(), options()).unwrap());
    let mut confirmed = Vec::new();
    for round in 0..30 {
        disk.fail_syncs(u32::from(round % 3 == 1));
        match put(&store, "agent:a", 2_000).await {
            Ok(seq) => confirmed.push(seq),
            Err(error) => assert!(matches!(error, StoreError::Io(_)), "{error:?}"),
        }
    }
    assert!((20..30).contains(&confirmed.len()), "{}", confirmed.len());
    let after = tempfile::tempdir().unwrap();
    disk.cut_power(after.path(), &mut chance);
    let restarted = EmbeddedStore::open(after.path(), StoreOptions::default()).unwrap();
    let found = whole(&restarted, "agent:a").await;
    assert!(confirmed.iter().all(|seq| found.contains_key(seq)), "{confirmed:?} {found:?}");
}

#[tokio::test]
async fn a_crowd_is_refused_at_the_bound_and_let_in_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { queue_writes: 8, embedded: EmbeddedOptions::with(Durability::Process), ..StoreOptions::default() };
    let store = Arc::new(EmbeddedStore::open(dir.path(), options).unwrap());
    let numbers = store.reserve(2_000).await.unwrap();
    let calls: Vec<_> = numbers.clone().map(|seq| store.append(vec![record("agent:a", seq, 300)])).collect();
    let answers = join_all(calls).await;
    let stored: Vec<u64> = numbers.zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(seq, _)| seq).collect();
    assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(StoreError::Busy)));
    assert!(stored.len() >= 8 && stored.len() < 2_000, "{}", stored.len());
    assert_eq!(whole(&*store, "agent:a").await.into_keys().collect::<Vec<_>>(), stored);
    put(&store, "agent:a", 300).await.unwrap();
}

#[tokio::test]
async fn writes_that_come_together_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
    let numbers = store.reserve(500).await.unwrap();
    let before = store.health().commits;
    let calls: Vec<_> = numbers.map(|seq| store.append(vec![record("agent:a", seq, 300)])).collect();
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let commits = store.health().commits - before;
    assert!(commits < 250, "{commits} commits for 500 writes");
}
