//! Overwritten pages: the store reports what is missing, serves what can be read, and stores
//! nothing new behind the damage.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use store::{ChannelName, EmbeddedStore, Limits, PendingQuery, ReadFrom, Store, StoreError, StoreOptions, operators};

use crate::writing::{channel, put, record};

const PAGE: usize = 8_192;
const INBOX: &str = "agent:a";
const TOPIC: &str = "topic:t";

/// The frames of a channel, by their numbers.
type Frames = BTreeMap<u64, Vec<u8>>;

async fn waiting(store: &EmbeddedStore, name: &str) -> Result<Frames, StoreError> {
    let mut found = Frames::new();
    loop {
        let after = found.last_key_value().map_or(0, |(seq, _)| *seq);
        let query = PendingQuery { due_before: u64::MAX, after, limits: Limits { records: 7, bytes: u64::MAX } };
        let page = store.pending(channel(name), query).await?;
        if page.is_empty() {
            return Ok(found);
        }
        found.extend(page.into_iter().map(|waits| (waits.record.seq, waits.record.frame.to_vec())));
    }
}

async fn log(store: &EmbeddedStore, name: &str) -> Result<Frames, StoreError> {
    let mut found = Frames::new();
    let mut after = 0;
    loop {
        let page = store.read(channel(name), ReadFrom::After(after), Limits { records: 7, bytes: u64::MAX }).await?;
        assert!(page.next > after || !page.has_more(), "a reader gets on");
        after = page.next;
        let more = page.has_more();
        found.extend(page.records.into_iter().map(|record| (record.seq, record.frame.to_vec())));
        if !more {
            return Ok(found);
        }
    }
}

/// Fills a store with small and large messages in an inbox and a topic. Returns the messages.
async fn filled(dir: &Path) -> [(&'static str, Frames); 2] {
    let store = Arc::new(EmbeddedStore::open(dir, StoreOptions::default()).unwrap());
    for _ in 0..40 {
        for name in [INBOX, TOPIC] {
            let numbers = store.reserve(3).await.unwrap();
            let sizes = [300, 10_000, 1_000];
            let records = numbers.zip(sizes).map(|(seq, bytes)| {
                let delivery = record(name, seq, bytes).delivery.filter(|_| name == INBOX);
                store::NewRecord { delivery, ..record(name, seq, bytes) }
            });
            store.append(records.collect()).await.unwrap();
        }
    }
    // Into the indexes.
    store.trim(0, 1).await.unwrap();
    [(INBOX, waiting(&store, INBOX).await.unwrap()), (TOPIC, log(&store, TOPIC).await.unwrap())]
}

#[tokio::test]
async fn wherever_a_page_is_overwritten_nothing_is_missing_in_silence() {
    let original = tempfile::tempdir().unwrap();
    let all = filled(original.path()).await;
    let file = fs::read(original.path().join(store::DATABASE)).unwrap();
    let (mut refused_at_start, mut told, mut harmless) = (0, 0, 0);
    for page in 1..file.len() / PAGE {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = file.clone();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0xa5);
        fs::write(dir.path().join(store::DATABASE), bytes).unwrap();
        let store = match EmbeddedStore::open(dir.path(), StoreOptions::default()) {
            Ok(store) => Arc::new(store),
            Err(refused) => {
                assert!(matches!(refused, StoreError::Corrupt(_)), "page {page}: {refused:?}");
                refused_at_start += 1;
                continue;
            }
        };
        let mut is_harmless = true;
        for (name, expected) in &all {
            let found = if *name == INBOX { waiting(&store, name).await } else { log(&store, name).await };
            let is_whole = found.as_ref() == Ok(expected);
            if let Ok(found) = &found {
                let is_right = found.iter().all(|(seq, frame)| expected.get(seq) == Some(frame));
                assert!(is_right, "page {page}: {name} has what was never written");
            }
            let refusal = store.refuses(&channel(name));
            assert!(is_whole || refusal.is_some(), "page {page}: {name} lacks something, and nobody hears of it: {found:?}");
            if let Some(refusal) = refusal {
                is_harmless = false;
                assert!(!store.health().is_ready(), "page {page}");
                assert_eq!(put(&store, name, 10).await, Err(refusal), "page {page}");
            }
        }
        told += u32::from(!is_harmless);
        harmless += u32::from(is_harmless);
        if is_harmless {
            // The damage is in data that was not read, or that a write meets.
            let outcome = put(&store, INBOX, 10).await;
            assert!(outcome.is_ok() || !store.health().is_ready(), "page {page}: {outcome:?}");
        }
        drop(store);
        let report = operators::check(dir.path()).unwrap();
        assert!(is_harmless || !report.problems.is_empty(), "page {page}");
    }
    println!("{refused_at_start} refused at the start, {told} told, {harmless} harmless");
    assert!(told > 50, "{told}");
}

#[tokio::test]
async fn damage_in_one_channel_leaves_the_others_alone_and_is_found_by_a_check() {
    let dir = tempfile::tempdir().unwrap();
    let [(_, inbox), _] = filled(dir.path()).await;
    let path = dir.path().join(store::DATABASE);
    let conn = rusqlite::Connection::open(&path).unwrap();
    let [first, last] = [inbox.keys().nth(6), inbox.keys().nth(8)].map(|seq| *seq.unwrap());
    let changed = "UPDATE records SET frame = zeroblob(length(frame)) WHERE seq BETWEEN ?1 AND ?2";
    assert_eq!(conn.execute(changed, [first, last]).unwrap(), 3);
    drop(conn);
    let store = Arc::new(EmbeddedStore::open(dir.path(), StoreOptions::default()).unwrap());
    assert!(store.health().is_ready(), "nobody has looked yet");
    let found = waiting(&store, INBOX).await.unwrap();
    assert_eq!(found.len(), inbox.len() - 3);
    let name: ChannelName = channel(INBOX);
    let refusal = store.refuses(&name).unwrap();
    assert!(matches!(&refusal, StoreError::Damaged { channel, .. } if *channel == name), "{refusal:?}");
    let health = store.health();
    assert_eq!((health.is_ready(), health.damaged_channels, health.fault), (false, 1, Some(refusal.clone())));
    assert_eq!(put(&store, INBOX, 10).await, Err(refusal));
    put(&store, TOPIC, 10).await.unwrap();
    put(&store, "agent:b", 10).await.unwrap();
    // Messages that were read can be acknowledged, and retention continues in other channels.
    let read: Vec<u64> = found.into_keys().collect();
    assert_eq!(store.ack(name, store::Ack::Each(read.clone())).await.unwrap(), read);
    store.trim(u64::MAX / 4, 100).await.unwrap();
    drop(store);
    let problems = operators::check(dir.path()).unwrap().problems;
    let told = format!("{INBOX} is damaged: 3 of its records cannot be read, with numbers from {first} to {last}");
    assert!(problems.contains(&told), "{problems:?}");
}
