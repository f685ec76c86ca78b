//! What is charged to whom: quotas, the bound of the whole store, and who gives way in a full
//! inbox.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use common::envelope::Priority;
use proptest::{prelude::*, test_runner::TestCaseError};
use store::{
    Ack, Appended, Bounds, ChannelFamily, DeadReason, Death, FamilyPolicy, FirstDelivery, Kind, Limits, NewRecord, Owner,
    OwnerKey, PendingQuery, Quota, Quotas, ReadFrom, Retained, Standing, StoreError, StoreOptions,
};

use crate::harness::{Backend, Subject, channel, contract};

contract!(
    a_flood_ends_at_the_quota_of_each_holder,
    what_is_stored_stays_charged_after_a_restart,
    what_is_acknowledged_dead_or_removed_is_given_back,
    refused_and_repeated_messages_cost_nothing,
    strangers_reach_the_bound_of_the_store_before_agents,
    a_flood_pushes_nobody_else_out_of_an_inbox,
    a_flood_pushes_nobody_elses_dead_letters_out,
    agents_without_a_key_are_one_sender,
    strangers_leave_channels_and_retained_values_to_agents,
    a_retained_value_stays_charged_until_it_is_replaced_or_removed,
);

pub fn session(number: u32, user: Option<&str>, address: &str) -> OwnerKey {
    OwnerKey {
        standing: if user.is_some() { Standing::User } else { Standing::Anonymous },
        sender: format!("session:00000000-0000-4000-8000-{number:012}"),
        user: user.map(str::to_owned),
        address: Some(address.to_owned()),
        key: None,
    }
}

pub fn agent(id: &str, key: &str) -> OwnerKey {
    OwnerKey { standing: Standing::Agent, sender: format!("agent:{id}"), user: None, address: None, key: Some(key.to_owned()) }
}

fn quotas() -> StoreOptions {
    let quotas = Quotas {
        session: Quota { records: 3, bytes: 1_000 },
        user: Quota { records: 5, bytes: 1_000 },
        address: Quota { records: 6, bytes: 1_000 },
        key: Quota { records: 0, bytes: 500 },
    };
    StoreOptions { quotas, ..StoreOptions::default() }
}

impl Subject {
    /// Sends a message of so many bytes; returns its number, or why it was refused.
    pub async fn send(&mut self, owner: &OwnerKey, name: &str, bytes: usize) -> Result<u64, StoreError> {
        let owner = Some(self.owner(owner));
        let frame = Bytes::from(vec![b'x'; bytes]);
        let record = NewRecord { owner, frame, ..self.letter(name).await };
        self.append(vec![record]).await.map(|answers| answers[0].seq())
    }

    /// The numbers of what waits in an inbox.
    async fn waiting(&self, name: &str) -> Vec<u64> {
        let all = PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: 100, bytes: u64::MAX } };
        self.pending(channel(name), all).await.unwrap().iter().map(|pending| pending.record.seq).collect()
    }

    fn charged(&self, kind: Kind, name: &str) -> (u64, u64) {
        let found = self.usage().fullest.into_iter().find(|(of, who, _)| *of == kind && who == name);
        found.map_or((0, 0), |(_, _, used)| (used.records, used.bytes))
    }
}

fn over(kind: Kind, of: &'static str, limit: u64) -> StoreError {
    StoreError::QuotaExceeded { kind, of, limit }
}

async fn a_flood_ends_at_the_quota_of_each_holder(backend: Backend) {
    let mut store = Subject::open_with(backend, quotas());
    let [one, two, three] = [1, 2, 3].map(|number| session(number, Some("u"), "192.0.2.1"));
    for _ in 0..3 {
        store.send(&one, "agent:a", 10).await.unwrap();
    }
    assert_eq!(store.send(&one, "agent:b", 10).await, Err(over(Kind::Session, "messages", 3)));
    for _ in 0..2 {
        store.send(&two, "topic:t", 10).await.unwrap();
    }
    assert_eq!(store.send(&three, "agent:a", 10).await, Err(over(Kind::User, "messages", 5)));
    // New sessions of one address are one sender.
    store.send(&session(4, None, "192.0.2.1"), "agent:a", 10).await.unwrap();
    let fifth = session(5, None, "192.0.2.1");
    assert_eq!(store.send(&fifth, "agent:a", 10).await, Err(over(Kind::Address, "messages", 6)));
    store.send(&session(6, None, "192.0.2.2"), "agent:a", 950).await.unwrap();
    let large = session(7, None, "192.0.2.2");
    assert_eq!(store.send(&large, "agent:a", 51).await, Err(over(Kind::Address, "bytes", 1_000)));
    for number in 0..50 {
        store.send(&agent(&format!("a{number}"), "k"), "agent:a", 10).await.unwrap();
    }
    assert_eq!(store.send(&agent("b", "k"), "agent:a", 1).await, Err(over(Kind::Key, "bytes", 500)));
    store.send(&agent("b", "other"), "agent:a", 500).await.unwrap();
    assert_eq!(store.usage().refused, [1, 1, 2, 1]);
}

