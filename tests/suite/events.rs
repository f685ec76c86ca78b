//! A topic's messages over HTTP as server-sent events, through a real edge from a real broker.

use common::{address::Address, envelope::Delivery};
use gateway::doors::{Door, Outgoing};
use serde_json::{Value, json};

use crate::harness::{EventStream, Site, eventually, in_time, quick, request};

const NEWS: &str = "/api/v1/channels/topic:news/events";

async fn publish(door: &Door, target: &str, payload: Value) {
    let message = Outgoing::new("job:new").to(&Address::parse(target).expect("an address")).payload(payload);
    in_time("stored", door.publish(message.delivery(Delivery::Durable))).await.expect("stored");
}

/// How many sockets and streams the clients have at the edge.
async fn open_at_the_edge(site: &Site) -> Value {
    let stats = request(site.edge, "GET", "/stats", None).await.expect("an answer");
    stats.json["browsers"]["sockets"].clone()
}

#[tokio::test]
async fn a_stream_goes_on_through_the_brokers_death_and_its_reader_through_its_own() {
    let site = Site::new();
    let mut broker = site.broker_alone().await;
    let _edge = site.edge_alone().await;
    let (sender, _inbox) = site.agent_door("sender", quick());
    publish(&sender, "topic:news", json!(0)).await;
    let reader = site.register().await;
    let mut events = EventStream::open(site.edge, &format!("{NEWS}?from=0"), &reader.token, "").await.expect("opened");
    let first = events.next().await.expect("opened");
    assert_eq!((first.name.as_deref(), &first.data["payload"]["recovered"]), (Some("topic:subscribed"), &json!(true)));

    let mut last_id = None;
    for number in 0..6 {
        if number > 0 {
            publish(&sender, "topic:news", json!(number)).await;
        }
        let event = events.message().await;
        assert_eq!((&event.data["payload"], &event.data["source"]), (&json!(number), &json!("agent:sender")));
        let position = format!("{}:{}", event.data["epoch"].as_str().expect("an epoch"), event.data["seq"]);
        assert_eq!(event.id.as_deref(), Some(position.as_str()));
        last_id = event.id;
        if number == 3 {
            // The stream stays open, reports the loss of the broker, and gets the rest.
            broker.kill();
            broker = site.broker_alone().await;
        }
    }
    drop(events);
    for number in 6..9 {
        publish(&sender, "topic:news", json!(number)).await;
    }
    // As a browser reconnects: the same address, and the id of the last event.
    let came_back = format!("Last-Event-ID: {}\r\n", last_id.expect("an id"));
    let mut events = EventStream::open(site.edge, &format!("{NEWS}?from=0"), &reader.token, &came_back).await.expect("opened");
    for number in 6..9 {
        assert_eq!(events.message().await.data["payload"], json!(number));
    }
    let mut last_two = EventStream::open(site.edge, &format!("{NEWS}?last=2"), &reader.token, "").await.expect("opened");
    assert_eq!(last_two.message().await.data["payload"], json!(7));
    let live = Outgoing::new("message:delta").to(&Address::parse("topic:news").expect("an address")).payload(json!("live"));
    sender.send(live).await.expect("sent");
    for (number, events) in [(8, &mut last_two)] {
        assert_eq!(events.message().await.data["payload"], json!(number));
        let live = events.message().await;
        assert_eq!((live.id, &live.data["payload"]), (None, &json!("live")));
    }
    drop((events, last_two));
    eventually("the edge has nothing open", async || open_at_the_edge(&site).await == 0).await;
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_a_code_before_a_stream_begins() {
    let site = Site::new().with("limits.max_session_connections", "2");
    let edge = site.edge_alone().await;
    let reader = site.register().await;
    let ask = async |path: &str, token: &str| match EventStream::open(site.edge, path, token, "").await {
        Ok(_) => panic!("{path} is read"),
        Err((status, code)) => format!("{status} {code}"),
    };
    assert_eq!(ask(NEWS, &reader.token).await, "503 not_ready", "the broker is away");
    drop(edge);
    let _daemon = site.daemon().await;
    for (path, refusal) in [
        ("/api/v1/channels/session:x/events", "400 invalid_target"),
        ("/api/v1/channels/topic:/events", "400 invalid_target"),
        ("/api/v1/channels/topic:news/events?from=here", "400 bad_request"),
        ("/api/v1/channels/topic:news/events?from=1&last=2", "400 bad_request"),
        ("/api/v1/channels/topic:news/events?form=1", "400 bad_request"),
        ("/api/v1/channels/topic:user/ann/secrets/events", "403 not_allowed"),
    ] {
        assert_eq!(ask(path, &reader.token).await, refusal, "{path}");
    }
    assert_eq!(ask(NEWS, "rubbish").await, "401 unauthorized");
    let _held = [
        EventStream::open(site.edge, NEWS, &reader.token, "").await.expect("opened"),
        EventStream::open(site.edge, NEWS, &reader.token, "").await.expect("opened"),
    ];
    assert_eq!(ask(NEWS, &reader.token).await, "429 too_many_connections");
    let other = site.register().await;
    let _other = EventStream::open(site.edge, NEWS, &other.token, "").await.expect("another session has its own");
}

#[tokio::test]
async fn a_stream_leaves_the_sessions_inbox_alone() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let (sender, _inbox) = site.agent_door("sender", quick());
    let reader = site.register().await;
    let mut events = EventStream::open(site.edge, NEWS, &reader.token, "").await.expect("opened");
    publish(&sender, &format!("session:{}", reader.id), json!("yours")).await;
    publish(&sender, "topic:news", json!("news")).await;
    assert_eq!(events.message().await.data["payload"], json!("news"));
    let mut session = site.dial_session(&reader, "").await.expect("upgraded");
    let message = session.expect("job:new").await;
    assert_eq!((&message["payload"], &message["redelivered"]), (&json!("yours"), &Value::Null), "nobody had it before");
}

