//! Retention by number, bytes and age, of settled records only.

use bytes::Bytes;
use store::{Ack, Bounds, ChannelFamily, FamilyPolicy, NewRecord, ReadFrom, StoreOptions, Trimmed};

use crate::harness::{Backend, Subject, channel, contract};
use crate::read::log_of;

contract!(
    a_log_keeps_its_bound_of_bytes,
    a_log_keeps_its_bound_of_age,
    what_waits_is_not_removed,
    acknowledging_makes_room_for_retention,
    narrower_bounds_are_reached_in_steps,
    dead_letters_are_bounded_too,
    a_store_without_records_has_nothing_to_remove,
    a_channel_without_records_is_forgotten_when_it_was_not_used_for_long,
);

async fn a_log_keeps_its_bound_of_bytes(backend: Backend) {
    let mut options = StoreOptions::default();
    let policy = FamilyPolicy { log: Bounds { records: 0, bytes: 1_000, age_ms: 0 }, inbox: Bounds::default() };
    options.policies.set(ChannelFamily::Topic, policy);
    let mut store = Subject::open_with(backend, options);
    let mut written = Vec::new();
    for bytes in [400, 300, 300, 10, 600, 1_001] {
        let record = NewRecord { frame: Bytes::from(vec![b'x'; bytes]), ..store.record("topic:t").await };
        written.push(store.put(record).await);
        let info = store.channel(channel("topic:t")).await.unwrap().unwrap();
        assert!(info.bytes <= 1_000, "{info:?}");
    }
    assert!(store.numbers("topic:t").await.is_empty(), "one larger than the log leaves nothing, and says so");
    let page = store.page("topic:t", ReadFrom::After(written[4])).await;
    assert_eq!((page.head, page.lost.unwrap().trimmed >= 1), (written[5], true));
    assert_eq!(store.health().bytes, 0);
}

async fn a_log_keeps_its_bound_of_age(backend: Backend) {
    let mut options = log_of(0);
    let policy = FamilyPolicy { log: Bounds { records: 0, bytes: 0, age_ms: 100 }, inbox: Bounds::default() };
    options.policies.set(ChannelFamily::Topic, policy);
    options.policies.set(ChannelFamily::User, FamilyPolicy::default());
    let mut store = Subject::open_with(backend, options);
    let mut written = Vec::new();
    for time in [1_000, 1_010, 1_020] {
        for name in ["topic:t", "user:u"] {
            let record = NewRecord { stored_at: time, ..store.record(name).await };
            written.push(store.put(record).await);
        }
    }
    assert_eq!(store.trim(1_110, 1_000).await.unwrap().records, 1);
    store.reopen();
    assert_eq!(store.numbers("topic:t").await, [written[2], written[4]]);
    assert_eq!(store.trim(1_110, 1_000).await.unwrap().records, 0);
    assert_eq!(store.trim(5_000, 1_000).await.unwrap().records, 2);
    assert_eq!(store.numbers("user:u").await.len(), 3);
}

async fn what_waits_is_not_removed(backend: Backend) {
    let mut store = Subject::open_with(backend, log_of(2));
    let mut letters = Vec::new();
    for _ in 0..4 {
        let record = store.letter("agent:a").await;
        letters.push(store.put(record).await);
        let record = store.record("agent:a").await;
        store.put(record).await;
    }
    let kept = store.numbers("agent:a").await;
    assert!(letters.iter().all(|seq| kept.contains(seq)), "{kept:?}");
    assert_eq!(kept.len(), 6);
}

async fn acknowledging_makes_room_for_retention(backend: Backend) {
    let mut store = Subject::open_with(backend, log_of(2));
    let mut letters = Vec::new();
    for _ in 0..6 {
        let record = store.letter("agent:a").await;
        letters.push(store.put(record).await);
    }
    store.ack(channel("agent:a"), Ack::Each(vec![letters[5], letters[1]])).await.unwrap();
    assert_eq!(store.numbers("agent:a").await, letters);
    store.ack(channel("agent:a"), Ack::Through(letters[2])).await.unwrap();
    let info = store.channel(channel("agent:a")).await.unwrap().unwrap();
    assert_eq!(info.oldest_at, Some(letters[2]), "records are stored at the time of their number");
    assert_eq!(store.channels(None, None, 10).await.unwrap(), [info]);
    store.reopen();
    assert_eq!(store.numbers("agent:a").await, letters[2..]);
    assert_eq!(store.page("agent:a", ReadFrom::After(0)).await.lost.unwrap().trimmed, 2);
}

