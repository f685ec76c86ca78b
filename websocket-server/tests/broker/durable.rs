//! Durable messages: confirmed when stored, kept for absent receivers, delivered until
//! acknowledged, also across a restart.

use std::{path::Path, time::Duration};

use common::{
    assertion::ClientIdentity,
    config::{Backend, DefaultDelivery, Durability, Settings},
    id::SessionId,
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker, login};

fn on_disk(folder: &Path) -> impl FnOnce(&mut Settings) + use<> {
    let folder = folder.to_owned();
    move |settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder;
    }
}

fn durable(id: &str, target: &str, payload: impl Into<Value>) -> Value {
    json!({"type":"job:new","id":id,"target":target,"delivery":"durable","payload":payload.into()})
}

async fn explicit_agent(broker: &TestBroker, id: &str) -> Peer {
    let path = format!("/ws/agent?agent_id={id}&ack=explicit");
    let mut agent = broker.dial(&path, Some("test-agent-key")).await.expect("upgraded");
    agent.expect("connection:ack").await;
    agent
}

/// Sends durable messages 0..count and waits until each is confirmed.
async fn leave(sender: &mut Peer, target: &str, count: usize) {
    for at in 0..count {
        sender.send(durable(&format!("m{at}"), target, at)).await;
    }
    for _ in 0..count {
        sender.expect("message:accepted").await;
    }
}

#[actix_rt::test]
async fn a_durable_message_is_delivered_live_and_confirmed_with_its_position() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(durable("1", "agent:a", "x")).await;
    let accepted = session.expect("message:accepted").await;
    let message = agent.expect("job:new").await;
    assert_eq!(accepted["correlation_id"], "1");
    assert_eq!(message["channel"], "agent:a");
    for field in ["channel", "epoch", "seq"] {
        assert_eq!(accepted["payload"][field], message[field], "{field}");
    }
    session.send(durable("2", "agent:a", "y")).await;
    assert_eq!(agent.expect("job:new").await["prev"], message["seq"]);
}

#[actix_rt::test]
async fn messages_for_an_absent_agent_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "agent:worker", 50).await;
    drop(sender);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut worker = explicit_agent(&broker, "worker").await;
    let mut last = 0;
    for at in 0..50 {
        let message = worker.expect("job:new").await;
        assert_eq!(message["payload"], at);
        let seq = message["seq"].as_u64().expect("a number");
        assert!(seq > last);
        last = seq;
    }
    // Numbers continue where they were: none is used twice.
    let mut sender = broker.agent("sender").await;
    sender.send(durable("another", "agent:worker", 0)).await;
    assert!(worker.expect("job:new").await["seq"].as_u64() > Some(last));
}

#[actix_rt::test]
async fn only_unacknowledged_messages_are_redelivered_and_marked() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut worker = explicit_agent(&broker, "worker").await;
    leave(&mut sender, "agent:worker", 5).await;
    let mut seqs = Vec::new();
    for _ in 0..5 {
        let message = worker.expect("job:new").await;
        assert_eq!(message["redelivered"], Value::Null);
        seqs.push(message["seq"].as_u64().expect("a number"));
    }
    worker.send(json!({"type":"message:ack","payload":{"through":seqs[1]}})).await;
    worker.send(json!({"type":"message:ack","payload":{"seqs":[seqs[3]]}})).await;
    worker.settle().await;
    worker.close().await;
    let mut worker = explicit_agent(&broker, "worker").await;
    for at in [2, 4] {
        let message = worker.expect("job:new").await;
        assert_eq!((&message["payload"], &message["redelivered"]), (&json!(at), &json!(1)));
    }
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn a_receiver_that_reads_needs_no_acknowledgement() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let target = format!("session:{}", identity.session_id);
    leave(&mut sender, &target, 3).await;
    let mut session = broker.dial_session(&identity).await.expect("upgraded");
    for at in 0..3 {
        assert_eq!(session.expect("job:new").await["payload"], at);
    }
    // It answers marks, as every client does while it reads.
    while broker.channel(&target).await.unacked > 0 {
        session.settle().await;
    }
    session.close().await;
    let mut session = broker.session_as(identity).await;
    session.expect_nothing().await;
}