#[tokio::test]
async fn a_logout_and_a_drain_end_streams_with_their_codes() {
    let site = Site::new();
    let mut daemon = site.daemon().await;
    let (leaver, stayer) = (site.register().await, site.register().await);
    let mut left = EventStream::open(site.edge, NEWS, &leaver.token, "").await.expect("opened");
    let mut stayed = EventStream::open(site.edge, NEWS, &stayer.token, "").await.expect("opened");
    let ended = request(site.edge, "DELETE", "/api/client/session", Some(&leaver.token)).await.expect("an answer");
    assert_eq!(ended.status, 204);
    assert_eq!(left.closed().await, 4003);
    daemon.terminate();
    assert_eq!(stayed.closed().await, 1012);
    assert_eq!(daemon.exit_code().await, 0);
}

#[tokio::test]
async fn who_opens_a_stream_and_reads_nothing_is_cut_and_holds_nobody_up() {
    let site = Site::new().with("limits.slow_consumer_timeout", "1s").with("limits.request_timeout", "2s");
    let _daemon = site.daemon().await;
    let (sender, _inbox) = site.agent_door("sender", quick());
    let reader = site.register().await;
    let _stuck = EventStream::open_small(site.edge, NEWS, &reader.token).await.expect("opened");
    let text = "x".repeat(64 * 1024);
    let mut reads = EventStream::open(site.edge, NEWS, &reader.token, "").await.expect("opened");
    for number in 0..300 {
        let sent = publish(&sender, "topic:news", json!({"number": number, "text": text}));
        let read = reads.message();
        let ((), event) = tokio::join!(sent, read);
        assert_eq!(event.data["payload"]["number"], json!(number));
    }
    eventually("the one that reads nothing is cut", async || open_at_the_edge(&site).await == 1).await;
    publish(&sender, "topic:news", json!("still here")).await;
    assert_eq!(reads.message().await.data["payload"], json!("still here"));
}
