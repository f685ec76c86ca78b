//! Durable topics and broadcasts: logs that every reader reads from its own position.

use std::path::Path;

use common::config::{Backend, Durability, Retention, Settings};
use serde_json::{Value, json};

use crate::harness::{Peer, TestBroker};

fn on_disk(folder: &Path) -> impl FnOnce(&mut Settings) + use<> {
    let folder = folder.to_owned();
    move |settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder;
    }
}

fn news(id: impl ToString, target: &str, payload: impl Into<Value>) -> Value {
    json!({"type":"news:new","id":id.to_string(),"target":target,"delivery":"durable","payload":payload.into()})
}

/// Publishes durable messages and waits until each is confirmed; returns the numbers.
async fn publish(agent: &mut Peer, target: &str, payloads: std::ops::Range<u64>) -> Vec<u64> {
    let mut seqs = Vec::new();
    for at in payloads {
        agent.send(news(format!("m{at}"), target, at)).await;
        seqs.push(agent.expect("message:accepted").await["payload"]["seq"].as_u64().expect("a number"));
    }
    seqs
}

async fn subscribe(peer: &mut Peer, payload: Value) -> Value {
    peer.send(json!({"type":"topic:subscribe","id":"s","payload":payload})).await;
    peer.expect("topic:subscribed").await["payload"].clone()
}

async fn expect_payloads(peer: &mut Peer, payloads: std::ops::Range<u64>) {
    for at in payloads {
        assert_eq!(peer.expect("news:new").await["payload"], at);
    }
}

#[actix_rt::test]
async fn a_subscriber_that_returns_gets_what_it_missed_and_then_goes_on_live() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut agent = broker.agent("a").await;
    let mut reader = broker.session().await;
    let first = subscribe(&mut reader, json!({"topic":"t"})).await;
    assert_eq!(first["seq"], 0);
    publish(&mut agent, "topic:t", 0..3).await;
    let mut last = Value::Null;
    for at in 0..3 {
        last = reader.expect("news:new").await;
        assert_eq!((&last["payload"], &last["channel"]), (&json!(at), &json!("topic:t")));
    }
    reader.close().await;
    publish(&mut agent, "topic:t", 3..6).await;
    drop(agent);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut agent = broker.agent("a").await;
    publish(&mut agent, "topic:t", 6..9).await;
    let mut reader = broker.session().await;
    let answer = subscribe(&mut reader, json!({"topic":"t","from":{"epoch":last["epoch"],"seq":last["seq"]}})).await;
    assert_eq!((&answer["recovered"], &answer["from"], &answer["lost"]), (&json!(true), &last["seq"], &Value::Null));
    publish(&mut agent, "topic:t", 9..12).await;
    let mut before = last["seq"].clone();
    for at in 3..12 {
        let message = reader.expect("news:new").await;
        assert_eq!((&message["payload"], &message["prev"], &message["redelivered"]), (&json!(at), &before, &Value::Null));
        before = message["seq"].clone();
    }
    reader.expect_nothing().await;
}

#[actix_rt::test]
async fn a_subscriber_begins_where_it_says() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    publish(&mut agent, "topic:t", 0..5).await;
    for (from, first) in [(json!({"seq":0}), 0), (json!({"last":2}), 3), (json!({"since":"2020-01-01T00:00:00Z"}), 0)] {
        let mut reader = broker.session().await;
        let answer = subscribe(&mut reader, json!({"topic":"t","from":from})).await;
        assert_eq!(answer["recovered"], true, "{from}");
        expect_payloads(&mut reader, first..5).await;
        reader.expect_nothing().await;
    }
    let mut reader = broker.session().await;
    for from in [json!({}), json!({"seq":1,"last":1}), json!({"since":"yesterday"}), json!(7)] {
        reader.send(json!({"type":"topic:subscribe","payload":{"topic":"t","from":from}})).await;
        reader.expect_error("invalid_payload").await;
    }
}

