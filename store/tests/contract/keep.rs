//! Sessions, cursors, retained values, audit, small values.

use bytes::Bytes;
use common::{
    audit::{Entry, Event},
    id::{ClientName, SessionId},
};
use store::{AuditQuery, Bounds, ConsumerId, DeadReason, Death, ReadFrom, Retained, StoreError, StoreOptions};

use crate::{
    harness::{Backend, Subject, channel, contract},
    quotas as owners,
};

contract!(
    only_sessions_that_were_put_can_be_touched,
    sessions_never_seen_again_are_forgotten,
    cursors_belong_to_their_consumer,
    all_client_names_of_an_address_share_one_bound_of_positions,
    all_sessions_of_one_source_share_one_bound_of_positions,
    what_a_receiver_was_told_goes_with_its_inbox,
    the_last_value_is_retained,
    a_retained_value_leaves_when_it_expires,
    the_audit_log_is_read_newest_first,
    the_audit_log_is_bounded,
    a_flood_removes_nobody_elses_entries_of_the_audit_log,
    small_values_are_kept,
);

async fn only_sessions_that_were_put_can_be_touched(backend: Backend) {
    let mut store = Subject::open(backend);
    let (first, second, strange) = (SessionId::fresh(), SessionId::fresh(), SessionId::fresh());
    store.put_session(first, 10).await.unwrap();
    store.put_session(second, 10).await.unwrap();
    store.put_session(first, 20).await.unwrap();
    store.touch_sessions(vec![second, strange], 30).await.unwrap();
    store.reopen();
    assert_eq!(store.forget_sessions(20, 99, 10).await.unwrap().sessions, []);
    assert_eq!(store.forget_sessions(30, 99, 10).await.unwrap().sessions, [first]);
    assert_eq!(store.forget_sessions(u64::MAX, 99, 10).await.unwrap().sessions, [second]);
}

async fn sessions_never_seen_again_are_forgotten(backend: Backend) {
    let mut store = Subject::open(backend);
    let (old, older, young) = (SessionId::fresh(), SessionId::fresh(), SessionId::fresh());
    let tab = ClientName::new("tab").unwrap();
    for (id, last_seen) in [(old, 20), (older, 10), (young, 30)] {
        store.put_session(id, last_seen).await.unwrap();
        store.save_cursors(ConsumerId::session(id), vec![(channel("topic:t"), 1)], None, 1).await.unwrap();
        let client = ConsumerId::of_client(&format!("session:{id}"), &tab, true);
        store.save_cursors(client, vec![(channel("topic:t"), 1)], None, 1).await.unwrap();
    }
    let name = format!("session:{old}");
    for _ in 0..3 {
        let settled = store.record(&name).await;
        let waits = store.letter(&name).await;
        store.put_all(vec![settled, waits]).await;
    }
    let mut forgotten = Vec::new();
    let mut letters = Vec::new();
    let mut steps = 0;
    loop {
        let step = store.forget_sessions(30, 99, 2).await.unwrap();
        forgotten.extend(step.sessions);
        letters.extend(step.dead_lettered);
        steps += 1;
        store.reopen();
        if !step.more {
            break;
        }
    }
    assert_eq!(forgotten, [older, old]);
    assert!(steps > 3, "in small steps, not {steps}");
    assert_eq!(letters.len(), 3);
    assert!(letters.iter().all(|letter| letter.reason == DeadReason::ReceiverForgotten));
    assert_eq!(store.channel(channel(&name)).await, Ok(None));
    assert_eq!(store.page(&format!("dead:{name}"), ReadFrom::After(0)).await.records.len(), 3);
    assert!(store.cursors(ConsumerId::session(old)).await.unwrap().is_empty());
    assert_eq!(store.cursors(ConsumerId::session(young)).await.unwrap().len(), 1);
    assert!(store.cursors(ConsumerId::of_client(&format!("session:{old}"), &tab, true)).await.unwrap().is_empty());
    assert_eq!((store.health().records, store.health().channels), (3, 1));
    assert_eq!(store.forget_sessions(31, 99, 2).await.unwrap().sessions, [young]);
}

