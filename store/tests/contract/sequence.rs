//! The counter, and the order of calls.

use futures_util::future::join_all;
use store::{ReadFrom, StoreError};

use crate::harness::{Backend, Subject, channel, contract};

contract!(
    numbers_are_given_once,
    calls_take_effect_in_the_order_they_are_made,
    a_closed_store_says_so,
    the_epoch_stays_with_the_file,
    a_dropped_call_is_still_done,
);

async fn numbers_are_given_once(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut last = 0;
    for _ in 0..4 {
        let answers = join_all([10, 1, 0, 7].map(|count| store.reserve(count))).await;
        let blocks: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
        assert_eq!(blocks.iter().map(|block| block.end - block.start).collect::<Vec<_>>(), [10, 1, 1, 7]);
        for block in blocks {
            assert!(block.start > last, "{block:?} after {last}");
            last = block.end - 1;
        }
        store.reopen();
    }
}

async fn calls_take_effect_in_the_order_they_are_made(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut calls = Vec::new();
    for _ in 0..200 {
        let record = store.letter("agent:b").await;
        let seq = record.seq;
        let append = store.append(vec![record]);
        let ack = (seq % 2 == 0).then(|| store.ack(channel("agent:b"), store::Ack::Each(vec![seq])));
        calls.push((seq, append, ack));
    }
    // Awaited backwards: the order of awaiting must not matter.
    for (seq, append, ack) in calls.into_iter().rev() {
        if let Some(ack) = ack {
            assert_eq!(ack.await, Ok(vec![seq]));
        }
        assert!(append.await.is_ok());
    }
    let page = store.page("agent:b", ReadFrom::After(0)).await;
    assert_eq!(page.records.len(), 200);
    assert!(page.records.is_sorted_by_key(|record| record.seq));
    let info = store.channel(channel("agent:b")).await.unwrap().unwrap();
    assert_eq!((info.records, info.unacked), (200, 100));
}

async fn a_closed_store_says_so(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = store.record("topic:t").await;
    let append = store.append(vec![record]);
    let closed = store.close();
    assert!(append.await.is_ok(), "what was in line is done");
    assert_eq!(closed.await, Ok(()));
    assert_eq!(store.close().await, Ok(()));
    assert_eq!(store.reserve(1).await, Err(StoreError::Closed));
    assert!(matches!(store.channel(channel("topic:t")).await, Err(StoreError::Closed)));
    assert!(store.health().closed && !store.health().is_ready());
}

async fn the_epoch_stays_with_the_file(backend: Backend) {
    let mut store = Subject::open(backend);
    let epoch = store.epoch();
    store.reopen();
    assert_eq!(store.epoch(), epoch);
    assert_ne!(Subject::open(backend).epoch(), epoch);
}

async fn a_dropped_call_is_still_done(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = store.record("topic:t").await;
    let seq = record.seq;
    drop(store.append(vec![record]));
    let last = store.record("topic:t").await;
    let last = store.put(last).await;
    assert_eq!(store.numbers("topic:t").await, [seq, last]);
}
