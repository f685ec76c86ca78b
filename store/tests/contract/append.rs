//! Appending: what is refused, what is a repetition, what is stored unchanged.

use std::sync::Arc;

use bytes::Bytes;
use common::envelope::Priority;
use store::{Appended, ChannelName, MessageKey, NewRecord, ReadFrom, StoreError, StoreOptions};

use crate::harness::{Backend, Subject, channel, contract};
use crate::quotas::agent;

contract!(
    a_record_is_read_as_it_was_written,
    a_repeated_message_is_answered_with_the_first_position,
    the_window_of_repetition_ends,
    what_is_out_of_order_or_not_reserved_is_refused,
    a_call_appends_all_or_nothing,
    bounds_of_the_whole_store_are_refusals,
    malformed_records_are_refused,
    times_do_not_run_backwards_in_a_channel,
);

async fn a_record_is_read_as_it_was_written(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = NewRecord {
        prev: 0,
        message_id: "ü".repeat(128),
        source: "session:x".to_owned(),
        key: None,
        frame: Bytes::from_static(b"{\"any\":\"\xc3\xbc\"}"),
        priority: Priority::Control,
        expires_at: Some(99),
        stored_at: 42,
        ..store.letter("user:u").await
    };
    store.put(record.clone()).await;
    store.reopen();
    let page = store.page("user:u", ReadFrom::After(0)).await;
    let [read] = page.records.as_slice() else { panic!("{page:?}") };
    assert_eq!((read.seq, read.prev, &read.message_id, &read.source), (record.seq, 0, &record.message_id, &record.source));
    assert_eq!((&read.frame, read.priority), (&record.frame, Priority::Control));
    assert_eq!((read.expires_at, read.stored_at, &read.dead), (Some(99), 42, &None));
    assert_eq!((page.head, page.next, page.lost), (record.seq, record.seq, None));
}

async fn a_repeated_message_is_answered_with_the_first_position(backend: Backend) {
    let mut store = Subject::open(backend);
    let first = store.record("topic:t").await;
    let again = |next: NewRecord| NewRecord { message_id: first.message_id.clone(), stored_at: first.stored_at, ..next };
    store.put(first.clone()).await;
    let record = again(store.record("topic:t").await);
    assert_eq!(store.put_all(vec![record]).await, [Appended::Duplicate { seq: first.seq }]);

    store.reopen();
    let record = again(store.record("topic:t").await);
    assert_eq!(store.put_all(vec![record]).await, [Appended::Duplicate { seq: first.seq }]);
    let recent = store.recent_ids().await.unwrap();
    assert_eq!(recent.len(), 1);
    assert_eq!(recent[0].key, MessageKey::of(&first.channel, &first.source, &first.message_id));

    // The same id from another source, or to another channel, is another message.
    let other_source = NewRecord { source: "agent:other".to_owned(), ..again(store.record("topic:t").await) };
    let other_channel = NewRecord { channel: channel("topic:o"), ..again(store.record("topic:t").await) };
    let within_one_call = again(store.record("topic:t").await);
    let answers = store.put_all(vec![other_source, other_channel, within_one_call]).await;
    assert!(matches!(
        answers.as_slice(),
        [Appended::Stored { .. }, Appended::Stored { .. }, Appended::Duplicate { seq }] if *seq == first.seq
    ));
    assert_eq!(store.health().duplicates, if backend.outlives_its_process() { 2 } else { 3 });
}

async fn the_window_of_repetition_ends(backend: Backend) {
    let mut store = Subject::open_with(backend, StoreOptions { dedup_window_ms: 100, ..StoreOptions::default() });
    let first = store.record("topic:t").await;
    store.put(first.clone()).await;
    for (later, repeated) in [(100, true), (101, false)] {
        store.reopen();
        let record = store.record("topic:t").await;
        let record = NewRecord { message_id: first.message_id.clone(), stored_at: first.stored_at + later, ..record };
        let answer = store.put_all(vec![record]).await;
        assert_eq!(matches!(answer.as_slice(), [Appended::Duplicate { .. }]), repeated, "{later} ms later");
    }
}