#[actix_rt::test]
async fn messages_that_a_close_discarded_do_not_count_as_read() {
    let broker = TestBroker::with(|settings| settings.limits.slow_consumer_timeout = Duration::from_millis(300)).await;
    let mut sender = broker.agent("sender").await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let target = format!("session:{}", identity.session_id);
    let mut stuck = broker.session_as(identity.clone()).await;
    let text = "x".repeat(500_000);
    for at in 0..16 {
        sender.send(durable(&format!("m{at}"), &target, json!([at, text]))).await;
    }
    for _ in 0..16 {
        sender.expect("message:accepted").await;
    }
    // It does not read until it is closed for that.
    crate::harness::eventually("the stuck one is closed", || async { broker.stats().await["slow_consumers"]["closed"] == 1 })
        .await;
    let mut seen = std::collections::BTreeSet::new();
    while let Ok(Some(Ok(message))) = tokio::time::timeout(Duration::from_secs(10), stuck.socket.next()).await {
        if let tokio_tungstenite::tungstenite::Message::Text(text) = message {
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            seen.extend(frame["payload"][0].as_u64());
        }
    }
    assert!(seen.len() < 16, "the reader was not stuck");
    let mut session = broker.dial_session(&identity).await.expect("upgraded");
    while seen.len() < 16 {
        seen.extend(session.expect("job:new").await["payload"][0].as_u64());
    }
}

#[actix_rt::test]
async fn a_user_reads_what_was_left_for_it_in_any_session() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    leave(&mut sender, "user:ann", 2).await;
    let mut identity = ClientIdentity::anonymous(SessionId::fresh());
    identity.login = Some(login("ann"));
    let mut session = broker.dial_session(&identity).await.expect("upgraded");
    for at in 0..2 {
        let message = session.expect("job:new").await;
        assert_eq!((&message["payload"], &message["channel"]), (&json!(at), &json!("user:ann")));
    }
}

#[actix_rt::test]
async fn a_repeated_message_is_confirmed_again_and_not_delivered_again() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    session.send(durable("same", "agent:a", 1)).await;
    let first = session.expect("message:accepted").await;
    session.send(durable("same", "agent:a", 1)).await;
    let second = session.expect("message:accepted").await;
    assert_eq!(first["payload"]["seq"], second["payload"]["seq"]);
    assert_eq!(second["payload"]["duplicate"], true);
    agent.expect("job:new").await;
    agent.expect_nothing().await;
}

#[actix_rt::test]
async fn unacknowledged_messages_are_redelivered_until_they_expire() {
    let broker = TestBroker::with(|settings| {
        settings.store.ack_timeout = Duration::from_millis(50);
        settings.store.max_deliveries = 2;
    })
    .await;
    let mut sender = broker.agent("sender").await;
    let mut worker = explicit_agent(&broker, "worker").await;
    worker.settle().await;
    sender.send(durable("1", "agent:worker", 1)).await;
    assert_eq!(worker.expect("job:new").await["redelivered"], Value::Null);
    assert_eq!(worker.expect("job:new").await["redelivered"], 1);
    let expired = sender.expect("message:expired").await;
    assert_eq!((&expired["correlation_id"], &expired["payload"]["reason"]), (&json!("1"), &json!("max_deliveries")));
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn a_message_that_crashes_its_receiver_each_time_expires_like_others() {
    let broker = TestBroker::with(|settings| settings.store.max_deliveries = 2).await;
    let mut sender = broker.agent("sender").await;
    sender.send(durable("poison", "agent:worker", 1)).await;
    sender.expect("message:accepted").await;
    for redelivered in [Value::Null, json!(1)] {
        let mut worker = explicit_agent(&broker, "worker").await;
        assert_eq!(worker.expect("job:new").await["redelivered"], redelivered);
        worker.close().await;
    }
    sender.send(durable("good", "agent:worker", 2)).await;
    let mut worker = explicit_agent(&broker, "worker").await;
    assert_eq!(worker.expect("job:new").await["id"], "good");
    let expired = sender.expect("message:expired").await;
    assert_eq!((&expired["correlation_id"], &expired["payload"]["reason"]), (&json!("poison"), &json!("max_deliveries")));
}

#[actix_rt::test]
async fn a_refused_message_comes_again_after_the_wait_it_asked_for() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut worker = explicit_agent(&broker, "worker").await;
    leave(&mut sender, "agent:worker", 1).await;
    let seq = worker.expect("job:new").await["seq"].clone();
    worker.send(json!({"type":"message:nack","payload":{"seq":seq,"reason":"busy","delay_ms":10}})).await;
    let again = worker.expect("job:new").await;
    assert_eq!((&again["seq"], &again["redelivered"]), (&seq, &json!(1)));
    worker.send(json!({"type":"message:nack","id":"n","payload":{"seq":999_999_999}})).await;
    assert_eq!(worker.expect_error("invalid_payload").await["correlation_id"], "n");
}

