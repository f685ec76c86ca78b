//! Sessions that are never seen again: what was stored for them is removed on schedule, from the
//! disk and from memory.

use std::time::{Duration, Instant};

use common::{
    assertion::{ClientIdentity, Reading},
    config::{Backend, Durability, Retention},
    id::{ClientName, SessionId},
};
use serde_json::json;
use store::{AuditQuery, Store};

use crate::{
    chance::scaled,
    harness::{Peer, TestBroker, eventually},
};

/// The most unconfirmed messages.
const WINDOW: usize = 1024;
/// One of so many sessions was connected itself, and left a subscription with its position.
const WAS_HERE: usize = 200;
/// How long a dead letter is kept.
const DEAD_LETTERS_KEPT: Duration = Duration::from_secs(1);
/// Pages that the store keeps free for later, and the little that is left: at most so much of the
/// file.
const KEPT_FREE_MIB: u64 = 6;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The sizes of everything.
#[derive(Debug)]
struct Sizes {
    records: u64,
    channels: u64,
    /// Everything in the data folder.
    file_mib: u64,
    remembered: websocket_server::durable::Remembered,
}

async fn sizes(broker: &TestBroker) -> Sizes {
    let channels = &broker.handle.broker().channels;
    let health = channels.store().health();
    let files = std::fs::read_dir(&broker.settings.data.dir).expect("the folder");
    let lengths = files.map(|file| file.and_then(|file| file.metadata()).map_or(0, |file| file.len()));
    let file_mib = lengths.sum::<u64>() >> 20;
    Sizes { records: health.records, channels: health.channels, file_mib, remembered: channels.remembered() }
}

/// Leaves a message for each of so many sessions, and waits until all are confirmed.
async fn leave(broker: &TestBroker, agent: &mut Peer, count: usize) {
    let mut unconfirmed = 0;
    for number in 0..count {
        let session = if number % WAS_HERE == 0 { visit(broker, number / WAS_HERE).await } else { SessionId::fresh() };
        agent
            .send(json!({"type":"job:new","id":number.to_string(),"target":format!("session:{session}"),"delivery":"durable","payload":"left"}))
            .await;
        unconfirmed += 1;
        while unconfirmed == WINDOW || (unconfirmed > 0 && number + 1 == count) {
            agent.expect("message:accepted").await;
            unconfirmed -= 1;
        }
    }
}

/// A session that connects once, subscribes under its own client name or one that its edge
/// assigned, and leaves or is lost.
async fn visit(broker: &TestBroker, number: usize) -> SessionId {
    let session = SessionId::fresh();
    let client = ClientName::new(if number.is_multiple_of(2) { "tab-1" } else { "@edge/1" }).ok();
    let reading = Reading { client, ..Reading::default() };
    let mut peer = broker.session_as(ClientIdentity { reading, ..ClientIdentity::anonymous(session) }).await;
    peer.send(json!({"type":"topic:subscribe","payload":{"topic":"room","from":{"seq":0}}})).await;
    peer.expect("topic:subscribed").await;
    if number % 4 < 2 {
        peer.close().await;
    }
    session
}

/// Applies retention as the broker will at some later time, until there is nothing left to do.
async fn retain_at(store: &dyn Store, now: u64) {
    while store.trim(now, 10_000).await.expect("trimmed").more {}
}