async fn what_is_out_of_order_or_not_reserved_is_refused(backend: Backend) {
    let mut store = Subject::open(backend);
    let early = store.record("topic:t").await;
    let late = store.record("topic:t").await;
    let head = store.put(late.clone()).await;
    let refused = StoreError::OutOfOrder { channel: channel("topic:t"), seq: early.seq, head };
    assert_eq!(store.refusal(early).await, refused);
    let repeated = StoreError::OutOfOrder { channel: channel("topic:t"), seq: head, head };
    assert_eq!(store.refusal(NewRecord { message_id: "new".to_owned(), ..late }).await, repeated);
    let far = NewRecord { seq: 1_000_000, ..store.record("topic:t").await };
    assert_eq!(store.refusal(far).await, StoreError::NotReserved(1_000_000));
    assert!(store.health().is_ready(), "a refusal is not a fault");
}

async fn a_call_appends_all_or_nothing(backend: Backend) {
    let mut store = Subject::open(backend);
    let good = store.record("topic:t").await;
    let bad = NewRecord { message_id: String::new(), ..store.record("topic:u").await };
    assert!(store.append(vec![good.clone(), bad]).await.is_err());
    assert_eq!(store.channel(channel("topic:t")).await, Ok(None));
    let backwards = vec![store.record("topic:t").await, good.clone()];
    assert!(store.append(backwards).await.is_err());
    assert!(matches!(store.put_all(vec![good]).await.as_slice(), [Appended::Stored { .. }]), "the id was not used up");
}

async fn bounds_of_the_whole_store_are_refusals(backend: Backend) {
    let options = StoreOptions { max_channels: 2, max_bytes: 100, max_record_bytes: 60, ..StoreOptions::default() };
    let mut store = Subject::open_with(backend, options);
    let owner = store.owner(&agent("a", "k"));
    let sized = |record: NewRecord, bytes: usize| NewRecord {
        frame: Bytes::from(vec![b'x'; bytes]),
        owner: Some(Arc::clone(&owner)),
        ..record
    };
    let record = sized(store.record("topic:a").await, 61);
    assert_eq!(store.refusal(record).await, StoreError::RecordTooLarge { bytes: 61, limit: 60 });
    let record = sized(store.record("topic:a").await, 60);
    store.put(record).await;
    let record = sized(store.record("topic:b").await, 41);
    assert_eq!(store.refusal(record).await, StoreError::Full { limit: 100 });
    let record = sized(store.record("topic:b").await, 20);
    store.put(record).await;
    store.reopen();
    let record = sized(store.record("topic:c").await, 1);
    let refusal = store.refusal(record).await;
    assert_eq!(refusal, StoreError::TooManyChannels { limit: 2 });
    assert!(refusal.is_temporary());
    assert_eq!((store.health().channels, store.health().bytes), (2, 80));
}

async fn malformed_records_are_refused(backend: Backend) {
    let mut store = Subject::open(backend);
    let good = store.record("topic:t").await;
    let bad = [
        NewRecord { channel: channel("dead:topic:t"), ..good.clone() },
        NewRecord { message_id: "x".repeat(129), ..good.clone() },
        NewRecord { source: String::new(), ..good.clone() },
        NewRecord { seq: 0, ..good.clone() },
        NewRecord { prev: good.seq, ..good.clone() },
        NewRecord { stored_at: u64::MAX, ..good.clone() },
        NewRecord { expires_at: Some(u64::MAX), ..good.clone() },
    ];
    for record in bad {
        let refusal = store.refusal(record).await;
        assert!(matches!(refusal, StoreError::Invalid(_)), "{refusal:?}");
        assert!(!refusal.is_temporary());
    }
    assert!(ChannelName::parse("dead:dead:topic:t").is_err());
}

async fn times_do_not_run_backwards_in_a_channel(backend: Backend) {
    let mut store = Subject::open(backend);
    for time in [1_000, 500, 2_000] {
        let record = NewRecord { stored_at: time, ..store.record("topic:t").await };
        store.put(record).await;
        store.reopen();
    }
    let times: Vec<u64> = store.page("topic:t", ReadFrom::After(0)).await.records.iter().map(|record| record.stored_at).collect();
    assert_eq!(times, [1_000, 1_000, 2_000]);
}