#[actix_rt::test]
async fn an_expired_message_becomes_a_dead_letter_and_its_sender_is_told() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut message = durable("1", "agent:nobody", 1);
    message["ttl_ms"] = json!(1);
    sender.send(message).await;
    sender.expect("message:accepted").await;
    assert_eq!(sender.expect("message:expired").await["payload"]["reason"], "expired");
    let mut late = explicit_agent(&broker, "nobody").await;
    let lost = late.expect("system:lost").await;
    assert_eq!((&lost["payload"]["channel"], &lost["payload"]["count"]), (&json!("agent:nobody"), &json!(1)));
    late.expect_nothing().await;
    late.close().await;
    // It is told once.
    explicit_agent(&broker, "nobody").await.expect_nothing().await;
}

#[actix_rt::test]
async fn a_slow_reader_finds_everything_in_the_log_in_order() {
    let broker = TestBroker::with(|settings| settings.limits.outbox_bytes = 64 * 1024).await;
    let mut sender = broker.agent("sender").await;
    let path = "/ws/agent?agent_id=worker&ack=explicit&prefetch=300";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    let text = "x".repeat(20_000);
    for at in 0..300 {
        sender.send(durable(&format!("m{at}"), "agent:worker", json!([at, text]))).await;
    }
    for _ in 0..300 {
        sender.expect("message:accepted").await;
    }
    for at in 0..300 {
        let message = worker.expect("job:new").await;
        assert_eq!(message["payload"][0], at);
    }
}

#[actix_rt::test]
async fn many_senders_and_a_receiver_that_comes_and_goes_lose_and_reorder_nothing() {
    let broker = TestBroker::start().await;
    let senders = (0..8).map(|name| {
        let broker = &broker;
        async move {
            let mut sender = broker.agent(&format!("s{name}")).await;
            leave(&mut sender, "agent:worker", 100).await;
        }
    });
    let receiver = async {
        let mut next = [0_u64; 8];
        let mut last_seq = 0;
        while next.iter().sum::<u64>() < 800 {
            let mut worker = explicit_agent(&broker, "worker").await;
            for _ in 0..50 {
                if next.iter().sum::<u64>() == 800 {
                    break;
                }
                let message = worker.expect("job:new").await;
                let seq = message["seq"].as_u64().expect("a number");
                let name: usize = message["source"].as_str().expect("a source")["agent:s".len()..].parse().expect("a number");
                if message["redelivered"].is_null() || seq > last_seq {
                    assert!(seq > last_seq, "{seq} after {last_seq}");
                    assert_eq!(message["payload"], next[name], "of sender {name}");
                    next[name] += 1;
                    last_seq = seq;
                }
                worker.send(json!({"type":"message:ack","payload":{"through":last_seq}})).await;
            }
        }
    };
    tokio::join!(futures_util::future::join_all(senders), receiver);
}

#[actix_rt::test]
async fn messages_that_cannot_be_durable_are_refused() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    agent.send(durable("1", "bridge", 1)).await;
    assert_eq!(agent.expect_error("durable_target_invalid").await["correlation_id"], "1");
    for target in ["user:ann", "broadcast:all", "topic:t"] {
        session.send(durable("1", target, 1)).await;
        session.expect_error("not_allowed").await;
    }
    agent.send(json!({"type":"x:y","target":"agent:b","retain":true})).await;
    agent.expect_error("invalid_envelope").await;
    agent.send(json!({"type":"x:y","target":"topic:t","retain":true,"delivery":"ephemeral"})).await;
    agent.expect_error("invalid_envelope").await;
    session.send(durable("1", "agent:never-seen", 1)).await;
    session.expect_error("agent_not_found").await;
    session.send(json!({"type":"message:ack","payload":{"channel":"agent:a","through":1}})).await;
    session.expect_error("not_allowed").await;
}

