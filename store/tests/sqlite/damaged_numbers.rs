//! Numbers that no store has written, and rows that are missing: the start refuses the file and
//! says that it is damaged, or the channel is refused. Nothing is calculated with them.

use std::{path::Path, sync::Arc};

use store::{EmbeddedStore, Limits, NewRecord, PendingQuery, ReadFrom, Store, StoreError, StoreOptions, operators};

use crate::writing::{channel, put, record};

const INBOX: &str = "agent:a";
const TOPIC: &str = "topic:t";

/// A store with messages that the indexes have, and perhaps some that they lack.
async fn filled(dir: &Path, with_unplaced: bool) {
    let store = Arc::new(EmbeddedStore::open(dir, StoreOptions::default()).unwrap());
    for last in [false, true] {
        for name in [INBOX, TOPIC] {
            let numbers = store.reserve(3).await.unwrap();
            let records = numbers.map(|seq| {
                let new = record(name, seq, 300);
                let delivery = new.delivery.filter(|_| name == INBOX);
                NewRecord { delivery, ..new }
            });
            store.append(records.collect()).await.unwrap();
        }
        if !last || !with_unplaced {
            store.trim(0, 1).await.unwrap();
        }
    }
}

fn change(dir: &Path, sql: &str) {
    let conn = rusqlite::Connection::open(dir.join(store::DATABASE)).unwrap();
    assert!(conn.execute(sql, []).unwrap() > 0, "{sql}");
}

#[tokio::test]
async fn a_store_with_impossible_numbers_is_refused_as_damaged() {
    let huge = i64::MAX;
    let list = "WHERE length(unplaced) > 0";
    // Of the first record in a list: its number, its bytes.
    let at = |place: u32| {
        format!(
            "UPDATE commits SET unplaced = CAST(substr(unplaced, 1, {place}) || x'ffffffffffffff7f' || substr(unplaced, {place} + 9) AS BLOB) {list}"
        )
    };
    let changes = [
        format!("UPDATE channels SET bytes = {huge}"),
        format!("UPDATE channels SET records = {huge} WHERE id = 1"),
        "UPDATE channels SET records = -1".to_owned(),
        format!("UPDATE meta SET value = {huge} WHERE name = 'next_seq'"),
        "UPDATE meta SET value = 'text' WHERE name = 'next_seq'".to_owned(),
        "DELETE FROM meta WHERE name = 'next_seq'".to_owned(),
        format!("UPDATE meta SET value = {huge} WHERE name = 'placed'"),
        "UPDATE meta SET value = 'text' WHERE name = 'placed'".to_owned(),
        "DELETE FROM meta WHERE name = 'placed'".to_owned(),
        "DELETE FROM meta".to_owned(),
        "DELETE FROM channels".to_owned(),
        at(0),
        at(16),
    ];
    let original = tempfile::tempdir().unwrap();
    filled(original.path(), true).await;
    for sql in changes {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(original.path().join(store::DATABASE), dir.path().join(store::DATABASE)).unwrap();
        change(dir.path(), &sql);
        let refused = EmbeddedStore::open(dir.path(), StoreOptions::default()).err().expect(&sql);
        let told = refused.to_string();
        assert!(matches!(refused, StoreError::Corrupt(_)), "{sql}: {refused:?}");
        assert!(told.contains("bridge.db") && told.contains("store check") && told.contains("store restore"), "{sql}: {told}");
        let report = operators::check(dir.path()).unwrap();
        assert!(!report.problems.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn impossible_numbers_of_one_channel_are_damage_of_it() {
    let huge = i64::MAX;
    let changes = [
        format!("UPDATE channels SET head = {huge} WHERE name = '{INBOX}'"),
        format!("UPDATE channels SET unacked = {huge} WHERE name = '{INBOX}'"),
        format!("UPDATE channels SET appended = {huge} WHERE name = '{INBOX}'"),
        format!("UPDATE unacked SET attempts = {huge}"),
        format!("UPDATE unacked SET attempts = {}", u32::MAX),
    ];
    let original = tempfile::tempdir().unwrap();
    filled(original.path(), false).await;
    for sql in changes {
        let dir = tempfile::tempdir().unwrap();
        std::fs::copy(original.path().join(store::DATABASE), dir.path().join(store::DATABASE)).unwrap();
        change(dir.path(), &sql);
        let store = Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).expect(&sql));
        let limits = Limits { records: 100, bytes: u64::MAX };
        let query = PendingQuery { due_before: u64::MAX, after: 0, limits };
        drop(store.pending(channel(INBOX), query).await);
        drop(put(&store, INBOX, 10).await);
        let refusal = store.refuses(&channel(INBOX)).expect(&sql);
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{sql}: {refusal:?}");
        assert!(!store.health().is_ready(), "{sql}");
        // The others are left alone.
        put(&store, TOPIC, 10).await.expect(&sql);
        assert!(store.read(channel(TOPIC), ReadFrom::After(0), limits).await.is_ok(), "{sql}");
    }
}