async fn cursors_belong_to_their_consumer(backend: Backend) {
    let mut options = StoreOptions::default();
    options.policies.forget_cursors_ms = 1_000;
    let mut store = Subject::open_with(backend, options);
    let (one, two) = (ConsumerId::new("agent:a/worker").unwrap(), ConsumerId::new("two").unwrap());
    store.save_cursors(one.clone(), vec![(channel("topic:t"), 5), (channel("topic:a"), 9)], None, 1).await.unwrap();
    store.save_cursors(two.clone(), vec![(channel("topic:t"), 7)], None, 500).await.unwrap();
    store.save_cursors(one.clone(), vec![(channel("topic:t"), 6)], None, 500).await.unwrap();
    store.reopen();
    assert_eq!(store.cursors(one.clone()).await.unwrap(), [(channel("topic:a"), 9), (channel("topic:t"), 6)]);
    assert_eq!(store.consumers(None, 10).await.unwrap(), [one.clone(), two.clone()]);
    assert_eq!(store.consumers(None, 1).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.consumers(Some(one.clone()), 10).await.unwrap(), std::slice::from_ref(&two));
    store.drop_cursors(two.clone(), None).await.unwrap();
    assert_eq!(store.consumers(None, 10).await.unwrap(), std::slice::from_ref(&one));
    assert!(store.cursors(two.clone()).await.unwrap().is_empty());
    store.save_cursors(two.clone(), vec![(channel("topic:t"), 7), (channel("topic:u"), 8)], None, 1_090).await.unwrap();
    store.drop_cursors(two.clone(), Some(vec![channel("topic:t"), channel("topic:none")])).await.unwrap();
    store.reopen();
    assert_eq!(store.cursors(two).await.unwrap(), [(channel("topic:u"), 8)]);
    assert_eq!(store.trim(1_100, 100).await.unwrap().rows, 1);
    assert_eq!(store.cursors(one).await.unwrap(), [(channel("topic:t"), 6)]);
    assert!(ConsumerId::new("").is_err());
}

async fn all_client_names_of_an_address_share_one_bound_of_positions(backend: Backend) {
    let mut store = Subject::open_with(backend, StoreOptions { max_positions: 8, ..StoreOptions::default() });
    let of = |address: &str, name: &str, presence| ConsumerId::of_client(address, &ClientName::new(name).unwrap(), presence);
    let places = |from: u64, count: u64| (from..from + count).map(|n| (channel(&format!("topic:{n}")), n)).collect::<Vec<_>>();
    let other = of("session:other", "a", false);
    store.save_cursors(other.clone(), places(0, 8), None, 1).await.unwrap();
    let (old, old_watching, busy) = (of("agent:x", "old", false), of("agent:x", "old", true), of("agent:x", "busy", false));
    store.save_cursors(busy.clone(), places(0, 3), None, 2).await.unwrap();
    store.save_cursors(old.clone(), places(0, 2), None, 3).await.unwrap();
    store.save_cursors(old_watching.clone(), places(2, 1), None, 4).await.unwrap();
    // What moves on is in use.
    store.save_cursors(busy.clone(), vec![(channel("topic:0"), 9)], None, 5).await.unwrap();
    store.reopen();
    let newest = of("agent:x", "newest", false);
    store.save_cursors(newest.clone(), places(0, 2), None, 6).await.unwrap();
    assert_eq!(store.cursors(old.clone()).await.unwrap().len(), 2, "8 are allowed");
    store.save_cursors(newest.clone(), places(2, 1), None, 7).await.unwrap();
    assert_eq!(store.cursors(old).await.unwrap(), []);
    assert_eq!(store.cursors(old_watching).await.unwrap(), []);
    assert_eq!(store.cursors(busy.clone()).await.unwrap().len(), 3);
    assert_eq!(store.cursors(newest.clone()).await.unwrap().len(), 3);

    // Any number of names, and any number of positions of one name.
    for n in 0..40 {
        store.save_cursors(of("agent:x", &format!("n{n}"), n % 2 == 0), places(0, 1), None, 10 + n).await.unwrap();
    }
    store.save_cursors(newest.clone(), places(0, 30), None, 100).await.unwrap();
    let mut all = 0;
    for consumer in store.consumers(None, 1_000).await.unwrap() {
        let count = store.cursors(consumer.clone()).await.unwrap().len();
        all += if consumer == other { 0 } else { count };
    }
    assert!((1..=8).contains(&all), "{all} positions");
    assert_eq!(store.cursors(other.clone()).await.unwrap().len(), 8, "another address is not concerned");

    // What is removed counts no more.
    store.drop_cursors(newest.clone(), None).await.unwrap();
    store.save_cursors(newest.clone(), places(0, 8), None, 101).await.unwrap();
    assert_eq!(store.cursors(newest).await.unwrap().len(), 8);
}