async fn narrower_bounds_are_reached_in_steps(backend: Backend) {
    if !backend.outlives_its_process() {
        return;
    }
    let mut store = Subject::open_with(backend, log_of(0));
    let mut records = Vec::new();
    for _ in 0..300 {
        records.push(store.record("topic:t").await);
    }
    store.put_all(records).await;
    store.reopen_with(log_of(10));
    let mut steps = 0;
    loop {
        let trimmed = store.trim(1_000, 50).await.unwrap();
        assert!(trimmed.records <= 50);
        steps += 1;
        if !trimmed.more {
            break;
        }
    }
    assert_eq!(store.numbers("topic:t").await.len(), 10);
    assert!((6..=7).contains(&steps), "{steps}");
}

async fn dead_letters_are_bounded_too(backend: Backend) {
    let mut options = log_of(3);
    let one = FamilyPolicy { log: Bounds::default(), inbox: Bounds { records: 1, bytes: 0, age_ms: 0 } };
    options.policies.set(ChannelFamily::Agent, one);
    let mut store = Subject::open_with(backend, options);
    for _ in 0..8 {
        let record = store.letter("agent:a").await;
        store.put(record).await;
    }
    let page = store.page("dead:agent:a", ReadFrom::After(0)).await;
    assert_eq!((page.records.len(), page.lost.unwrap().trimmed), (3, 4));
    assert_eq!((store.health().records, store.health().channels), (4, 2));
}

async fn a_store_without_records_has_nothing_to_remove(backend: Backend) {
    let mut store = Subject::open_with(backend, log_of(1));
    for now in [0, 1_000, u64::MAX / 4] {
        assert_eq!(store.trim(now, 1_000).await, Ok(Trimmed::default()));
        store.reopen();
    }
    assert_eq!((store.health().records, store.health().channels), (0, 0));
}

async fn a_channel_without_records_is_forgotten_when_it_was_not_used_for_long(backend: Backend) {
    let mut options = log_of(0);
    let policy = FamilyPolicy { log: Bounds { records: 0, bytes: 0, age_ms: 100 }, inbox: Bounds::default() };
    options.policies.set(ChannelFamily::Topic, policy);
    options.policies.forget_channels_ms = 1_000;
    let mut store = Subject::open_with(backend, options);
    let mut written = Vec::new();
    for (name, time) in [("topic:t", 1_000), ("topic:t", 1_001), ("topic:later", 1_500), ("user:u", 1_000)] {
        let record = NewRecord { stored_at: time, ..store.record(name).await };
        written.push(store.put(record).await);
    }
    let counts = |trimmed: Trimmed| (trimmed.records, trimmed.channels, trimmed.more);
    assert_eq!(counts(store.trim(1_700, 1_000).await.unwrap()), (3, 0, false));
    store.reopen();
    // Its numbers and what it has lost are still known.
    let page = store.page("topic:t", ReadFrom::After(0)).await;
    assert_eq!((page.records.len(), page.head, page.lost.unwrap().trimmed), (0, written[1], 2));
    assert_eq!(counts(store.trim(2_001, 1_000).await.unwrap()), (0, 0, false));
    assert_eq!(counts(store.trim(2_002, 1_000).await.unwrap()), (0, 1, false));
    store.reopen();
    assert_eq!(store.channel(channel("topic:t")).await, Ok(None));
    assert!(store.channel(channel("topic:later")).await.unwrap().is_some());
    assert_eq!(counts(store.trim(u64::MAX / 4, 1_000).await.unwrap()), (0, 1, false));
    assert_eq!((store.health().records, store.health().channels), (1, 1), "one that has records stays");
    // If it is made again, it starts again.
    let record = NewRecord { stored_at: 9_000, ..store.record("topic:t").await };
    let again = store.put(record).await;
    assert_eq!(store.numbers("topic:t").await, [again]);
    assert_eq!(store.channel(channel("topic:t")).await.unwrap().unwrap().trimmed, 0);
}
