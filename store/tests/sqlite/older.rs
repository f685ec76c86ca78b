//! Files of older releases: everything in them is there, and is charged to its senders.

use std::{collections::BTreeMap, sync::Arc};

use common::id::SessionId;
use store::{
    Ack, Appended, AuditQuery, ConsumerId, EmbeddedStore, Kind, Limits, NewRecord, PendingQuery, Store, StoreOptions, operators,
};

use crate::writing::{channel, record, whole};

/// The schema of version 1, and the content of a store of that version. Never changed, because such
/// files exist.
const VERSION_1: &str = include_str!("version_1.sql");
const SESSION: &str = "session:00000000-0000-4000-8000-00000000000a";

/// Messages and bytes of each sender that has any.
fn charged(store: &EmbeddedStore) -> BTreeMap<(Kind, String), (u64, u64)> {
    let fullest = store.usage().fullest;
    fullest.into_iter().map(|(kind, name, used)| ((kind, name), (used.records, used.bytes))).collect()
}

fn expected(all: &[(Kind, &str, u64, u64)]) -> BTreeMap<(Kind, String), (u64, u64)> {
    all.iter().map(|(kind, name, records, bytes)| ((*kind, (*name).to_owned()), (*records, *bytes))).collect()
}

fn numbers(found: BTreeMap<u64, String>) -> Vec<u64> {
    found.into_keys().collect()
}

#[tokio::test]
async fn a_file_of_version_1_is_all_there_and_its_senders_are_charged() {
    let dir = tempfile::tempdir().unwrap();
    let conn = rusqlite::Connection::open(dir.path().join(store::DATABASE)).unwrap();
    conn.execute_batch(VERSION_1).unwrap();
    drop(conn);
    for _ in 0..2 {
        let store = Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
        assert_eq!(store.epoch().to_string(), "0f0e0d0c0b0a");
        assert_eq!(charged(&store), expected(&[(Kind::Session, SESSION, 3, 150), (Kind::Key, "(no key)", 2, 50)]));
        assert_eq!(numbers(whole(&*store, "agent:worker").await), [1, 2, 3, 6, 7]);
        assert_eq!(numbers(whole(&*store, "topic:t").await), [4, 8]);
        assert_eq!(numbers(whole(&*store, "dead:agent:worker").await), [5]);
        let all = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: 100, bytes: u64::MAX } };
        let waiting = store.pending(channel("agent:worker"), all).await.unwrap();
        let waiting: Vec<_> = waiting.iter().map(|row| (row.record.seq, row.attempts, row.record.frame.len())).collect();
        assert_eq!(waiting, [(1, 1, 100), (2, 0, 10), (6, 0, 30)]);

        assert_eq!(store.retained(channel("topic:t")).await.unwrap().unwrap().seq, 4);
        let session: SessionId = SESSION.trim_start_matches("session:").parse().unwrap();
        assert_eq!(store.cursors(ConsumerId::session(session)).await.unwrap(), [(channel("topic:t"), 4)]);
        assert_eq!(store.audit_log(AuditQuery::default()).await.unwrap().len(), 1);
        assert_eq!(store.state("one".to_owned()).await.unwrap().unwrap(), [1_u8][..]);
        let found = operators::check(dir.path()).unwrap();
        assert_eq!((found.problems, found.records, found.sessions), (Vec::<String>::new(), 8, 1));
    }

    let store = Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
    // Recognised under its id, and numbers continue.
    let seq = store.reserve(1).await.unwrap().start;
    assert!(seq >= 257, "{seq}");
    let again = NewRecord {
        message_id: "m6".to_owned(),
        source: SESSION.to_owned(),
        stored_at: 1_700_000_000_100,
        ..record("agent:worker", seq, 30)
    };
    assert_eq!(store.append(vec![again]).await.unwrap(), [Appended::Duplicate { seq: 6 }]);
    // What is acknowledged is given back.
    let acked = store.ack(channel("agent:worker"), Ack::Through(6)).await.unwrap();
    assert_eq!(acked, [1, 2, 6]);
    assert_eq!(charged(&store), expected(&[(Kind::Session, SESSION, 1, 20), (Kind::Key, "(no key)", 1, 40)]));
    drop(store);
    let store = EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap();
    assert_eq!(charged(&store), expected(&[(Kind::Session, SESSION, 1, 20), (Kind::Key, "(no key)", 1, 40)]));
}