#[actix_rt::test]
async fn only_the_bridge_sets_the_position_of_a_durable_message() {
    let broker = TestBroker::with(|settings| {
        settings.store.default_delivery = DefaultDelivery::Durable;
        settings.store.durable_topics = vec!["orders/*".to_owned()];
    })
    .await;
    let mut sender = broker.agent("a").await;
    let mut reader = broker.agent("b").await;
    let durable_by = [
        json!({"delivery":"durable","target":"agent:b"}),
        json!({"target":"agent:b"}),
        json!({"target":"topic:t","retain":true}),
        json!({"target":"agent:b","receipt":true}),
        json!({"target":"topic:orders/1"}),
    ];
    for (field, value) in [
        ("channel", json!("agent:b")),
        ("epoch", json!("e")),
        ("seq", json!(7)),
        ("prev", json!(6)),
        ("redelivered", json!(1)),
        ("retained", Value::Null),
    ] {
        for rest in &durable_by {
            let mut frame = json!({"type":"job:new","id":format!("{field} in {rest}")});
            frame.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
            frame[field] = value.clone();
            sender.send(frame.clone()).await;
            assert_eq!(sender.expect_error("invalid_envelope").await["correlation_id"], frame["id"]);
        }
        let mut live = json!({"type":"job:live","target":"agent:b","delivery":"ephemeral"});
        live[field] = value.clone();
        sender.send(live).await;
        assert_eq!(reader.expect("job:live").await.get(field), Some(&value), "it passes through");
    }
    reader.expect_nothing().await;
}

#[actix_rt::test]
async fn messages_to_inboxes_are_durable_by_default_unless_they_are_useless_later() {
    let broker = TestBroker::with(|settings| settings.store.default_delivery = DefaultDelivery::Durable).await;
    let mut sender = broker.agent("sender").await;
    let mut worker = broker.agent("worker").await;
    sender.send(json!({"type":"job:new","id":"1","target":"agent:worker"})).await;
    assert_eq!(sender.expect("message:accepted").await["correlation_id"], "1");
    assert_eq!(worker.expect("job:new").await["channel"], "agent:worker");
    for frame in [
        json!({"type":"job:live","target":"agent:worker","delivery":"ephemeral"}),
        json!({"type":"job:live","id":"2","target":"agent:worker","timeout_ms":60_000}),
        json!({"type":"message:delta","target":"agent:worker"}),
        json!({"type":"job:progress","target":"agent:worker"}),
        json!({"type":"job:live","target":"broadcast:agents"}),
    ] {
        sender.send(frame.clone()).await;
        assert_eq!(worker.expect(frame["type"].as_str().expect("a type")).await["channel"], Value::Null, "{frame}");
    }
    sender.expect_nothing().await;
}

#[actix_rt::test]
async fn a_durable_answer_ends_the_wait_and_a_durable_request_may_wait_for_an_absent_receiver() {
    let broker = TestBroker::start().await;
    let mut asker = broker.agent("asker").await;
    let mut question = durable("q", "agent:worker", 1);
    question["timeout_ms"] = json!(60_000);
    asker.send(question.clone()).await;
    asker.expect("message:accepted").await;
    asker.send(question).await;
    asker.expect_error("duplicate_request").await;
    let mut worker = explicit_agent(&broker, "worker").await;
    worker.expect("job:new").await;
    let mut answer = durable("a", "agent:asker", 2);
    answer["correlation_id"] = json!("q");
    worker.send(answer).await;
    assert_eq!(asker.expect("job:new").await["correlation_id"], "q");
    let mut again = durable("q2", "agent:worker", 1);
    again["timeout_ms"] = json!(1);
    asker.send(again).await;
    let expired = asker.expect_error("reply_timeout").await;
    assert_eq!(expired["correlation_id"], "q2");
    asker.expect_nothing().await;
}