async fn all_sessions_of_one_source_share_one_bound_of_positions(backend: Backend) {
    let options = StoreOptions { max_positions: 8, max_source_positions: 16, ..StoreOptions::default() };
    let mut store = Subject::open_with(backend, options);
    let of = |number: u32| {
        ConsumerId::of_client(
            &owners::session(number, None, "").sender,
            &ClientName::new("tab").unwrap(),
            number.is_multiple_of(2),
        )
    };
    let places = |count: u64| (0..count).map(|n| (channel(&format!("topic:{n}")), n)).collect::<Vec<_>>();
    let payer = |store: &Subject, number, user, address| Some(store.owner(&owners::session(number, user, address)));
    let honest = [(1, None, "192.0.2.1"), (2, Some("u"), "198.51.100.1")];
    for (number, user, address) in honest {
        store.save_cursors(of(number), places(8), payer(&store, number, user, address), 1).await.unwrap();
    }
    let busy = 99;
    store.save_cursors(of(busy), places(4), payer(&store, busy, None, "198.51.100.1"), 2).await.unwrap();
    // However many sessions one address begins.
    for number in 100..160 {
        if number == 130 {
            store.reopen();
        }
        let now = u64::from(number);
        store.save_cursors(of(number), places(2), payer(&store, number, None, "198.51.100.1"), now).await.unwrap();
        // A session whose positions move stays. What moves needs no payer.
        store.save_cursors(of(busy), places(1), None, now).await.unwrap();
    }
    let of_flood = async |store: &Subject| {
        let mut kept = Vec::new();
        for number in 100..160 {
            kept.extend(store.cursors(of(number)).await.unwrap().iter().map(|_| number));
        }
        kept
    };
    let kept = of_flood(&store).await;
    assert!((1..=12).contains(&kept.len()) && kept.contains(&159) && !kept.contains(&100), "{kept:?}");
    assert_eq!(store.cursors(of(busy)).await.unwrap().len(), 4);
    for (number, _, _) in honest {
        assert_eq!(store.cursors(of(number)).await.unwrap().len(), 8, "another source is not concerned");
    }
    let report = store.positions().await.unwrap();
    let flood = 4 + kept.len() as u64;
    assert_eq!((report.positions, report.addresses), (16 + flood, 3 + kept.len() as u64 / 2));
    let found = |kind: &str, name: &str| report.largest.iter().find(|(of, who, _)| of == kind && who == name).map(|row| row.2);
    assert_eq!(
        [found("address", "198.51.100.1"), found("address", "192.0.2.1"), found("user", "u")],
        [Some(flood), Some(8), Some(8)]
    );

    // A session that logs in counts for its user from then on.
    store.save_cursors(of(1), vec![(channel("topic:more"), 1)], payer(&store, 1, Some("v"), "192.0.2.1"), 500).await.unwrap();
    store.drop_cursors(of(2), None).await.unwrap();
    store.reopen();
    let report = store.positions().await.unwrap();
    let sources: Vec<_> = report.largest.iter().map(|(kind, name, _)| (kind.as_str(), name.as_str())).collect();
    assert!(sources.contains(&("user", "v")) && sources.len() == 2, "{sources:?}");
}

async fn what_a_receiver_was_told_goes_with_its_inbox(backend: Backend) {
    let mut options = StoreOptions::default();
    options.policies.forget_channels_ms = 1_000;
    let mut store = Subject::open_with(backend, options);
    let id = SessionId::fresh();
    store.put_session(id, 1).await.unwrap();
    let (agent, inbox) = ("agent:a".to_owned(), format!("session:{id}"));
    let (told, reader) = (ConsumerId::told_of_dead_letters(), ConsumerId::new("agent:a/worker").unwrap());
    for name in [&agent, &inbox] {
        let letter = store.letter(name).await;
        let seq = store.put(letter).await;
        store.dead_letter(channel(name), seq, Death::of(DeadReason::MaxDeliveries, 1)).await.unwrap();
        for consumer in [&told, &reader] {
            store.save_cursors(consumer.clone(), vec![(channel(name), 1)], None, u64::MAX).await.unwrap();
        }
    }
    store.forget_sessions(2, 2, 100).await.unwrap();
    assert_eq!(store.cursors(told.clone()).await.unwrap(), [(channel(&agent), 1)]);
    assert_eq!(store.trim(1_100, 100).await.unwrap().channels, 1);
    store.reopen();
    assert!(store.cursors(told).await.unwrap().is_empty());
    assert_eq!(store.cursors(reader).await.unwrap().len(), 2, "a reader's position is its own");
    // The count starts again with the inbox.
    let letter = store.letter(&agent).await;
    store.put(letter).await;
    assert_eq!(store.channel(channel(&agent)).await.unwrap().unwrap().dead_lettered, 0);
}

