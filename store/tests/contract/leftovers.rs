//! Acknowledged records and dead letters: they are charged to nobody, so they take no room that
//! somebody needs.

use bytes::Bytes;
use store::{Ack, DeadReason, Death, NewRecord, ReadFrom, StoreError, StoreOptions};

use crate::harness::{Backend, Subject, channel, contract};
use crate::quotas::{agent, session};

contract!(
    what_is_acknowledged_or_dead_refuses_nobody,
    the_oldest_leftovers_of_sessions_go_first_and_dead_letters_last,
    what_waits_and_what_is_in_topics_never_gives_way,
);

fn of_bytes(max_bytes: u64) -> StoreOptions {
    StoreOptions { max_bytes, ..StoreOptions::default() }
}

const ONE: &str = "session:00000000-0000-4000-8000-000000000001";

async fn what_is_acknowledged_or_dead_refuses_nobody(backend: Backend) {
    let mut store = Subject::open_with(backend, of_bytes(400));
    let (flooder, other) = (session(1, None, "192.0.2.1"), session(2, None, "192.0.2.2"));
    for round in 0..20 {
        if round == 10 {
            store.reopen();
        }
        let seq = store.send(&flooder, ONE, 100).await.unwrap();
        store.ack(channel(ONE), Ack::Each(vec![seq])).await.unwrap();
        let seq = store.send(&flooder, "agent:a", 100).await.unwrap();
        store.dead_letter(channel("agent:a"), seq, Death::of(DeadReason::Rejected, 1_000)).await.unwrap();
        assert!(store.health().bytes <= 400, "{}", store.health().bytes);
    }
    for _ in 0..2 {
        store.send(&other, "agent:a", 100).await.unwrap();
    }
    assert_eq!(store.send(&other, "agent:a", 1).await, Err(StoreError::Full { limit: 200 }));
    store.send(&agent("a", "k"), "agent:a", 200).await.unwrap();
    assert_eq!(store.health().bytes, 400, "nothing is left over where all room is needed");
}

async fn the_oldest_leftovers_of_sessions_go_first_and_dead_letters_last(backend: Backend) {
    let mut store = Subject::open_with(backend, of_bytes(1_000));
    let sender = agent("a", "k");
    let dead = store.send(&sender, "agent:d", 100).await.unwrap();
    store.dead_letter(channel("agent:d"), dead, Death::of(DeadReason::Rejected, 1_000)).await.unwrap();
    let mut acked = Vec::new();
    for name in ["agent:a", ONE, "user:u", "agent:a", ONE] {
        let seq = store.send(&sender, name, 100).await.unwrap();
        store.ack(channel(name), Ack::Each(vec![seq])).await.unwrap();
        acked.push(seq);
    }
    store.reopen();
    let gone = [acked[1], acked[4], acked[2], acked[0], acked[3]];
    // Each needs the room of one.
    for (step, bytes) in [401, 100, 100, 100, 100].into_iter().enumerate() {
        store.send(&sender, "agent:b", bytes).await.unwrap();
        let mut found = Vec::new();
        for name in [ONE, "user:u", "agent:a"] {
            found.extend(store.numbers(name).await);
        }
        found.sort_unstable();
        let mut expected = gone[step + 1..].to_vec();
        expected.sort_unstable();
        assert_eq!(found, expected, "{step}");
        assert_eq!(store.numbers("dead:agent:d").await.len(), 1);
    }
    let page = store.page(ONE, ReadFrom::After(0)).await;
    assert_eq!(page.lost.map(|lost| lost.trimmed), Some(2), "readers are told");
}

async fn what_waits_and_what_is_in_topics_never_gives_way(backend: Backend) {
    let mut store = Subject::open_with(backend, of_bytes(1_000));
    let sender = agent("a", "k");
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(store.send(&sender, "topic:t", 100).await.unwrap());
        expected.push(store.send(&sender, "agent:a", 100).await.unwrap());
    }
    // One without an owner is not refused because of what others have, and takes no room from them.
    let own = NewRecord { frame: Bytes::from_static(&[b'x'; 100]), ..store.letter("agent:b").await };
    assert_eq!(store.refusal(own).await, StoreError::Full { limit: 1_000 });
    assert_eq!(store.send(&sender, "agent:a", 1).await, Err(StoreError::Full { limit: 1_000 }));
    store.reopen();
    store.trim(1_000, 1_000).await.unwrap();
    let mut found = store.numbers("topic:t").await;
    found.extend(store.numbers("agent:a").await);
    found.sort_unstable();
    assert_eq!(found, expected);
}
