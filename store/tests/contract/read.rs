//! Reading: pages, starting places, and what is reported of what is gone.

use bytes::Bytes;
use store::{
    Ack, Bounds, ChannelFamily, FamilyPolicy, Limits, NewRecord, PendingQuery, Policies, Precision, ReadFrom, StoreOptions,
};

use crate::harness::{Backend, Subject, channel, contract};

contract!(
    pages_join_without_gap_or_overlap,
    a_page_has_at_least_one_record,
    reading_starts_at_a_time_or_at_the_newest,
    a_channel_that_never_was_is_empty,
    what_retention_removed_is_said,
    a_forgotten_channel_does_not_pretend,
    channels_are_listed_in_pages,
    what_is_new_is_read_and_counted_like_what_is_old,
);

pub fn log_of(records: u64) -> StoreOptions {
    let mut policies = Policies::default();
    for family in ChannelFamily::ALL {
        let policy = FamilyPolicy { log: Bounds { records, bytes: 0, age_ms: 0 }, inbox: Bounds::default() };
        policies.set(family, policy);
    }
    StoreOptions { policies, ..StoreOptions::default() }
}

async fn pages_join_without_gap_or_overlap(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut written = Vec::new();
    for _ in 0..25 {
        let record = store.record("topic:t").await;
        written.push(store.put(record).await);
        // Numbers of other channels lie between.
        let record = store.record("topic:u").await;
        store.put(record).await;
    }
    let mut read = Vec::new();
    let mut after = 0;
    loop {
        let page = store.read(channel("topic:t"), ReadFrom::After(after), Limits { records: 10, bytes: 1_000 }).await.unwrap();
        assert!(page.records.len() <= 10);
        read.extend(page.records.iter().map(|record| record.seq));
        after = page.next;
        if !page.has_more() {
            break;
        }
    }
    assert_eq!(read, written);
    let end = store.page("topic:t", ReadFrom::After(after)).await;
    assert_eq!((end.records.len(), end.next, end.lost), (0, after, None));
}

async fn a_page_has_at_least_one_record(backend: Backend) {
    let mut store = Subject::open(backend);
    for bytes in [500, 10, 10] {
        let record = NewRecord { frame: Bytes::from(vec![b'x'; bytes]), ..store.record("topic:t").await };
        store.put(record).await;
    }
    let small = Limits { records: 0, bytes: 20 };
    let first = store.read(channel("topic:t"), ReadFrom::After(0), small).await.unwrap();
    assert_eq!(first.records.len(), 1);
    let rest = Limits { records: 10, bytes: 20 };
    let page = store.read(channel("topic:t"), ReadFrom::After(first.next), rest).await.unwrap();
    assert_eq!((page.records.len(), page.has_more()), (2, false));
}

async fn reading_starts_at_a_time_or_at_the_newest(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut written = Vec::new();
    for time in [10, 20, 20, 30, 50] {
        let record = NewRecord { stored_at: time, ..store.record("topic:t").await };
        written.push(store.put(record).await);
    }
    for (from, expected) in [
        (ReadFrom::Time(0), &written[..]),
        (ReadFrom::Time(20), &written[1..]),
        (ReadFrom::Time(21), &written[3..]),
        (ReadFrom::Time(50), &written[4..]),
        (ReadFrom::Time(51), &written[5..]),
        (ReadFrom::Last(2), &written[3..]),
        (ReadFrom::Last(0), &written[5..]),
        (ReadFrom::Last(9), &written[..]),
    ] {
        let page = store.page("topic:t", from).await;
        assert_eq!(page.records.iter().map(|record| record.seq).collect::<Vec<_>>(), expected, "{from:?}");
        assert_eq!((page.next, page.head), (written[4], written[4]), "{from:?}");
    }
}

async fn a_channel_that_never_was_is_empty(backend: Backend) {
    let store = Subject::open(backend);
    for from in [ReadFrom::After(0), ReadFrom::Time(5), ReadFrom::Last(5)] {
        let page = store.page("topic:never", from).await;
        assert!(page.records.is_empty() && page.lost.is_none() && !page.has_more(), "{page:?}");
    }
    // A position in it must be from a channel of an earlier life.
    let lost = store.page("topic:never", ReadFrom::After(7)).await.lost.unwrap();
    assert_eq!(lost.precision, Precision::Unknown);
}

async fn what_retention_removed_is_said(backend: Backend) {
    let mut store = Subject::open_with(backend, log_of(5));
    let mut written = Vec::new();
    for _ in 0..12 {
        let record = store.record("topic:t").await;
        written.push(store.put(record).await);
        assert!(store.numbers("topic:t").await.len() <= 5);
    }
    store.reopen();
    let page = store.page("topic:t", ReadFrom::After(0)).await;
    assert_eq!(page.first_available, Some(written[7]));
    let lost = page.lost.unwrap();
    assert_eq!((lost.trimmed, lost.dead_lettered, lost.precision, lost.through), (7, 0, Precision::Exact, written[6]));
    assert_eq!(store.page("topic:t", ReadFrom::After(written[6])).await.lost, None);
    // A position inside a removed part: at least what was lost.
    let lost = store.page("topic:t", ReadFrom::After(written[3])).await.lost.unwrap();
    assert!(lost.trimmed >= 3, "{lost:?}");
    assert_ne!(lost.precision, Precision::Unknown);
    let info = store.channel(channel("topic:t")).await.unwrap().unwrap();
    assert_eq!((info.records, info.appended, info.trimmed, info.head), (5, 12, 7, written[11]));
}