async fn what_is_stored_stays_charged_after_a_restart(backend: Backend) {
    if !backend.outlives_its_process() {
        return;
    }
    let mut store = Subject::open_with(backend, quotas());
    let one = session(1, None, "192.0.2.1");
    store.send(&one, "agent:a", 10).await.unwrap();
    store.send(&one, "topic:t", 20).await.unwrap();
    let seq = store.send(&one, "agent:a", 30).await.unwrap();
    for _ in 0..2 {
        store.reopen();
        assert_eq!(store.charged(Kind::Address, "192.0.2.1"), (3, 60));
        assert_eq!(store.send(&one, "agent:a", 10).await, Err(over(Kind::Session, "messages", 3)));
    }
    store.ack(channel("agent:a"), Ack::Each(vec![seq])).await.unwrap();
    store.reopen();
    assert_eq!(store.charged(Kind::Address, "192.0.2.1"), (2, 30));
    store.send(&one, "agent:a", 10).await.unwrap();
    assert_eq!(store.charged(Kind::Session, &one.sender), (3, 40));
}

async fn what_is_acknowledged_dead_or_removed_is_given_back(backend: Backend) {
    let mut options = quotas();
    let log = Bounds { records: 1, bytes: 0, age_ms: 1_000 };
    options.policies.set(ChannelFamily::Topic, FamilyPolicy { log, inbox: Bounds::default() });
    let mut store = Subject::open_with(backend, options);
    let one = session(1, None, "192.0.2.1");
    let used = |store: &Subject| store.charged(Kind::Session, &one.sender).0;
    let acked = store.send(&one, "agent:a", 10).await.unwrap();
    let dead = store.send(&one, "agent:a", 10).await.unwrap();
    let owner = Some(store.owner(&one));
    let expiring = NewRecord { expires_at: Some(500), owner: owner.clone(), ..store.letter("agent:a").await };
    store.put(expiring).await;
    assert_eq!(used(&store), 3);
    store.ack(channel("agent:a"), Ack::Each(vec![acked])).await.unwrap();
    assert_eq!(used(&store), 2);
    store.reopen();
    store.dead_letter(channel("agent:a"), dead, Death::of(DeadReason::Rejected, 100)).await.unwrap();
    assert_eq!(used(&store), 1);
    store.trim(500, 100).await.unwrap();
    assert_eq!(used(&store), 0);
    let owner = Some(store.owner(&one));
    for _ in 0..5 {
        let record = NewRecord { owner: owner.clone(), ..store.record("topic:t").await };
        store.put(record).await;
        assert_eq!(used(&store), 1, "only the newest is kept");
    }
    store.reopen();
    store.trim(10_000, 100).await.unwrap();
    assert_eq!(used(&store), 0);
}

async fn refused_and_repeated_messages_cost_nothing(backend: Backend) {
    let mut store = Subject::open_with(backend, quotas());
    let one = session(1, None, "192.0.2.1");
    let owner = Some(store.owner(&one));
    let first = NewRecord { owner: owner.clone(), ..store.letter("agent:a").await };
    let again = NewRecord { seq: store.number().await, ..first.clone() };
    let late = NewRecord { message_id: "late".to_owned(), ..first.clone() };
    store.put(first).await;
    for _ in 0..10 {
        assert!(matches!(store.put_all(vec![again.clone()]).await[..], [Appended::Duplicate { .. }]));
        store.refusal(late.clone()).await;
    }
    assert_eq!(store.charged(Kind::Session, &one.sender).0, 1);
    // All or none: the fourth of these is over the quota.
    let mut many = Vec::new();
    for _ in 0..3 {
        many.push(NewRecord { owner: owner.clone(), ..store.letter("agent:a").await });
    }
    assert_eq!(store.append(many).await, Err(over(Kind::Session, "messages", 3)));
    assert_eq!(store.charged(Kind::Session, &one.sender).0, 1);
    let size = 10;
    store.charge(owner.as_deref(), size).unwrap();
    assert_eq!(store.charged(Kind::Session, &one.sender).0, 2);
    store.release(owner.as_deref(), size);
    assert_eq!(store.charged(Kind::Session, &one.sender).0, 1);
}

