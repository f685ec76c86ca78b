//! Explicit acknowledgement: how many messages a connection is handed, when they come again, and to
//! whom.

use std::time::Duration;

use common::{
    assertion::{Acks, ClientIdentity, Prefetch, Reading},
    config::{Backend, Durability, Settings},
    id::SessionId,
};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::harness::{Peer, TestBroker, eventually, login};

/// A time to acknowledge in that ends within a test, and not before the test has said what it says.
const SHORT: Duration = Duration::from_millis(300);

/// A broker that waits so long for an acknowledgement, and delivers so often.
async fn broker(ack_timeout: Duration, max_deliveries: usize) -> TestBroker {
    TestBroker::with(|settings: &mut Settings| {
        settings.store.ack_timeout = ack_timeout;
        settings.store.max_deliveries = max_deliveries;
    })
    .await
}

/// A broker that takes its time: nothing comes again within a test.
async fn patient() -> TestBroker {
    broker(Duration::from_secs(60), 10).await
}

async fn worker(broker: &TestBroker, prefetch: &str) -> Peer {
    let path = format!("/ws/agent?agent_id=worker&ack=explicit{prefetch}");
    let mut worker = broker.dial(&path, Some("test-agent-key")).await.expect("upgraded");
    worker.expect("connection:ack").await;
    worker
}

/// The same, where nothing waits for it yet.
async fn idle_worker(broker: &TestBroker, prefetch: &str) -> Peer {
    let mut worker = worker(broker, prefetch).await;
    worker.settle().await;
    worker
}

/// A socket of a session, or of a session of a user's own.
async fn reader(broker: &TestBroker, session_id: SessionId, user: Option<&str>, prefetch: u16) -> Peer {
    let prefetch = Prefetch::new(prefetch).expect("in bounds");
    let reading = Reading { acks: Acks::Explicit, prefetch, ..Reading::default() };
    broker.session_as(ClientIdentity { reading, login: user.map(login), ..ClientIdentity::anonymous(session_id) }).await
}

/// Sends messages that say their number, and waits until each is confirmed.
async fn leave(sender: &mut Peer, target: &str, numbers: std::ops::Range<usize>) {
    let count = numbers.len();
    for number in numbers {
        let id = format!("m{number}");
        sender.send(json!({"type":"job:new","id":id,"target":target,"delivery":"durable","payload":number})).await;
    }
    for _ in 0..count {
        sender.expect("message:accepted").await;
    }
}

/// The next message, which has this number and comes for the first time.
async fn take(worker: &mut Peer, number: usize) -> Value {
    let message = worker.expect("job:new").await;
    assert_eq!((&message["payload"], &message["redelivered"]), (&json!(number), &Value::Null), "{message}");
    message["seq"].clone()
}

/// The next message, which has this number and was delivered so often before.
async fn take_again(worker: &mut Peer, number: usize, redelivered: u32) -> Value {
    let message = worker.expect("job:new").await;
    assert_eq!((&message["payload"], &message["redelivered"]), (&json!(number), &json!(redelivered)), "{message}");
    message["seq"].clone()
}

fn extend(seq: &Value, by_ms: u64) -> Value {
    json!({"type":"message:extend","id":"x","target":"bridge","payload":{"seq":seq,"by_ms":by_ms}})
}

async fn acknowledge(worker: &mut Peer, seq: &Value) {
    worker.send(json!({"type":"message:ack","payload":{"seqs":[seq]}})).await;
}

#[actix_rt::test]
async fn a_serial_worker_with_a_long_queue_gets_each_message_once() {
    const MESSAGES: usize = 100;
    let broker = broker(Duration::from_secs(1), 10).await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "agent:worker", 0..MESSAGES).await;
    let mut worker = worker(&broker, "").await;
    // It works for 2.5 s, which is more than a message has to be acknowledged in.
    let mut pace = interval(Duration::from_millis(25));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..MESSAGES {
        let seq = take(&mut worker, number).await;
        pace.tick().await;
        acknowledge(&mut worker, &seq).await;
    }
    while broker.channel("agent:worker").await.unacked > 0 {
        worker.settle().await;
    }
    worker.expect_nothing().await;
    sender.expect_nothing().await;
    assert_eq!(broker.channel("agent:worker").await.dead_lettered, 0);
}