#[actix_rt::test]
async fn messages_that_cannot_be_recovered_are_reported() {
    let broker = TestBroker::with(|settings| settings.store.topic = Retention { messages: 3, ..settings.store.topic }).await;
    let mut agent = broker.agent("a").await;
    let seqs = publish(&mut agent, "topic:t", 0..8).await;
    let epoch = broker.handle.broker().channels.epoch().to_string();
    let mut late = broker.session().await;
    let answer = subscribe(&mut late, json!({"topic":"t","from":{"epoch":epoch,"seq":seqs[0]}})).await;
    assert_eq!(answer["recovered"], false);
    // An old position is known less precisely: then the count is a bound.
    let (count, exact) =
        (answer["lost"]["count"].as_u64().expect("a number"), answer["lost"]["exact"].as_bool().expect("a flag"));
    assert!(if exact { count == 4 } else { count >= 4 }, "{answer}");
    assert_eq!(answer["lost"]["through"], seqs[4]);
    expect_payloads(&mut late, 5..8).await;
    late.expect_nothing().await;

    let mut stranger = broker.session().await;
    let answer = subscribe(&mut stranger, json!({"topic":"t","from":{"epoch":"000000000000","seq":1}})).await;
    assert_eq!((&answer["recovered"], &answer["from"]), (&json!(false), &json!(seqs[7])));
    stranger.expect_nothing().await;
}

#[actix_rt::test]
async fn a_topic_retains_its_last_value_for_later_subscribers() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut agent = broker.agent("a").await;
    for (at, mode) in ["dark", "light"].iter().enumerate() {
        let id = format!("m{at}");
        agent.send(json!({"type":"settings:mode","id":id,"target":"topic:mode","retain":true,"payload":mode})).await;
        agent.expect("message:accepted").await;
    }
    drop(agent);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk(folder.path())).await;
    let mut late = broker.session().await;
    subscribe(&mut late, json!({"topic":"mode"})).await;
    let value = late.expect("settings:mode").await;
    assert_eq!((&value["payload"], &value["retained"]), (&json!("light"), &json!(true)));
    late.expect_nothing().await;

    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"settings:mode","id":"clear","target":"topic:mode","retain":true})).await;
    agent.expect("message:accepted").await;
    assert_eq!(late.expect("settings:mode").await["payload"], Value::Null);
    let mut later = broker.session().await;
    subscribe(&mut later, json!({"topic":"mode"})).await;
    later.expect_nothing().await;
}

#[actix_rt::test]
async fn a_topic_can_be_durable_by_configuration() {
    let broker = TestBroker::with(|settings| settings.store.durable_topics = vec!["orders/*".to_owned()]).await;
    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"news:new","id":"1","target":"topic:orders/1","payload":1})).await;
    agent.expect("message:accepted").await;
    agent.send(json!({"type":"news:new","id":"2","target":"topic:orders/1","payload":2,"delivery":"ephemeral"})).await;
    agent.send(json!({"type":"news:new","id":"3","target":"topic:other","payload":3})).await;
    agent.expect_nothing().await;
    let mut reader = broker.session().await;
    subscribe(&mut reader, json!({"topic":"orders/1","from":{"seq":0}})).await;
    expect_payloads(&mut reader, 1..2).await;
    reader.expect_nothing().await;
}

#[actix_rt::test]
async fn a_stuck_subscriber_is_a_cursor_and_finds_everything_that_was_kept() {
    let broker = TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 64 * 1024;
        settings.store.topic = Retention { messages: 100, ..settings.store.topic };
    })
    .await;
    let mut agent = broker.agent("a").await;
    let mut stuck = broker.session().await;
    subscribe(&mut stuck, json!({"topic":"t"})).await;
    let text = "x".repeat(50_000);
    for at in 0..400 {
        agent.send(news(at, "topic:t", json!([at, text]))).await;
        agent.expect("message:accepted").await;
    }
    // It reads on, in order, and is told how much retention has removed meanwhile.
    let (mut next, mut lost, mut last_lost) = (0, 0, 0);
    while next < 400 {
        let frame = stuck.next().await;
        if frame["type"] == "system:lost" {
            assert_eq!(frame["payload"]["channel"], "topic:t", "nothing else is lost: {frame}");
            last_lost = frame["payload"]["count"].as_u64().expect("a number");
            lost += last_lost;
        } else if frame["type"] == "news:new" {
            let at = frame["payload"][0].as_u64().expect("a number");
            assert!((next..=next + last_lost).contains(&at), "{at} after {next}, of which {last_lost} are said to be lost");
            (next, last_lost) = (at + 1, 0);
        }
    }
    assert!(lost > 0, "everything fitted: the test shows nothing");
}