async fn a_forgotten_channel_does_not_pretend(backend: Backend) {
    let mut options = log_of(0);
    let brief = FamilyPolicy { log: Bounds { records: 0, bytes: 0, age_ms: 10 }, inbox: Bounds::default() };
    options.policies.set(ChannelFamily::Topic, brief);
    options.policies.forget_channels_ms = 1_000;
    let mut store = Subject::open_with(backend, options);
    let record = store.record("topic:t").await;
    let old = store.put(record).await;
    let trimmed = store.trim(old + 500, 100).await.unwrap();
    assert_eq!((trimmed.records, trimmed.channels, trimmed.more), (1, 0, false));
    assert_eq!(store.page("topic:t", ReadFrom::After(0)).await.lost.unwrap().trimmed, 1);
    assert_eq!(store.trim(old + 5_000, 100).await.unwrap().channels, 1);
    assert_eq!(store.channel(channel("topic:t")).await, Ok(None));
    assert_eq!(store.health().channels, 0);

    let record = NewRecord { stored_at: 10_000, ..store.record("topic:t").await };
    let new = store.put(record).await;
    store.reopen();
    let page = store.page("topic:t", ReadFrom::After(old)).await;
    assert_eq!(page.records.len(), 1);
    assert_eq!(page.lost.unwrap().precision, Precision::Unknown);
    assert_eq!(store.page("topic:t", ReadFrom::After(0)).await.lost, None);
    assert_eq!(store.page("topic:t", ReadFrom::After(new)).await.lost, None);
}

async fn channels_are_listed_in_pages(backend: Backend) {
    let mut store = Subject::open(backend);
    for name in ["topic:b", "user:u", "topic:a", "agent:z", "topic:c"] {
        let record = store.record(name).await;
        store.put(record).await;
    }
    let names = |found: Vec<store::ChannelInfo>| found.into_iter().map(|info| info.channel.to_string()).collect::<Vec<_>>();
    assert_eq!(names(store.channels(None, None, 10).await.unwrap()), ["agent:z", "topic:a", "topic:b", "topic:c", "user:u"]);
    let topics = store.channels(Some(ChannelFamily::Topic), None, 2).await.unwrap();
    assert_eq!(names(topics), ["topic:a", "topic:b"]);
    let rest = store.channels(Some(ChannelFamily::Topic), Some(channel("topic:b")), 9).await.unwrap();
    assert_eq!(names(rest), ["topic:c"]);
    let from_before = store.channels(Some(ChannelFamily::Topic), Some(channel("agent:z")), 1).await.unwrap();
    assert_eq!(names(from_before), ["topic:a"]);
    let rest = store.channels(None, Some(channel("topic:b")), 9).await.unwrap();
    assert_eq!(names(rest), ["topic:c", "user:u"]);
}

/// Every number of a log in turn, read from each starting place, and the counters.
async fn compare(store: &Subject, written: &[u64], acknowledged: &[u64]) {
    for (index, seq) in written.iter().enumerate() {
        let read = async |from| store.page("agent:a", from).await.records.iter().map(|record| record.seq).collect::<Vec<_>>();
        assert_eq!(read(ReadFrom::After(*seq)).await, written[index + 1..]);
        assert_eq!(read(ReadFrom::Time(*seq)).await, written[index..]);
        let newest = u32::try_from(written.len() - index).unwrap();
        assert_eq!(read(ReadFrom::Last(newest)).await, written[index..]);
    }
    let query = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits::default() };
    let waiting: Vec<u64> =
        store.pending(channel("agent:a"), query).await.unwrap().iter().map(|pending| pending.record.seq).collect();
    let expected: Vec<u64> = written.iter().copied().filter(|seq| !acknowledged.contains(seq)).collect();
    assert_eq!(waiting, expected);
    let info = store.channel(channel("agent:a")).await.unwrap().unwrap();
    assert_eq!((info.records, info.appended), (written.len() as u64, written.len() as u64));
    assert_eq!((info.unacked, info.head), (expected.len() as u64, *written.last().unwrap()));
    assert_eq!((info.oldest_at, info.last_stored_at), (written.first().copied(), *written.last().unwrap()));
    assert_eq!(store.channels(None, None, 10).await.unwrap(), [info]);
}

async fn what_is_new_is_read_and_counted_like_what_is_old(backend: Backend) {
    let mut store = Subject::open(backend);
    let (mut written, mut acknowledged) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for _ in 0..3 {
            let letter = store.letter("agent:a").await;
            written.push(store.put(letter).await);
        }
        // Of the new ones, and of those of a former round.
        for index in [3 * round + 1, round] {
            acknowledged.push(written[index]);
            store.ack(channel("agent:a"), Ack::Each(vec![written[index]])).await.unwrap();
        }
        compare(&store, &written, &acknowledged).await;
        match round {
            // What exists becomes old.
            0 | 2 => assert_eq!(store.trim(*written.last().unwrap(), 100).await.unwrap().records, 0),
            _ => store.reopen(),
        }
        compare(&store, &written, &acknowledged).await;
    }
}