async fn the_last_value_is_retained(backend: Backend) {
    let options = StoreOptions { max_retained: 1, max_record_bytes: 10, ..StoreOptions::default() };
    let mut store = Subject::open_with(backend, options);
    let value = |seq, frame: &'static str| {
        Some(Retained { seq, stored_at: seq, expires_at: None, frame: Bytes::from_static(frame.as_bytes()) })
    };
    let topic = channel("topic:settings");
    assert_eq!(store.retained(topic.clone()).await, Ok(None));
    store.set_retained(topic.clone(), value(5, "five"), None).await.unwrap();
    store.set_retained(topic.clone(), value(4, "four"), None).await.unwrap();
    store.reopen();
    assert_eq!(store.retained(topic.clone()).await, Ok(value(5, "five")));
    let refused = store.set_retained(channel("topic:other"), value(9, "nine"), None).await;
    assert_eq!(refused, Err(StoreError::TooManyChannels { limit: 1 }));
    let refused = store.set_retained(topic.clone(), value(9, "more than ten"), None).await;
    assert_eq!(refused, Err(StoreError::RecordTooLarge { bytes: 13, limit: 10 }));
    store.set_retained(topic.clone(), None, None).await.unwrap();
    store.set_retained(topic.clone(), None, None).await.unwrap();
    store.set_retained(channel("topic:other"), value(9, "nine"), None).await.unwrap();
    assert_eq!(store.retained(topic).await, Ok(None));
}

async fn a_retained_value_leaves_when_it_expires(backend: Backend) {
    let mut store = Subject::open_with(backend, StoreOptions { max_retained: 3, ..StoreOptions::default() });
    let value = |seq, expires_at| Some(Retained { seq, stored_at: 1, expires_at, frame: Bytes::from_static(b"{}") });
    let [short, long, ever] = ["topic:short", "topic:long", "topic:ever"].map(channel);
    store.set_retained(short.clone(), value(1, Some(100)), None).await.unwrap();
    store.set_retained(long.clone(), value(2, Some(300)), None).await.unwrap();
    store.set_retained(ever.clone(), value(3, Some(100)), None).await.unwrap();
    // A later value has its own time, or none.
    store.set_retained(ever.clone(), value(4, None), None).await.unwrap();
    assert_eq!(store.trim(99, 10).await.unwrap().rows, 0);
    store.reopen();
    assert_eq!(store.retained(short.clone()).await, Ok(value(1, Some(100))));
    assert_eq!(store.trim(100, 10).await.unwrap().rows, 1);
    assert_eq!(store.retained(short.clone()).await, Ok(None));
    assert_eq!(store.retained(long.clone()).await, Ok(value(2, Some(300))));
    // There is room for another, of which one step removes as many as it may.
    store.set_retained(short.clone(), value(5, Some(200)), None).await.unwrap();
    let refused = store.set_retained(channel("topic:other"), value(6, None), None).await;
    assert_eq!(refused, Err(StoreError::TooManyChannels { limit: 3 }));
    store.set_retained(long.clone(), value(7, Some(200)), None).await.unwrap();
    assert_eq!(store.trim(1_000, 1).await.unwrap().rows, 1);
    assert_eq!(store.trim(1_000, 1).await.unwrap().rows, 1);
    store.reopen();
    for (name, left) in [(short, None), (long, None), (ever, value(4, None))] {
        assert_eq!(store.retained(name).await, Ok(left));
    }
    store.set_retained(channel("topic:other"), value(8, None), None).await.unwrap();
}

fn entry(at: u64, kind: Event) -> Entry {
    Entry {
        at,
        kind,
        who: "agent:a".to_owned(),
        what: "connected".to_owned(),
        origin: "127.0.0.1".to_owned(),
        detail: at.is_multiple_of(2).then(|| "{}".to_owned()),
    }
}