async fn strangers_reach_the_bound_of_the_store_before_agents(backend: Backend) {
    let mut store = Subject::open_with(backend, StoreOptions { max_bytes: 400, ..StoreOptions::default() });
    let (stranger, user) = (session(1, None, "192.0.2.1"), session(2, Some("u"), "192.0.2.2"));
    for _ in 0..2 {
        store.send(&stranger, "agent:a", 100).await.unwrap();
    }
    assert_eq!(store.send(&stranger, "agent:a", 1).await, Err(StoreError::Full { limit: 200 }));
    store.send(&user, "agent:a", 100).await.unwrap();
    assert_eq!(store.send(&user, "agent:a", 1).await, Err(StoreError::Full { limit: 300 }));
    store.reopen();
    let full = store.send(&stranger, "agent:a", 1).await;
    assert_eq!(full, Err(StoreError::Full { limit: 200 }), "what is stored counts after a restart");
    store.send(&agent("a", "k"), "agent:a", 100).await.unwrap();
    assert_eq!(store.send(&agent("a", "k"), "agent:a", 1).await, Err(StoreError::Full { limit: 400 }));
}

async fn a_flood_pushes_nobody_else_out_of_an_inbox(backend: Backend) {
    let mut options = StoreOptions::default();
    let inbox = Bounds { records: 40, bytes: 0, age_ms: 0 };
    options.policies.set(ChannelFamily::Agent, FamilyPolicy { log: Bounds::default(), inbox });
    let mut store = Subject::open_with(backend, options);
    let honest = [session(1, None, "192.0.2.1"), session(2, Some("u"), "192.0.2.2"), agent("b", "k")];
    let mut kept = Vec::new();
    for owner in &honest {
        for _ in 0..5 {
            kept.push(store.send(owner, "agent:a", 10).await.unwrap());
        }
    }
    for number in 0..200 {
        if number == 100 {
            store.reopen();
        }
        store.send(&session(1_000 + number, None, "198.51.100.1"), "agent:a", 10).await.unwrap();
    }
    let waiting = store.waiting("agent:a").await;
    assert_eq!(waiting.len(), 40);
    assert_eq!(waiting[..15], kept, "200 sessions of one address evict each other");
}

async fn a_flood_pushes_nobody_elses_dead_letters_out(backend: Backend) {
    let mut options = StoreOptions::default();
    let inbox = Bounds { records: 40, bytes: 0, age_ms: 0 };
    options.policies.set(ChannelFamily::Agent, FamilyPolicy { log: Bounds::default(), inbox });
    let dead = Bounds { records: 24, bytes: 0, age_ms: 10_000 };
    options.policies.set(ChannelFamily::Dead, FamilyPolicy { log: dead, inbox: Bounds::default() });
    let mut store = Subject::open_with(backend, options);
    let honest = [session(1, None, "192.0.2.1"), session(2, Some("u"), "192.0.2.2"), agent("b", "k")];
    let mut buried = Vec::new();
    for owner in &honest {
        for _ in 0..4 {
            let seq = store.send(owner, "agent:a", 10).await.unwrap();
            store.dead_letter(channel("agent:a"), seq, Death::of(DeadReason::Rejected, 5)).await.unwrap();
            buried.push(seq);
        }
    }
    // What overflows the inbox becomes a dead letter too, of fresh sessions of one address.
    for number in 0..300 {
        if number % 100 == 0 {
            store.reopen();
        }
        store.send(&session(1_000 + number, None, "198.51.100.1"), "agent:a", 10).await.unwrap();
    }
    let letters = store.page("dead:agent:a", ReadFrom::After(0)).await.records;
    let origins: Vec<u64> = letters.iter().filter_map(|letter| letter.dead.as_ref().map(|dead| dead.seq)).collect();
    assert!((12..=24).contains(&origins.len()), "{}", origins.len());
    assert_eq!(origins[..12], buried, "300 sessions of one address evict each other's");
    assert_eq!((store.health().records, store.health().bytes), (40 + origins.len() as u64, (40 + origins.len() as u64) * 10));
    // Their age is everybody's.
    store.trim(u64::MAX / 2, 1_000).await.unwrap();
    assert!(store.numbers("dead:agent:a").await.is_empty());
}