#[actix_rt::test]
async fn a_worker_that_stops_gets_what_it_holds_again_until_that_is_a_dead_letter() {
    let broker = broker(SHORT, 2).await;
    let mut sender = broker.agent("sender").await;
    let mut worker = idle_worker(&broker, "&prefetch=2").await;
    leave(&mut sender, "agent:worker", 0..5).await;
    let done = take(&mut worker, 0).await;
    take(&mut worker, 1).await;
    acknowledge(&mut worker, &done).await;
    take(&mut worker, 2).await;
    // Here it stops. It is behind, and what it holds comes again nevertheless.
    take_again(&mut worker, 1, 1).await;
    take_again(&mut worker, 2, 1).await;
    for number in [1, 2] {
        let expired = sender.expect("message:expired").await;
        let told = (&expired["correlation_id"], &expired["payload"]["reason"]);
        assert_eq!(told, (&json!(format!("m{number}")), &json!("max_deliveries")));
    }
    // Their places are free.
    let mut next = Vec::new();
    while next.last() != Some(&json!(4)) {
        next.push(worker.expect("job:new").await["payload"].clone());
    }
    assert_eq!(next.first(), Some(&json!(3)));
}

#[actix_rt::test]
async fn with_a_prefetch_of_one_there_is_one_at_a_time() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "agent:worker", 0..3).await;
    let mut worker = worker(&broker, "&prefetch=1").await;
    for number in 0..6 {
        let seq = take(&mut worker, number).await;
        if number == 0 {
            // Also of those that arrive while it is there.
            leave(&mut sender, "agent:worker", 3..6).await;
        }
        worker.expect_nothing().await;
        acknowledge(&mut worker, &seq).await;
    }
    // It has caught up: what comes now is live, and has its place too.
    leave(&mut sender, "agent:worker", 6..8).await;
    let seq = take(&mut worker, 6).await;
    worker.expect_nothing().await;
    worker.send(json!({"type":"message:ack","payload":{"through":seq}})).await;
    take(&mut worker, 7).await;
}

#[actix_rt::test]
async fn who_names_no_prefetch_is_handed_64_messages() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "agent:worker", 0..70).await;
    let mut worker = worker(&broker, "").await;
    let mut seq = Value::Null;
    for number in 0..64 {
        seq = take(&mut worker, number).await;
    }
    worker.expect_nothing().await;
    worker.send(json!({"type":"message:ack","payload":{"through":seq}})).await;
    for number in 64..70 {
        take(&mut worker, number).await;
    }
}

#[actix_rt::test]
async fn a_refused_message_frees_its_place_and_goes_before_new_ones_when_it_is_due() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "agent:worker", 0..3).await;
    let mut worker = worker(&broker, "&prefetch=1").await;
    let first = take(&mut worker, 0).await;
    worker.send(json!({"type":"message:nack","payload":{"seq":first,"delay_ms":600_000}})).await;
    let second = take(&mut worker, 1).await;
    worker.send(json!({"type":"message:nack","payload":{"seq":first,"delay_ms":0}})).await;
    worker.expect_nothing().await;
    acknowledge(&mut worker, &second).await;
    let again = take_again(&mut worker, 0, 1).await;
    worker.expect_nothing().await;
    acknowledge(&mut worker, &again).await;
    take(&mut worker, 2).await;
}

#[actix_rt::test]
async fn an_acknowledgement_of_all_up_to_a_number_leaves_a_refused_message_to_come_again() {
    for backend in [Backend::Memory, Backend::Embedded] {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = TestBroker::with(|settings| {
            settings.store.backend = backend;
            settings.store.durability = Durability::Process;
            settings.data.dir = folder.path().to_owned();
        })
        .await;
        let mut sender = broker.agent("sender").await;
        let mut worker = idle_worker(&broker, "").await;
        for number in 0..3 {
            let id = format!("m{number}");
            sender.send(json!({"type":"job:new","id":id,"target":"agent:worker","receipt":true,"payload":number})).await;
        }
        let refused = take(&mut worker, 0).await;
        take(&mut worker, 1).await;
        let last = take(&mut worker, 2).await;
        worker.send(json!({"type":"message:nack","payload":{"seq":refused,"delay_ms":300}})).await;
        worker.send(json!({"type":"message:ack","payload":{"through":last}})).await;
        for id in ["m1", "m2"] {
            assert_eq!(sender.expect("message:acknowledged").await["correlation_id"], id);
        }
        take_again(&mut worker, 0, 1).await;
        assert_eq!(broker.channel("agent:worker").await.unacked, 1);
        // Now it is held again.
        worker.send(json!({"type":"message:ack","payload":{"through":last}})).await;
        assert_eq!(sender.expect("message:acknowledged").await["correlation_id"], "m0");
        worker.expect_nothing().await;
    }
}

