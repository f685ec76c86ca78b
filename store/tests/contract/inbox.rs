//! Inboxes: acknowledgement, redelivery, dead letters.

use common::envelope::Priority;
use store::{
    Ack, Appended, Bounds, ChannelFamily, DeadReason, Death, Delivered, FamilyPolicy, FirstDelivery, Limits, Nack, NewRecord,
    Pending, PendingQuery, ReadFrom, StoreError, StoreOptions,
};

use crate::harness::{Backend, Subject, channel, contract};

contract!(
    what_waits_is_given_in_order_until_acknowledged,
    acknowledging_is_cumulative_or_selective,
    a_position_leaves_what_was_refused,
    deliveries_and_refusals_are_remembered,
    a_full_inbox_gives_up_the_oldest_of_the_lowest_priority,
    a_dead_letter_keeps_its_origin,
    what_expires_or_grows_old_is_moved,
    an_acknowledged_record_stays_in_the_log,
);

const ALL: PendingQuery = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: 1_000, bytes: u64::MAX } };

fn inbox_of(records: u64, bytes: u64, age_ms: u64) -> StoreOptions {
    let mut options = StoreOptions::default();
    let policy = FamilyPolicy { log: Bounds::default(), inbox: Bounds { records, bytes, age_ms } };
    options.policies.set(ChannelFamily::Agent, policy);
    options
}

async fn waiting(store: &Subject, name: &str) -> Vec<u64> {
    let found = store.pending(channel(name), ALL).await.unwrap();
    found.into_iter().map(|pending| pending.record.seq).collect()
}

async fn what_waits_is_given_in_order_until_acknowledged(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut written = Vec::new();
    for priority in [Priority::Low, Priority::Control, Priority::Normal, Priority::High, Priority::Low] {
        let record = NewRecord { priority, ..store.letter("agent:a").await };
        written.push(store.put(record).await);
    }
    let unneeded = store.record("agent:a").await;
    store.put(unneeded).await;
    store.reopen();
    assert_eq!(waiting(&store, "agent:a").await, written);
    let some = PendingQuery { after: written[1], limits: Limits { records: 2, bytes: 1_000 }, ..ALL };
    let found = store.pending(channel("agent:a"), some).await.unwrap();
    assert_eq!(found.iter().map(|pending| pending.record.seq).collect::<Vec<_>>(), written[2..4]);
    let narrow = PendingQuery { limits: Limits { records: 9, bytes: 1 }, ..ALL };
    assert_eq!(store.pending(channel("agent:a"), narrow).await.unwrap().len(), 1);
    assert!(store.pending(channel("agent:nobody"), ALL).await.unwrap().is_empty());
}

async fn acknowledging_is_cumulative_or_selective(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut written = Vec::new();
    for priority in [Priority::Low, Priority::High, Priority::Normal, Priority::Low, Priority::Normal] {
        let record = NewRecord { priority, ..store.letter("agent:a").await };
        written.push(store.put(record).await);
    }
    let ack = |ack| store.ack(channel("agent:a"), ack);
    assert_eq!(ack(Ack::Each(vec![written[3], 999, written[1], written[1]])).await, Ok(vec![written[1], written[3]]));
    assert_eq!(ack(Ack::Each(vec![written[1]])).await, Ok(vec![]));
    let but = |kept| Ack::through_but(written[2], kept);
    assert_eq!(ack(but(vec![written[0], written[2]])).await, Ok(vec![]));
    assert_eq!(ack(but(vec![written[0]])).await, Ok(vec![written[2]]));
    store.reopen();
    assert_eq!(waiting(&store, "agent:a").await, [written[0], written[4]]);
    assert_eq!(store.ack(channel("agent:a"), but(vec![written[0]])).await, Ok(vec![]));
    assert_eq!(store.ack(channel("agent:a"), Ack::Through(written[2])).await, Ok(vec![written[0]]));
    assert_eq!(store.ack(channel("agent:a"), Ack::Through(u64::MAX)).await, Ok(vec![written[4]]));
    assert_eq!(store.ack(channel("agent:nobody"), Ack::Through(9)).await, Ok(vec![]));
    let info = store.channel(channel("agent:a")).await.unwrap().unwrap();
    assert_eq!((info.records, info.unacked, info.unacked_bytes), (5, 0, 0));
}