async fn strangers_leave_channels_and_retained_values_to_agents(backend: Backend) {
    let options = StoreOptions { max_channels: 4, max_retained: 4, ..StoreOptions::default() };
    let mut store = Subject::open_with(backend, options);
    let senders = [session(1, None, "192.0.2.1"), session(2, Some("u"), "192.0.2.2"), agent("a", "k")];
    let mut taken = 0;
    for (owner, limit) in senders.iter().zip([2, 3, 4]) {
        while taken < limit {
            let name = format!("topic:t{taken}");
            let seq = store.send(owner, &name, 10).await.unwrap();
            let value = Retained { seq, stored_at: seq, expires_at: None, frame: Bytes::from_static(b"{}") };
            let charged = store.owner(owner);
            store.charge(Some(&charged), 2).unwrap();
            store.set_retained(channel(&name), Some(value), Some(charged)).await.unwrap();
            taken += 1;
        }
        let full = StoreError::TooManyChannels { limit };
        assert_eq!(store.send(owner, "topic:new", 10).await, Err(full.clone()));
        let value = Retained { seq: 9, stored_at: 9, expires_at: None, frame: Bytes::from_static(b"{}") };
        let charged = store.owner(owner);
        store.charge(Some(&charged), 2).unwrap();
        assert_eq!(store.set_retained(channel("topic:new"), Some(value), Some(charged)).await, Err(full));
        // What is there already can still be used.
        store.send(owner, "topic:t0", 10).await.unwrap();
        store.reopen();
    }
}

async fn a_retained_value_stays_charged_until_it_is_replaced_or_removed(backend: Backend) {
    let mut options = quotas();
    let log = Bounds { records: 0, bytes: 0, age_ms: 1_000 };
    options.policies.set(ChannelFamily::Topic, FamilyPolicy { log, inbox: Bounds::default() });
    options.max_retained = 6;
    let mut store = Subject::open_with(backend, options);
    let (one, other) = (session(1, None, "192.0.2.1"), session(2, None, "192.0.2.2"));
    let value =
        |seq, bytes: usize, expires_at| Some(Retained { seq, stored_at: seq, expires_at, frame: Bytes::from(vec![b'x'; bytes]) });
    let keep = async |store: &Subject, owner: &OwnerKey, name: &str, value: Option<Retained>| {
        let owner = store.owner(owner);
        store.charge(Some(&owner), value.as_ref().map_or(0, |value| value.frame.len() as u64))?;
        store.set_retained(channel(name), value, Some(owner)).await
    };
    let charged = |store: &Subject| {
        [&one, &other].map(|owner| {
            (store.charged(Kind::Session, &owner.sender), store.charged(Kind::Address, owner.address.as_ref().unwrap()))
        })
    };
    let both = |one, other| [(one, one), (other, other)];

    // It outlives its record.
    let (owner, frame) = (Some(store.owner(&one)), Bytes::from(vec![b'x'; 100]));
    let record = NewRecord { owner, frame, delivery: None, ..store.letter("topic:a").await };
    let seq = store.append(vec![record]).await.unwrap()[0].seq();
    keep(&store, &one, "topic:a", value(seq, 100, None)).await.unwrap();
    assert_eq!(charged(&store), both((2, 200), (0, 0)));
    assert_eq!(store.trim(u64::MAX / 2, 100).await.unwrap().records, 1);
    assert_eq!(charged(&store), both((1, 100), (0, 0)));
    store.reopen();
    assert_eq!(charged(&store), both((1, 100), (0, 0)));

    // The quota bounds how many one holder has.
    for name in ["topic:b", "topic:c"] {
        keep(&store, &one, name, value(10, 10, Some(50))).await.unwrap();
    }
    assert_eq!(keep(&store, &one, "topic:d", value(10, 10, None)).await, Err(over(Kind::Session, "messages", 3)));
    // One that is not newer changes nothing, and one of somebody else frees the first.
    keep(&store, &other, "topic:a", value(seq - 1, 30, None)).await.unwrap();
    assert_eq!(charged(&store), both((3, 120), (0, 0)));
    keep(&store, &other, "topic:a", value(20, 30, None)).await.unwrap();
    assert_eq!(charged(&store), both((2, 20), (1, 30)));
    store.reopen();
    assert_eq!(charged(&store), both((2, 20), (1, 30)));
    // The same owner, in another size.
    keep(&store, &other, "topic:a", value(21, 40, None)).await.unwrap();
    assert_eq!(charged(&store), both((2, 20), (1, 40)));

    // It ends with the value: by its time, or because it is removed.
    assert_eq!(store.trim(50, 1).await.unwrap().rows, 1);
    assert_eq!(charged(&store), both((1, 10), (1, 40)));
    store.trim(50, 100).await.unwrap();
    store.set_retained(channel("topic:a"), None, None).await.unwrap();
    assert_eq!(charged(&store), both((0, 0), (0, 0)));
    store.reopen();
    assert_eq!(charged(&store), both((0, 0), (0, 0)));
}

