//! Messages with a `ttl_ms`: they are handed out in time or not at all, on every path.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker};

const TTL: Duration = Duration::from_millis(1);

fn short_lived(id: usize, target: &str) -> Value {
    json!({"type":"job:new","id":format!("m{id}"),"target":target,"delivery":"durable","ttl_ms":TTL.as_millis() as u64,"payload":id})
}

fn lasting(id: usize, target: &str) -> Value {
    json!({"type":"job:new","id":format!("m{id}"),"target":target,"delivery":"durable","payload":id})
}

/// Sends messages and waits until the last of them is confirmed, and would have expired.
async fn send_and_let_expire(sender: &mut Peer, messages: Vec<Value>) {
    let count = messages.len();
    for message in messages {
        sender.send(message).await;
    }
    let mut accepted = 0;
    while accepted < count {
        sender.expect("message:accepted").await;
        accepted += 1;
    }
    let confirmed = SystemTime::now();
    while confirmed.elapsed().is_ok_and(|since| since <= 2 * TTL) {
        tokio::task::yield_now().await;
    }
}

#[actix_rt::test]
async fn what_has_expired_is_not_delivered_to_a_receiver_that_connects_later() {
    const MESSAGES: usize = 200;
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    for round in 0..5 {
        let target = format!("agent:worker-{round}");
        let mut messages: Vec<_> = (0..MESSAGES).map(|id| short_lived(id, &target)).collect();
        messages.push(lasting(MESSAGES, &target));
        send_and_let_expire(&mut sender, messages).await;
        let path = format!("/ws/agent?agent_id=worker-{round}&ack=explicit");
        let mut worker = broker.dial(&path, Some("test-agent-key")).await.expect("upgraded");
        assert_eq!(worker.expect("job:new").await["payload"], MESSAGES);
        worker.expect_nothing().await;
        let mut channel = broker.channel(&target).await;
        while channel.dead_lettered < MESSAGES as u64 {
            worker.settle().await;
            channel = broker.channel(&target).await;
        }
        assert_eq!(channel.unacked, 1);
    }
}

#[actix_rt::test]
async fn what_expires_before_it_is_acknowledged_does_not_come_again() {
    let broker = TestBroker::with(|settings| settings.store.ack_timeout = Duration::from_millis(100)).await;
    let mut sender = broker.agent("sender").await;
    let mut worker = broker.dial("/ws/agent?agent_id=worker&ack=explicit", Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    let mut message = short_lived(0, "agent:worker");
    message["ttl_ms"] = json!(90);
    sender.send(message).await;
    assert_eq!(worker.expect("job:new").await["payload"], 0);
    assert_eq!(sender.expect("message:expired").await["payload"]["reason"], "expired");
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn a_reader_of_a_topic_and_of_its_history_gets_nothing_that_has_expired() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let messages = [
        lasting(0, "topic:t"),
        short_lived(1, "topic:t"),
        short_lived(2, "topic:t"),
        lasting(3, "topic:t"),
        short_lived(4, "topic:t"),
    ];
    send_and_let_expire(&mut sender, messages.into()).await;
    let mut reader = broker.session().await;
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"t","from":{"seq":0}}})).await;
    let subscribed = reader.expect("topic:subscribed").await;
    assert_eq!((&subscribed["payload"]["recovered"], &subscribed["payload"]["lost"]), (&json!(true), &Value::Null));
    for number in [0, 3] {
        assert_eq!(reader.expect("job:new").await["payload"], number);
    }
    reader.expect_nothing().await;
    // It is live, and gets what comes, also if that does not last.
    let mut live = short_lived(5, "topic:t");
    live["ttl_ms"] = json!(60_000);
    sender.send(live).await;
    assert_eq!(reader.expect("job:new").await["payload"], 5);

    reader.send(json!({"type":"channel:history","payload":{"channel":"topic:t"}})).await;
    let records = reader.expect("channel:records").await;
    let payloads: Vec<_> =
        records["payload"]["messages"].as_array().expect("messages").iter().map(|it| it["payload"].clone()).collect();
    assert_eq!(payloads, [0, 3, 5]);
    assert_eq!((&records["payload"]["has_more"], &records["payload"]["lost"]), (&json!(false), &Value::Null));
}

#[actix_rt::test]
async fn a_retained_value_that_has_expired_is_given_to_nobody() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let value = |id: usize, ttl_ms: Option<u64>| {
        let mut value = json!({"type":"job:new","id":format!("v{id}"),"target":"topic:t","retain":true,"payload":id});
        if let Some(ttl_ms) = ttl_ms {
            value["ttl_ms"] = json!(ttl_ms);
        }
        value
    };
    send_and_let_expire(&mut sender, vec![value(1, None), value(2, Some(1))]).await;
    let mut reader = broker.session().await;
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    reader.expect("topic:subscribed").await;
    reader.expect_nothing().await;
    // A value that lasts is given.
    send_and_let_expire(&mut sender, vec![value(3, Some(60_000))]).await;
    let mut later = broker.session().await;
    later.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    let given = later.expect("job:new").await;
    assert_eq!((&given["payload"], &given["retained"]), (&json!(3), &json!(true)));
}