async fn deliveries_and_refusals_are_remembered(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = store.letter("agent:a").await;
    let live = NewRecord { delivery: Some(FirstDelivery { attempts: 1, due_at: 500 }), ..record };
    let live = store.put(live).await;
    let record = store.letter("agent:a").await;
    let away = store.put(record).await;
    let due = |store: &Subject, due_before| store.pending(channel("agent:a"), PendingQuery { due_before, ..ALL });
    let state = |found: Vec<Pending>| -> Vec<(u64, u32, u64)> {
        found.into_iter().map(|pending| (pending.record.seq, pending.attempts, pending.due_at)).collect()
    };
    assert_eq!(state(due(&store, 499).await.unwrap()), [(away, 0, 0)]);
    assert_eq!(state(due(&store, 500).await.unwrap()), [(live, 1, 500), (away, 0, 0)]);

    let delivered = |seq, attempt, next_due| Delivered { channel: channel("agent:a"), seq, attempt, next_due };
    let unknown = Delivered { channel: channel("agent:nobody"), ..delivered(away, 1, 1) };
    store.mark_delivered(vec![delivered(away, 1, 900), unknown, delivered(777, 1, 1)]).await.unwrap();
    let nack = Nack { not_before: 700, reason: "busy ".repeat(200) };
    assert_eq!(store.nack(channel("agent:a"), live, nack.clone()).await, Ok(Some(1)));
    assert_eq!(store.nack(channel("agent:a"), 777, nack.clone()).await, Ok(None));
    assert_eq!(store.nack(channel("agent:nobody"), live, nack).await, Ok(None));
    store.reopen();
    let found = due(&store, 899).await.unwrap();
    assert_eq!(found[0].reason.as_deref().map(str::len), Some(store::MAX_REASON));
    assert_eq!(state(found), [(live, 1, 700)]);
    assert_eq!(state(due(&store, 900).await.unwrap()), [(live, 1, 700), (away, 1, 900)]);
}

async fn a_position_leaves_what_was_refused(backend: Backend) {
    let mut store = Subject::open(backend);
    let mut written = Vec::new();
    for _ in 0..5 {
        let record = store.letter("agent:a").await;
        written.push(store.put(record).await);
    }
    for (seq, reason) in [(written[1], "busy"), (written[2], ""), (written[4], "later")] {
        store.nack(channel("agent:a"), seq, Nack { not_before: 700, reason: reason.to_owned() }).await.unwrap();
    }
    store.reopen();
    // Also what was handed out again since.
    let again = Delivered { channel: channel("agent:a"), seq: written[1], attempt: 2, next_due: 900 };
    store.mark_delivered(vec![again]).await.unwrap();
    let ack = |ack| store.ack(channel("agent:a"), ack);
    assert_eq!(ack(Ack::ThroughUnrefused(written[3])).await, Ok(vec![written[0], written[3]]));
    assert_eq!(ack(Ack::ThroughUnrefused(written[4])).await, Ok(vec![]));
    assert_eq!(waiting(&store, "agent:a").await, [written[1], written[2], written[4]]);
    assert_eq!(ack(Ack::Through(written[2])).await, Ok(vec![written[1], written[2]]));
    // What is not in any index yet was not refused.
    let record = store.letter("agent:a").await;
    let fresh = store.put(record).await;
    let acked = store.ack(channel("agent:a"), Ack::ThroughUnrefused(u64::MAX)).await;
    assert_eq!(acked, Ok(vec![fresh]));
    store.reopen();
    assert_eq!(waiting(&store, "agent:a").await, [written[4]]);
}

async fn a_full_inbox_gives_up_the_oldest_of_the_lowest_priority(backend: Backend) {
    let mut store = Subject::open_with(backend, inbox_of(3, 1_000, 0));
    let mut written = Vec::new();
    for priority in [Priority::High, Priority::Low, Priority::Normal] {
        let record = NewRecord { priority, ..store.letter("agent:a").await };
        written.push(store.put(record).await);
    }
    let record = store.letter("agent:a").await;
    let fourth = record.seq;
    let answers = store.put_all(vec![record]).await;
    let [Appended::Stored { evicted, .. }] = answers.as_slice() else { panic!("{answers:?}") };
    let [letter] = evicted.as_slice() else { panic!("{evicted:?}") };
    assert_eq!((letter.seq, letter.reason), (written[1], DeadReason::InboxFull));
    assert_eq!((letter.message_id.as_str(), letter.source.as_str()), (format!("m{}", written[1]).as_str(), "agent:a"));
    assert_eq!(waiting(&store, "agent:a").await, [written[0], written[2], fourth]);

    // The newest itself, if nothing of lower priority waits.
    let record = NewRecord { priority: Priority::Low, ..store.letter("agent:a").await };
    let fifth = record.seq;
    let answers = store.put_all(vec![record]).await;
    assert!(matches!(answers.as_slice(), [Appended::Stored { seq, evicted }] if *seq == fifth && evicted[0].seq == fifth));

    store.reopen();
    let page = store.page("agent:a", ReadFrom::After(written[0])).await;
    let lost = page.lost.unwrap();
    assert_eq!((lost.dead_lettered, lost.trimmed), (2, 0));
    let dead = store.page("dead:agent:a", ReadFrom::After(0)).await;
    let origins: Vec<u64> = dead.records.iter().map(|record| record.dead.as_ref().unwrap().seq).collect();
    assert_eq!(origins, [written[1], fifth]);
    let large = NewRecord { frame: vec![b'x'; 1_001].into(), ..store.letter("agent:a").await };
    assert_eq!(store.refusal(large).await, StoreError::RecordTooLarge { bytes: 1_001, limit: 1_000 });
    let large = NewRecord { frame: vec![b'x'; 1_000].into(), ..store.letter("agent:a").await };
    store.put(large.clone()).await;
    assert_eq!(waiting(&store, "agent:a").await, [written[0]], "the first of high priority alone outweighs it");
}