async fn agents_without_a_key_are_one_sender(backend: Backend) {
    let mut options = quotas();
    let inbox = Bounds { records: 20, bytes: 0, age_ms: 0 };
    options.policies.set(ChannelFamily::Agent, FamilyPolicy { log: Bounds::default(), inbox });
    let mut store = Subject::open_with(backend, options);
    let nameless = |number: u32| OwnerKey { key: None, ..agent(&format!("n{number}"), "") };
    let mut kept = Vec::new();
    for _ in 0..5 {
        kept.push(store.send(&agent("b", "k"), "agent:a", 10).await.unwrap());
    }
    for number in 0..50 {
        store.send(&nameless(number), "agent:a", 10).await.unwrap();
    }
    let waiting: Vec<u64> = store.waiting("agent:a").await;
    assert_eq!((waiting.len(), &waiting[..5]), (20, &kept[..]), "fifty agents without a key evict each other");
    store.reopen();
    for number in 0..35 {
        store.send(&nameless(100 + number), "topic:t", 10).await.unwrap();
    }
    assert_eq!(store.send(&nameless(500), "topic:t", 1).await, Err(over(Kind::Key, "bytes", 500)));
}

/// A message of the naive model.
#[derive(Clone, Debug)]
struct Waiting {
    seq: u64,
    owner: usize,
    lane: usize,
    bytes: u64,
}

const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Control];
const BOUNDS: Bounds = Bounds { records: 12, bytes: 200, age_ms: 0 };

fn owners() -> Vec<OwnerKey> {
    let mut owners = vec![agent("b", "k"), agent("c", "k"), agent("d", "other")];
    owners.extend((1..4).map(|number| session(number, None, "192.0.2.1")));
    owners.extend((4..6).map(|number| session(number, None, "192.0.2.2")));
    owners.extend((6..8).map(|number| session(number, Some("u"), "192.0.2.3")));
    owners.push(session(8, Some("v"), "192.0.2.3"));
    owners
}

fn source(owner: &OwnerKey) -> Option<&String> {
    match owner.standing {
        Standing::Anonymous => owner.address.as_ref(),
        Standing::User => owner.user.as_ref(),
        Standing::Agent => owner.key.as_ref(),
    }
}