#[actix_rt::test]
async fn a_durable_broadcast_reaches_agents_that_were_away() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    agent.send(news(1, "broadcast:sessions", 1)).await;
    let accepted = agent.expect("message:accepted").await;
    assert_eq!(accepted["payload"]["channel"], "broadcast:sessions");
    let message = session.expect("news:new").await;
    let (epoch, seq) = (message["epoch"].clone(), message["seq"].clone());
    session.close().await;
    agent.send(news(2, "broadcast:sessions", 2)).await;
    agent.send(news(3, "broadcast:all", 3)).await;
    agent.expect("message:accepted").await;
    agent.expect("message:accepted").await;
    let mut session = broker.session().await;
    let channels = json!({"broadcast:sessions":{"epoch":epoch,"seq":seq},"broadcast:all":{"epoch":epoch,"seq":0}});
    session.send(json!({"type":"connection:resume","id":"r","payload":{"channels":channels}})).await;
    let resumed = session.expect("connection:resumed").await;
    assert_eq!(resumed["payload"]["channels"]["broadcast:all"]["recovered"], true);
    let mut payloads =
        vec![session.expect("news:new").await["payload"].clone(), session.expect("news:new").await["payload"].clone()];
    payloads.sort_by_key(Value::as_u64);
    assert_eq!(payloads, [2, 3]);
    session.expect_nothing().await;
}

#[actix_rt::test]
async fn authorized_clients_read_the_past_in_pages() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    let seqs = publish(&mut agent, "topic:t", 0..10).await;
    let mut reader = broker.session().await;
    let mut after = 0;
    let mut seen = Vec::new();
    loop {
        reader
            .send(json!({"type":"channel:history","id":"h","payload":{"channel":"topic:t","from":{"seq":after},"limit":4}}))
            .await;
        let page = reader.expect("channel:records").await;
        assert_eq!(page["correlation_id"], "h");
        let page = &page["payload"];
        seen.extend(page["messages"].as_array().expect("messages").iter().map(|message| message["payload"].clone()));
        after = page["next"].as_u64().expect("a number");
        if page["has_more"] == false {
            break;
        }
    }
    assert_eq!(seen, (0..10).map(Value::from).collect::<Vec<_>>());
    assert_eq!(after, seqs[9]);
    reader.send(json!({"type":"channel:history","payload":{"channel":"topic:t","limit":0}})).await;
    let head = reader.expect("channel:records").await;
    assert_eq!((&head["payload"]["head"], &head["payload"]["messages"]), (&json!(seqs[9]), &json!([])));

    for (channel, code) in [
        ("agent:a", "not_allowed"),
        ("user:ann", "not_allowed"),
        ("dead:agent:a", "not_allowed"),
        ("topic:system.state", "not_allowed"),
        ("x", "invalid_target"),
    ] {
        reader.send(json!({"type":"channel:history","payload":{"channel":channel}})).await;
        reader.expect_error(code).await;
    }
    reader.send(json!({"type":"channel:history","payload":{"channel":"topic:t","limit":257}})).await;
    reader.expect_error("invalid_payload").await;
}

#[actix_rt::test]
async fn many_publishers_and_a_subscriber_that_comes_and_goes_lose_and_reorder_nothing() {
    const EACH: u64 = 300;
    let broker = TestBroker::with(|settings| settings.limits.outbox_bytes = 16 * 1024).await;
    let mut publishers = Vec::new();
    for name in ["p0", "p1", "p2"] {
        publishers.push(broker.agent(name).await);
    }
    let publishing = async {
        for mut publisher in publishers {
            actix_rt::spawn(async move {
                for at in 0..EACH {
                    publisher.send(news(at, "topic:t", at)).await;
                    if at % 16 == 15 {
                        for _ in 0..16 {
                            publisher.expect("message:accepted").await;
                        }
                    }
                }
                publisher.settle().await;
            });
        }
    };
    let mut position = json!({"seq":0});
    let mut reader = broker.session().await;
    subscribe(&mut reader, json!({"topic":"t","from":position})).await;
    publishing.await;
    let mut next = std::collections::HashMap::from([("agent:p0", 0), ("agent:p1", 0), ("agent:p2", 0)]);
    let mut prev = json!(0);
    for count in 1..=3 * EACH {
        let message = reader.expect("news:new").await;
        assert_eq!(message["prev"], prev, "no gap");
        prev = message["seq"].clone();
        let expected = next.get_mut(message["source"].as_str().expect("a source")).expect("a publisher");
        assert_eq!(message["payload"], *expected);
        *expected += 1;
        position = json!({"epoch":message["epoch"],"seq":message["seq"]});
        if count % 70 == 0 {
            drop(reader);
            reader = broker.session().await;
            let answer = subscribe(&mut reader, json!({"topic":"t","from":position})).await;
            assert_eq!(answer["recovered"], true);
        }
    }
    reader.expect_nothing().await;
}