async fn a_dead_letter_keeps_its_origin(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = NewRecord { priority: Priority::High, expires_at: Some(77), ..store.letter("user:u").await };
    let seq = store.put(record.clone()).await;
    let death = Death { reason: DeadReason::MaxDeliveries, detail: Some("five times".to_owned()), at: 1_234 };
    let letter = store.dead_letter(channel("user:u"), seq, death.clone()).await.unwrap().unwrap();
    assert_eq!((letter.seq, letter.reason), (seq, DeadReason::MaxDeliveries));
    assert_eq!(letter.dead_channel, channel("dead:user:u"));
    assert_eq!(store.dead_letter(channel("user:u"), seq, death.clone()).await, Ok(None));
    assert_eq!(store.dead_letter(channel("user:nobody"), seq, death.clone()).await, Ok(None));
    store.reopen();
    let page = store.page("dead:user:u", ReadFrom::After(0)).await;
    let [dead] = page.records.as_slice() else { panic!("{page:?}") };
    assert_eq!((dead.seq, dead.stored_at, dead.expires_at), (letter.dead_seq, 1_234, None));
    assert_eq!((&dead.frame, dead.priority, &dead.message_id), (&record.frame, Priority::High, &record.message_id));
    let origin = dead.dead.as_ref().unwrap();
    assert_eq!((&origin.channel, origin.seq, origin.reason), (&record.channel, seq, DeadReason::MaxDeliveries));
    assert_eq!(origin.detail.as_deref(), Some("five times"));
    assert!(store.numbers("user:u").await.is_empty());
    // The settled ones stay where they are, and the number is never given to another record.
    let settled = store.record("user:u").await;
    let settled = store.put(settled).await;
    assert_eq!(store.dead_letter(channel("user:u"), settled, death).await, Ok(None));
    assert_ne!(settled, letter.dead_seq);
    assert!(store.reserve(1).await.unwrap().start > letter.dead_seq);
}

async fn what_expires_or_grows_old_is_moved(backend: Backend) {
    let mut store = Subject::open_with(backend, inbox_of(0, 0, 1_000));
    let mut put = Vec::new();
    for expires_at in [Some(1_500), None, Some(1_200)] {
        let record = NewRecord { stored_at: 1_000, expires_at, ..store.letter("agent:a").await };
        put.push(store.put(record).await);
    }
    let record = NewRecord { stored_at: 1_900, ..store.letter("agent:a").await };
    put.push(store.put(record).await);
    let dead =
        |trimmed: store::Trimmed| trimmed.dead_lettered.into_iter().map(|letter| (letter.seq, letter.reason)).collect::<Vec<_>>();
    assert!(dead(store.trim(1_199, 100).await.unwrap()).is_empty());
    let first = store.trim(1_500, 1).await.unwrap();
    assert!(first.more);
    assert_eq!(dead(first), [(put[2], DeadReason::Expired)]);
    assert_eq!(dead(store.trim(1_500, 100).await.unwrap()), [(put[0], DeadReason::Expired)]);
    store.reopen();
    assert!(dead(store.trim(2_000, 100).await.unwrap()).is_empty());
    assert_eq!(dead(store.trim(2_001, 100).await.unwrap()), [(put[1], DeadReason::Age)]);
    assert_eq!(waiting(&store, "agent:a").await, [put[3]]);
    let info = store.channel(channel("agent:a")).await.unwrap().unwrap();
    assert_eq!((info.records, info.dead_lettered, info.oldest_at), (1, 3, Some(1_900)));
}

async fn an_acknowledged_record_stays_in_the_log(backend: Backend) {
    let mut store = Subject::open(backend);
    let record = NewRecord { expires_at: Some(5), ..store.letter("session:7f4df2c1-96b7-44d8-a9a8-36b2fd3e0b3b").await };
    let name = record.channel.clone();
    let seq = store.put(record).await;
    store.ack(name.clone(), Ack::Each(vec![seq])).await.unwrap();
    assert!(store.trim(100, 100).await.unwrap().dead_lettered.is_empty(), "it was received, so it cannot expire");
    assert_eq!(store.numbers(name.as_str()).await, [seq]);
}