async fn the_audit_log_is_read_newest_first(backend: Backend) {
    let mut store = Subject::open(backend);
    store.audit((1..=6).map(|at| entry(at, if at % 3 == 0 { Event::Admin } else { Event::Connection })).collect()).await.unwrap();
    store.reopen();
    let read = async |query| {
        let rows = store.audit_log(query).await.unwrap();
        rows.into_iter().map(|row| row.entry.at).collect::<Vec<_>>()
    };
    assert_eq!(read(AuditQuery::default()).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(read(AuditQuery { since: 2, until: 5, ..AuditQuery::default() }).await, [4, 3, 2]);
    assert_eq!(read(AuditQuery { kind: Some(Event::Admin), ..AuditQuery::default() }).await, [6, 3]);
    let rows = store.audit_log(AuditQuery { limit: 2, ..AuditQuery::default() }).await.unwrap();
    assert_eq!(rows[0].entry, entry(6, Event::Admin));
    assert_eq!(read(AuditQuery { before_id: rows[1].id, limit: 2, ..AuditQuery::default() }).await, [4, 3]);
    let refused = store.audit(vec![entry(9, Event::Admin), Entry { who: "x".repeat(1000), ..entry(9, Event::Admin) }]).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))));
    assert_eq!(store.audit_log(AuditQuery::default()).await.unwrap().len(), 6);
}

async fn the_audit_log_is_bounded(backend: Backend) {
    let mut options = StoreOptions::default();
    options.policies.audit = Bounds { records: 4, bytes: 0, age_ms: 100 };
    let mut store = Subject::open_with(backend, options);
    store.audit((1..=10).map(|at| entry(at, Event::Admin)).collect()).await.unwrap();
    let newest = store.audit_log(AuditQuery::default()).await.unwrap()[0].id;
    assert_eq!(store.trim(50, 100).await.unwrap().rows, 6);
    assert_eq!(store.trim(109, 100).await.unwrap().rows, 2);
    assert_eq!(store.trim(1_000, 100).await.unwrap().rows, 2);
    store.reopen();
    store.audit(vec![entry(1_000, Event::Admin)]).await.unwrap();
    let rows = store.audit_log(AuditQuery::default()).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].id > newest, "numbers are not used again");
}

async fn a_flood_removes_nobody_elses_entries_of_the_audit_log(backend: Backend) {
    let mut options = StoreOptions::default();
    options.policies.audit = Bounds { records: 64, bytes: 0, age_ms: 0 };
    let mut store = Subject::open_with(backend, options);
    let of = |at: u64, kind, origin: &str| Entry { origin: origin.to_owned(), ..entry(at, kind) };
    let mut honest = Vec::new();
    for kind in Event::ALL {
        honest.extend((1..=4).map(|at| of(at, kind, "192.0.2.1")));
    }
    store.audit(honest.clone()).await.unwrap();
    for round in 0..20_u64 {
        if round == 10 {
            store.reopen();
        }
        // Connections of one address, and refusals of a customer that has any number of addresses.
        let flood = (0..10).flat_map(|n| {
            let at = 100 + round;
            [of(at, Event::Connection, "198.51.100.1"), of(at, Event::Refusal, &format!("2001:db8:1:1::{round:x}:{n:x}"))]
        });
        store.audit(flood.collect()).await.unwrap();
        store.trim(200, 7).await.unwrap();
        while store.trim(200, 7).await.unwrap().more {}
        let rows = store.audit_log(AuditQuery { limit: 1_000, ..AuditQuery::default() }).await.unwrap();
        assert!(rows.len() <= 64, "{}", rows.len());
        let mut found: Vec<Entry> = rows.into_iter().map(|row| row.entry).filter(|entry| entry.at < 100).collect();
        found.reverse();
        assert_eq!(found, honest, "in round {round}");
    }
    let admin = AuditQuery { kind: Some(Event::Admin), ..AuditQuery::default() };
    assert_eq!(store.audit_log(admin).await.unwrap().len(), 4);
}

async fn small_values_are_kept(backend: Backend) {
    let mut store = Subject::open(backend);
    let put = |value: Option<&'static str>| {
        store.put_state("registry".to_owned(), value.map(|value| Bytes::from_static(value.as_bytes())))
    };
    put(Some("one")).await.unwrap();
    put(Some("two")).await.unwrap();
    store.reopen();
    assert_eq!(store.state("registry".to_owned()).await, Ok(Some(Bytes::from_static(b"two"))));
    for name in ["b", "a", "c"] {
        store.put_state(name.to_owned(), Some(Bytes::copy_from_slice(name.as_bytes()))).await.unwrap();
    }
    let names = async |after: Option<&str>, limit| -> Vec<String> {
        let found = store.states(after.map(str::to_owned), limit).await.unwrap();
        found.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(None, 3).await, ["a", "b", "c"]);
    assert_eq!(names(Some("b"), 10).await, ["c", "registry"]);
    store.put_state("registry".to_owned(), None).await.unwrap();
    assert_eq!(store.state("registry".to_owned()).await, Ok(None));
    assert!(store.put_state(String::new(), None).await.is_err());
}