#[actix_rt::test]
async fn a_position_beyond_a_refused_message_leaves_it_to_come_again() {
    for backend in [Backend::Memory, Backend::Embedded] {
        let folder = tempfile::tempdir().expect("a folder");
        let broker = TestBroker::with(|settings| {
            settings.store.backend = backend;
            settings.store.durability = Durability::Process;
            settings.data.dir = folder.path().to_owned();
        })
        .await;
        let mut sender = broker.agent("sender").await;
        let mut first = idle_worker(&broker, "").await;
        leave(&mut sender, "agent:worker", 0..3).await;
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(first.expect("job:new").await);
        }
        first.send(json!({"type":"message:nack","payload":{"seq":seen[1]["seq"],"delay_ms":600_000}})).await;
        first.settle().await;
        drop(first);
        // The next connection knows of no refusal, and names a position behind it.
        let mut next = worker(&broker, "&resume=true").await;
        let position = json!({"epoch":seen[2]["epoch"],"seq":seen[2]["seq"]});
        next.send(json!({"type":"connection:resume","payload":{"channels":{"agent:worker":position}}})).await;
        let resumed = next.expect("connection:resumed").await;
        assert_eq!(resumed["payload"]["channels"]["agent:worker"]["recovered"], true, "{resumed}");
        let again = take_again(&mut next, 1, 1).await;
        next.expect_nothing().await;
        assert_eq!(broker.channel("agent:worker").await.unacked, 1);
        acknowledge(&mut next, &again).await;
        eventually("it is acknowledged", async || broker.channel("agent:worker").await.unacked == 0).await;
    }
}

#[actix_rt::test]
async fn what_expires_in_a_readers_hand_frees_its_place() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    let mut worker = idle_worker(&broker, "&prefetch=1").await;
    let message = json!({"type":"job:new","id":"short","target":"agent:worker","delivery":"durable","ttl_ms":1000,"payload":0});
    sender.send(message).await;
    take(&mut worker, 0).await;
    leave(&mut sender, "agent:worker", 1..2).await;
    worker.expect_nothing().await;
    assert_eq!(sender.expect("message:expired").await["correlation_id"], "short");
    take(&mut worker, 1).await;
}

#[actix_rt::test]
async fn an_extension_keeps_a_message_from_coming_again() {
    let broker = broker(SHORT, 10).await;
    let mut sender = broker.agent("sender").await;
    let mut worker = idle_worker(&broker, "&prefetch=2").await;
    leave(&mut sender, "agent:worker", 0..2).await;
    let long = take(&mut worker, 0).await;
    take(&mut worker, 1).await;
    worker.send(extend(&long, 600_000)).await;
    // The other comes again at the bound for its own time, which doubles.
    let other = take_again(&mut worker, 1, 1).await;
    take_again(&mut worker, 1, 2).await;
    acknowledge(&mut worker, &other).await;
    acknowledge(&mut worker, &long).await;
    while broker.channel("agent:worker").await.unacked > 0 {
        worker.settle().await;
    }
    worker.send(extend(&long, 600_000)).await;
    assert_eq!(worker.expect_error("message_not_held").await["correlation_id"], "x");
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn an_extension_is_refused_with_what_is_wrong() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    let mut worker = idle_worker(&broker, "").await;
    leave(&mut sender, "agent:worker", 0..1).await;
    let seq = take(&mut worker, 0).await;
    for (payload, code) in [
        (json!({"seq":seq,"by_ms":0}), "invalid_payload"),
        (json!({"seq":seq,"by_ms":3_600_001}), "invalid_payload"),
        (json!({"seq":seq}), "invalid_payload"),
        (json!({"seq":9_007_199_254_740_991_u64,"by_ms":1000}), "message_not_held"),
        (json!({"seq":seq,"by_ms":1000,"channel":"agent:sender"}), "not_allowed"),
    ] {
        worker.send(json!({"type":"message:extend","id":"x","target":"bridge","payload":payload})).await;
        assert_eq!(worker.expect_error(code).await["correlation_id"], "x", "{payload}");
    }
    worker
        .send(json!({"type":"message:extend","target":"bridge","payload":{"seq":seq,"by_ms":1000,"channel":"agent:worker"}}))
        .await;
    worker.expect_nothing().await;
    // Who acknowledges by pongs holds nothing.
    sender.send(json!({"type":"message:extend","target":"bridge","payload":{"seq":seq,"by_ms":1000}})).await;
    sender.expect_error("message_not_held").await;
}