#[actix_rt::test]
async fn sessions_that_are_never_seen_again_leave_nothing_behind() {
    let (count, kept, patience) = scaled((5_000, 20, 120), (1_000_000, 600, 1800));
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(|settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
        // Nobody is forgotten while messages are still left.
        settings.store.forget_sessions = Duration::from_secs(kept);
        settings.store.dead_letters = Retention { age: DEAD_LETTERS_KEPT, ..settings.store.dead_letters };
    })
    .await;
    let mut agent = broker.agent("filler").await;
    // The sizes before there is any session.
    agent.send(json!({"type":"note:kept","id":"kept","target":"topic:room","delivery":"durable","payload":"stays"})).await;
    agent.expect("message:accepted").await;
    let before = sizes(&broker).await;

    // Some come and go, and nobody ever leaves them anything.
    for number in 0..8 {
        visit(&broker, number).await;
    }
    let begun = Instant::now();
    leave(&broker, &mut agent, count).await;
    let (left, full) = (begun.elapsed(), sizes(&broker).await);
    assert!(full.records >= count as u64, "{full:?}");
    assert!(full.remembered.sessions >= count, "{full:?}");

    // On schedule, without any activity: the messages become dead letters, and are removed after
    // their time.
    let begun = Instant::now();
    let deadline = Duration::from_secs(patience);
    loop {
        let now = sizes(&broker).await;
        if now.records <= before.records {
            break;
        }
        assert!(begun.elapsed() < deadline, "not forgotten in {deadline:?}: {now:?}");
        // Its agent is connected and reads, because it must be told of every message that was given
        // up.
        agent.settle().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let forgotten = begun.elapsed();
    // Empty channels are kept for a day, positions for a month.
    let store = broker.handle.broker().channels.store();
    let now = common::timestamp::unix_ms();
    retain_at(&**store, now + DAY_MS + 1000).await;
    retain_at(&**store, now + 31 * DAY_MS).await;
    store.close().await.expect("closed");
    let after = sizes(&broker).await;

    println!(
        "forgotten sessions: {count} with a message each, left in {left:.1?}; forgotten on schedule within {forgotten:.1?}\n  \
         before {before:?}\n  full   {full:?}\n  after  {after:?}"
    );
    assert!(after.records <= before.records && after.channels <= before.channels, "{after:?}");
    assert!(after.file_mib <= before.file_mib + KEPT_FREE_MIB, "{after:?}");
    let remembered = after.remembered;
    assert_eq!((remembered.pending, remembered.sessions, remembered.untold, remembered.kept_of_edges), (0, 0, 0, 0), "{after:?}");
    assert!(remembered.loaded <= 40_000 && remembered.recent <= 200_001, "{after:?}");
}

#[actix_rt::test]
async fn a_store_without_messages_is_looked_through_too() {
    let broker = TestBroker::with(|settings| {
        // Between two checks nothing is removed from a store without messages.
        settings.store.forget_sessions = Duration::from_secs(4);
        settings.store.audit_age = Duration::from_secs(1);
    })
    .await;
    let store = broker.handle.broker().channels.store();
    let entries = async || store.audit_log(AuditQuery::default()).await.expect("read").len();
    eventually("its start is in the audit log", async || entries().await > 0).await;
    eventually("it has left the audit log", async || entries().await == 0).await;
    assert_eq!(store.health().records, 0);
}

#[actix_rt::test]
async fn a_forgotten_session_is_told_at_its_return_what_it_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = |forget_sessions| {
        let folder = folder.path().to_owned();
        move |settings: &mut common::config::Settings| {
            settings.store.backend = Backend::Embedded;
            settings.store.durability = Durability::Process;
            settings.data.dir = folder;
            settings.store.forget_sessions = forget_sessions;
        }
    };
    let [early, late] = [SessionId::fresh(), SessionId::fresh()];
    let broker = TestBroker::with(settings(Duration::from_secs(1))).await;
    let mut agent = broker.agent("sender").await;
    for number in 0..6 {
        let session = if number < 2 { early } else { late };
        let target = format!("session:{session}");
        agent.send(json!({"type":"job:new","id":number.to_string(),"target":target,"delivery":"durable","payload":"left"})).await;
        agent.expect("message:accepted").await;
    }
    for _ in 0..6 {
        assert_eq!(agent.expect("message:expired").await["payload"]["reason"], "receiver_forgotten");
    }
    let told = async |broker: &TestBroker, session: SessionId| {
        let mut peer = broker.dial_session(&ClientIdentity::anonymous(session)).await.expect("upgraded");
        let lost = peer.expect("system:lost").await["payload"].clone();
        assert_eq!((&lost["channel"], &lost["reason"]), (&json!(format!("session:{session}")), &json!("dead letters")));
        lost["count"].clone()
    };
    assert_eq!(told(&broker, early).await, 2);
    broker.session_as(ClientIdentity::anonymous(early)).await.expect_nothing().await;
    drop(agent);
    broker.handle.drain().await;

    // After a restart the dead letters tell it.
    let broker = TestBroker::with(settings(Duration::from_secs(1000))).await;
    broker.session_as(ClientIdentity::anonymous(early)).await.expect_nothing().await;
    assert_eq!(told(&broker, late).await, 4);
    broker.session_as(ClientIdentity::anonymous(late)).await.expect_nothing().await;
    broker.handle.drain().await;
    let broker = TestBroker::with(settings(Duration::from_secs(1000))).await;
    for session in [early, late] {
        broker.session_as(ClientIdentity::anonymous(session)).await.expect_nothing().await;
    }
}