/// Whether the rule allows this message to give way.
fn may_go(waiting: &[Waiting], owners: &[OwnerKey], gone: &Waiting) -> bool {
    let by_bytes = waiting.len() as u64 <= BOUNDS.records;
    let bound = if by_bytes { BOUNDS.bytes } else { BOUNDS.records };
    let sum = |of: &dyn Fn(usize) -> bool| -> u64 {
        waiting.iter().filter(|row| of(row.owner)).map(|row| if by_bytes { row.bytes } else { 1 }).sum()
    };
    let sure = [bound / 4, bound / 4, bound - 2 * (bound / 4)];
    let over = Standing::ALL.into_iter().find(|standing| sum(&|who| owners[who].standing == *standing) > sure[standing.index()]);
    let key = &owners[gone.owner];
    if over != Some(key.standing) {
        return false;
    }
    let of_source = |one: &OwnerKey| {
        let one = one.clone();
        sum(&move |who| owners[who].standing == one.standing && source(&owners[who]) == source(&one))
    };
    let largest_source = owners.iter().filter(|one| one.standing == key.standing).all(|one| of_source(one) <= of_source(key));
    let mine = sum(&|who| who == gone.owner);
    let beside = (0..owners.len()).filter(|who| owners[*who].standing == key.standing && source(&owners[*who]) == source(key));
    let largest_sender = beside.into_iter().all(|other| sum(&|who| who == other) <= mine);
    let first = waiting.iter().filter(|row| row.owner == gone.owner).min_by_key(|row| (row.lane, row.seq));
    largest_source && largest_sender && first.is_some_and(|first| first.seq == gone.seq)
}

#[derive(Clone, Debug)]
enum Step {
    Send { owner: usize, lane: usize, bytes: usize },
    Ack { place: usize },
    Reopen,
}

async fn run(backend: Backend, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut options = StoreOptions::default();
    options.policies.set(ChannelFamily::Agent, FamilyPolicy { log: Bounds::default(), inbox: BOUNDS });
    let mut store = Subject::open_with(backend, options);
    let owners = owners();
    let mut waiting: Vec<Waiting> = Vec::new();
    for step in steps {
        match step {
            Step::Send { owner, lane, bytes } => {
                let known: Arc<Owner> = store.owner(&owners[owner]);
                let record = NewRecord {
                    owner: Some(known),
                    priority: PRIORITIES[lane],
                    frame: Bytes::from(vec![b'x'; bytes]),
                    delivery: Some(FirstDelivery { attempts: 0, due_at: 0 }),
                    ..store.letter("agent:a").await
                };
                waiting.push(Waiting { seq: record.seq, owner, lane, bytes: bytes as u64 });
                let answers = store.put_all(vec![record]).await;
                let [Appended::Stored { evicted, .. }] = &answers[..] else { panic!("{answers:?}") };
                for letter in evicted {
                    let at = waiting.iter().position(|row| row.seq == letter.seq);
                    let at = at.ok_or_else(|| TestCaseError::fail("what does not wait went"))?;
                    prop_assert!(may_go(&waiting, &owners, &waiting[at]), "{:?} of {:?}", waiting[at], waiting);
                    waiting.remove(at);
                }
                let bytes: u64 = waiting.iter().map(|row| row.bytes).sum();
                prop_assert!(waiting.len() as u64 <= BOUNDS.records && bytes <= BOUNDS.bytes);
            }
            Step::Ack { place } if !waiting.is_empty() => {
                let gone = waiting.remove(place % waiting.len());
                store.ack(channel("agent:a"), Ack::Each(vec![gone.seq])).await.unwrap();
            }
            Step::Ack { .. } => {}
            Step::Reopen => store.reopen(),
        }
        let mut expected: HashMap<&str, (u64, u64)> = HashMap::new();
        for row in &waiting {
            let used = expected.entry(&owners[row.owner].sender).or_default();
            *used = (used.0 + 1, used.1 + row.bytes);
        }
        for (kind, name, used) in store.usage().fullest {
            if kind == Kind::Session {
                prop_assert_eq!(expected.get(name.as_str()), Some(&(used.records, used.bytes)), "{}", name);
            }
        }
    }
    Ok(())
}

fn check(backend: Backend, cases: u32) {
    let step = prop_oneof![
        12 => (0..owners().len(), 0..4_usize, 1..60_usize).prop_map(|(owner, lane, bytes)| Step::Send { owner, lane, bytes }),
        3 => any::<usize>().prop_map(|place| Step::Ack { place }),
        1 => Just(if backend.outlives_its_process() { Step::Reopen } else { Step::Ack { place: 0 } }),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(step, 1..80), |steps| runtime.block_on(run(backend, steps)));
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn the_messages_removed_match_the_model_in_memory() {
    check(Backend::Memory, 256);
}

#[test]
fn the_messages_removed_match_the_model_in_a_file() {
    check(Backend::Process, 48);
}