#[actix_rt::test]
async fn each_reader_of_an_inbox_has_places_of_its_own_and_one_acknowledgement_frees_them_all() {
    let broker = patient().await;
    let mut sender = broker.agent("sender").await;
    let session_id = SessionId::fresh();
    let mut first = reader(&broker, session_id, None, 1).await;
    let mut second = reader(&broker, session_id, None, 2).await;
    leave(&mut sender, &first.address(), 0..3).await;
    let seq = take(&mut first, 0).await;
    take(&mut second, 0).await;
    let ahead = take(&mut second, 1).await;
    first.expect_nothing().await;
    second.expect_nothing().await;
    // One more place for each of them.
    acknowledge(&mut second, &seq).await;
    take(&mut second, 2).await;
    assert_eq!(first.expect("job:new").await["seq"], ahead);
    first.expect_nothing().await;
    assert_eq!(broker.channel(&first.address()).await.unacked, 2);
}

#[actix_rt::test]
async fn what_is_not_acknowledged_comes_again_to_every_socket_that_was_handed_it() {
    let broker = broker(SHORT, 3).await;
    let mut sender = broker.agent("sender").await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        sockets.push(reader(&broker, SessionId::fresh(), Some("ann"), 64).await);
    }
    leave(&mut sender, "user:ann", 0..1).await;
    for socket in &mut sockets {
        take(socket, 0).await;
    }
    // However many there are, each time is one delivery.
    for redelivered in [1, 2] {
        for socket in &mut sockets {
            take_again(socket, 0, redelivered).await;
        }
    }
    assert_eq!(sender.expect("message:expired").await["payload"]["reason"], "max_deliveries");
    for socket in &mut sockets {
        socket.expect_nothing().await;
    }
}

#[actix_rt::test]
async fn a_redelivery_reaches_each_of_many_sockets_once_while_the_store_takes_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(|settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
        settings.store.ack_timeout = SHORT;
        settings.store.max_deliveries = 4;
    })
    .await;
    let mut sender = broker.agent("sender").await;
    let session_id = SessionId::fresh();
    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(reader(&broker, session_id, None, 64).await);
    }
    leave(&mut sender, &sockets[0].address(), 0..1).await;
    for socket in &mut sockets {
        take(socket, 0).await;
    }
    for redelivered in 1..=3 {
        for socket in &mut sockets {
            take_again(socket, 0, redelivered).await;
        }
    }
    assert_eq!(sender.expect("message:expired").await["payload"]["reason"], "max_deliveries");
    for socket in &mut sockets {
        socket.expect_nothing().await;
    }
}

#[actix_rt::test]
async fn a_message_that_one_worker_may_still_finish_is_not_given_to_another_again() {
    let broker = broker(SHORT, 10).await;
    let mut sender = broker.agent("sender").await;
    let session_id = SessionId::fresh();
    let mut idle = reader(&broker, session_id, None, 64).await;
    let mut busy = reader(&broker, session_id, None, 2).await;
    leave(&mut sender, &idle.address(), 0..2).await;
    let long = take(&mut busy, 0).await;
    busy.send(extend(&long, 600_000)).await;
    take(&mut busy, 1).await;
    for number in 0..2 {
        take(&mut idle, number).await;
    }
    // The other message is due to both at last, and only that.
    let other = take_again(&mut idle, 1, 1).await;
    take_again(&mut busy, 1, 1).await;
    busy.send(json!({"type":"message:ack","payload":{"seqs":[long, other]}})).await;
    while broker.channel(&idle.address()).await.unacked > 0 {
        busy.settle().await;
    }
    idle.expect_nothing().await;
    busy.expect_nothing().await;
}

#[actix_rt::test]
async fn a_prefetch_out_of_bounds_or_without_explicit_acknowledgement_is_refused() {
    let broker = TestBroker::start().await;
    for query in
        ["ack=explicit&prefetch=0", "ack=explicit&prefetch=10001", "ack=explicit&prefetch=x", "ack=auto&prefetch=5", "prefetch=5"]
    {
        let refused = broker.dial(&format!("/ws/agent?agent_id=a&{query}"), Some("test-agent-key")).await;
        assert_eq!(refused.err(), Some(400), "{query}");
    }
    assert!(broker.dial("/ws/agent?agent_id=a&ack=explicit&prefetch=10000", Some("test-agent-key")).await.is_ok());
}
