//! Damage: the store reports it, confines it to its channel, and serves what can be read.

use store::{Ack, Limits, PendingQuery, ReadFrom, StoreError};

use crate::harness::{Backend, Subject, channel, contract};

contract!(a_channel_with_a_damaged_record_refuses_what_is_new_and_serves_the_rest, damage_is_found_again_after_a_restart,);

const ALL: PendingQuery = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: 2, bytes: u64::MAX } };

/// The numbers of waiting messages.
async fn waiting(store: &Subject, name: &str) -> Vec<u64> {
    let (mut found, mut query) = (Vec::new(), ALL);
    loop {
        let page = store.pending(channel(name), query).await.unwrap();
        let Some(last) = page.last() else { return found };
        query.after = last.record.seq;
        found.extend(page.iter().map(|pending| pending.record.seq));
    }
}

async fn a_channel_with_a_damaged_record_refuses_what_is_new_and_serves_the_rest(backend: Backend) {
    let mut store = Subject::open(backend);
    let (mut inbox, mut topic) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let (letter, record) = (store.letter("agent:a").await, store.record("topic:t").await);
        inbox.push(store.put(letter).await);
        topic.push(store.put(record).await);
    }
    let other = store.letter("agent:b").await;
    store.put(other).await;
    assert!(store.refuses(&channel("agent:a")).is_none() && store.health().is_ready());
    // More than a page of them.
    if !inbox[2..6].iter().chain([&topic[4]]).all(|seq| store.damage(*seq)) {
        return;
    }
    for name in ["agent:a", "topic:t"] {
        if name == "agent:a" {
            let expected: Vec<u64> = inbox.iter().filter(|seq| !inbox[2..6].contains(seq)).copied().collect();
            assert_eq!(waiting(&store, name).await, expected);
        } else {
            let page = store.page(name, ReadFrom::After(0)).await;
            let found: Vec<u64> = page.records.iter().map(|record| record.seq).collect();
            let expected: Vec<u64> = topic.iter().filter(|seq| **seq != topic[4]).copied().collect();
            assert_eq!((found, page.next), (expected, topic[9]));
        }
        let refusal = store.refuses(&channel(name)).unwrap();
        assert!(matches!(&refusal, StoreError::Damaged { channel, .. } if channel.as_str() == name), "{refusal:?}");
        assert!(!refusal.is_temporary() && !store.health().is_ready(), "{refusal:?}");
        let new = store.letter(name).await;
        assert_eq!(store.refusal(new).await, refusal);
    }
    assert_eq!(store.health().damaged_channels, 2);
    // Other channels still work, and readable messages are still served.
    assert_eq!(store.refuses(&channel("agent:b")), None);
    let next = store.letter("agent:b").await;
    store.put(next).await;
    assert_eq!(waiting(&store, "agent:b").await.len(), 2);
    assert_eq!(store.ack(channel("agent:a"), Ack::Each(vec![inbox[0], inbox[9]])).await, Ok(vec![inbox[0], inbox[9]]));
    store.trim(1_000, 1_000).await.unwrap();
}

async fn damage_is_found_again_after_a_restart(backend: Backend) {
    let mut store = Subject::open(backend);
    let letter = store.letter("agent:a").await;
    let seq = store.put(letter).await;
    if !store.damage(seq) {
        return;
    }
    store.reopen();
    assert_eq!(waiting(&store, "agent:a").await, [0; 0]);
    assert!(store.refuses(&channel("agent:a")).is_some() && !store.health().is_ready());
}
