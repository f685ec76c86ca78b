//! Coming back: to positions that the client names, or to those stored under its name.

use common::{
    assertion::{ClientIdentity, Reading},
    config::{Backend, Durability, Settings},
    id::{ClientName, SessionId},
};
use serde_json::{Value, json};

use crate::harness::{Ended, Peer, TestBroker};

fn durable(id: impl ToString, target: &str, payload: impl Into<Value>) -> Value {
    json!({"type":"job:new","id":id.to_string(),"target":target,"delivery":"durable","payload":payload.into()})
}

async fn send_all(sender: &mut Peer, target: &str, payloads: std::ops::Range<u64>) {
    for at in payloads {
        sender.send(durable(format!("{target}/{at}"), target, at)).await;
        sender.expect("message:accepted").await;
    }
}

fn named(session_id: SessionId, client: &str) -> ClientIdentity {
    let reading = Reading { client: ClientName::new(client).ok(), ..Reading::default() };
    ClientIdentity { reading, ..ClientIdentity::anonymous(session_id) }
}

#[actix_rt::test]
async fn an_inbox_goes_on_after_the_position_that_its_owner_names() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let path = "/ws/agent?agent_id=worker&ack=explicit";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    send_all(&mut sender, "agent:worker", 0..6).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(worker.expect("job:new").await);
    }
    // It dies without having acknowledged anything, but knows that it has done the first four.
    drop(worker);
    let path = "/ws/agent?agent_id=worker&ack=explicit&resume=true";
    let mut worker = broker.dial(path, Some("test-agent-key")).await.expect("upgraded");
    worker.settle().await;
    worker.expect_nothing().await;
    let position = json!({"epoch":seen[3]["epoch"],"seq":seen[3]["seq"]});
    worker.send(json!({"type":"connection:resume","id":"r","payload":{"channels":{"agent:worker":position}}})).await;
    let resumed = worker.expect("connection:resumed").await;
    assert_eq!(resumed["payload"]["channels"]["agent:worker"], json!({"recovered":true,"from":seen[3]["seq"],"lost":null}));
    for at in 4..6 {
        let message = worker.expect("job:new").await;
        assert_eq!((&message["payload"], &message["redelivered"]), (&json!(at), &json!(1)));
    }
    send_all(&mut sender, "agent:worker", 6..8).await;
    for at in 6..8 {
        assert_eq!(worker.expect("job:new").await["payload"], at);
    }
    worker.expect_nothing().await;
}

#[actix_rt::test]
async fn a_client_resumes_only_channels_that_it_may_read() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let stranger = format!("session:{}", SessionId::fresh());
    for (channel, code) in
        [(&*stranger, "not_allowed"), ("user:ann", "not_allowed"), ("broadcast:agents", "not_allowed"), ("x", "invalid_target")]
    {
        let channels = json!({channel:{"epoch":"000000000000","seq":1}});
        session.send(json!({"type":"connection:resume","payload":{"channels":channels}})).await;
        session.expect_error(code).await;
    }
}

#[actix_rt::test]
async fn subscriptions_of_a_named_client_are_restored_with_positions_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let on_disk = |settings: &mut Settings| {
        settings.store.backend = Backend::Embedded;
        settings.store.durability = Durability::Process;
        settings.data.dir = folder.path().to_owned();
    };
    let broker = TestBroker::with(on_disk).await;
    let mut sender = broker.agent("sender").await;
    let session_id = SessionId::fresh();
    let mut tab = broker.session_as(named(session_id, "tab-1")).await;
    let mut other = broker.session_as(named(session_id, "tab-2")).await;
    for topic in ["t", "gone"] {
        tab.send(json!({"type":"topic:subscribe","payload":{"topic":topic,"presence":topic == "t"}})).await;
        tab.expect("topic:subscribed").await;
    }
    tab.send(json!({"type":"topic:unsubscribe","payload":{"topic":"gone"}})).await;
    tab.expect("topic:unsubscribed").await;
    other.settle().await;
    send_all(&mut sender, "topic:t", 0..3).await;
    send_all(&mut sender, "broadcast:sessions", 0..1).await;
    for _ in 0..4 {
        tab.expect("job:new").await;
    }
    // Its positions are stored once it has answered the mark.
    let consumer = |presence| {
        store::ConsumerId::of_client(&format!("session:{session_id}"), &ClientName::new("tab-1").expect("a name"), presence)
    };
    loop {
        tab.settle().await;
        let cursors = broker.handle.broker().channels.store().cursors(consumer(true)).await.expect("read");
        let head = broker.channel("topic:t").await.head;
        if cursors.iter().any(|(channel, seq)| channel.as_str() == "topic:t" && *seq == head) {
            break;
        }
    }
    tab.close().await;
    other.close().await;
    send_all(&mut sender, "topic:t", 3..5).await;
    send_all(&mut sender, "topic:gone", 0..1).await;
    send_all(&mut sender, "broadcast:sessions", 1..2).await;
    drop(sender);
    broker.handle.drain().await;

    let broker = TestBroker::with(on_disk).await;
    let mut tab = broker.dial_session(&named(session_id, "tab-1")).await.expect("upgraded");
    let resumed = tab.expect("connection:resumed").await;
    let channels = resumed["payload"]["channels"].as_object().expect("channels");
    assert!(channels.values().all(|recovery| recovery["recovered"] == true), "{resumed}");
    assert_eq!(channels.keys().collect::<Vec<_>>(), ["broadcast:all", "broadcast:sessions", "topic:t"]);
    let mut got = Vec::new();
    for _ in 0..3 {
        let message = tab.expect("job:new").await;
        got.push((message["channel"].as_str().expect("a channel").to_owned(), message["payload"].as_u64().expect("a number")));
    }
    got.sort();
    assert_eq!(got, [("broadcast:sessions".into(), 1), ("topic:t".into(), 3), ("topic:t".into(), 4)]);
    // It is live again, and gets presence.
    let mut sender = broker.agent("sender").await;
    sender.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    assert_eq!(tab.expect("presence:join").await["payload"]["member"], "agent:sender");
    send_all(&mut sender, "topic:t", 5..6).await;
    assert_eq!(tab.expect("job:new").await["payload"], 5);
    // The other tab subscribed to nothing.
    let mut other = broker.dial_session(&named(session_id, "tab-2")).await.expect("upgraded");
    let resumed = other.expect("connection:resumed").await;
    assert_eq!(resumed["payload"]["channels"].get("topic:t"), None);
}

#[actix_rt::test]
async fn all_client_names_of_a_session_share_one_bound_of_positions() {
    let broker = TestBroker::with(|settings| {
        settings.limits.max_subscriptions = 3;
        settings.limits.max_session_subscriptions = 3;
    })
    .await;
    let session = SessionId::fresh();
    let mut neighbour = broker.session_as(named(SessionId::fresh(), "tab")).await;
    neighbour.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    neighbour.expect("topic:subscribed").await;
    let neighbours_address = neighbour.address();
    neighbour.close().await;
    for number in 0..20 {
        let mut tab = broker.session_as(named(session, &format!("tab-{number}"))).await;
        for topic in ["t", "u", "v"] {
            tab.send(json!({"type":"topic:subscribe","payload":{"topic":topic}})).await;
            tab.expect("topic:subscribed").await;
        }
        tab.close().await;
    }
    let store = broker.handle.broker().channels.store();
    let stored = async |address: &str| {
        let mut positions = 0;
        for consumer in store.consumers(None, 1_000).await.expect("read") {
            if consumer.client().is_some_and(|(of, _)| of == address) {
                positions += store.cursors(consumer).await.expect("read").len();
            }
        }
        positions
    };
    let positions = stored(&format!("session:{session}")).await;
    assert!((3..=12).contains(&positions), "{positions} positions");
    assert!(stored(&neighbours_address).await > 0, "another session is not concerned");
    // The first name is a new client. The last one comes back.
    let mut first = broker.session_as(named(session, "tab-0")).await;
    first.expect_nothing().await;
    first.close().await;
    let mut last = broker.dial_session(&named(session, "tab-19")).await.expect("upgraded");
    let resumed = last.expect("connection:resumed").await;
    assert!(resumed["payload"]["channels"]["topic:v"].is_object(), "{resumed}");
}

#[actix_rt::test]
async fn a_name_given_by_an_edge_is_restored_on_reconnect_and_forgotten_when_the_client_leaves() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let mut identity = named(SessionId::fresh(), "@edge/1");
    let mut client = broker.session_as(identity.clone()).await;
    client.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    client.expect("topic:subscribed").await;
    // The connection breaks.
    drop(client);
    send_all(&mut sender, "topic:t", 0..2).await;
    send_all(&mut sender, "broadcast:sessions", 0..1).await;
    identity.reading.away_since = Some(0);
    let mut client = broker.dial_session(&identity).await.expect("upgraded");
    for _ in 0..3 {
        client.expect("job:new").await;
    }
    client.close().await;
    let consumer = store::ConsumerId::of_client(
        &format!("session:{}", identity.session_id),
        identity.reading.client.as_ref().expect("a name"),
        false,
    );
    crate::harness::eventually("it is forgotten", || async {
        broker.handle.broker().channels.store().cursors(consumer.clone()).await.expect("read").is_empty()
    })
    .await;
}

#[actix_rt::test]
async fn the_names_that_edges_give_are_not_for_clients() {
    let broker = TestBroker::start().await;
    let refused = broker.dial("/ws/agent?agent_id=a&client=@edge/1", Some("test-agent-key")).await;
    assert_eq!(refused.err(), Some(400));
}

#[actix_rt::test]
async fn a_reader_that_has_missed_something_without_knowing_is_found_and_reads_on() {
    let broker = TestBroker::with(|settings| settings.store.position_check = std::time::Duration::from_millis(100)).await;
    let mut sender = broker.agent("sender").await;
    let mut reader = broker.session_as(named(SessionId::fresh(), "tab")).await;
    reader.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
    reader.expect("topic:subscribed").await;
    send_all(&mut sender, "topic:t", 0..1).await;
    reader.expect("job:new").await;
    // A fault, made by hand: one message is delivered to nobody, and nobody records that.
    let channel = store::ChannelName::parse("topic:t").expect("a channel");
    let channels = &broker.handle.broker().channels;
    let ways: Vec<_> = broker.handle.broker().router.read().peers().map(|peer| channels.fall_behind(&channel, peer, 0)).collect();
    send_all(&mut sender, "topic:t", 1..2).await;
    drop(ways);
    assert_eq!(reader.expect("job:new").await["payload"], 1);
    // It does not miss what it writes itself.
    reader.send(durable("own", "topic:t", 2)).await;
    reader.expect("message:accepted").await;
    send_all(&mut sender, "topic:t", 3..4).await;
    assert_eq!(reader.expect("job:new").await["payload"], 3);
    reader.expect_nothing().await;
}

#[actix_rt::test]
async fn subscribing_again_confirms_no_undelivered_message() {
    let broker = TestBroker::start().await;
    let mut sender = broker.agent("sender").await;
    let identity = named(SessionId::fresh(), "tab");
    let mut reader = broker.session_as(identity.clone()).await;
    let subscribe = json!({"type":"topic:subscribe","payload":{"topic":"t"}});
    reader.send(subscribe.clone()).await;
    reader.expect("topic:subscribed").await;
    send_all(&mut sender, "topic:t", 0..1).await;
    reader.send(subscribe).await;
    // The connection breaks before anything was read.
    drop(reader);
    let mut reader = broker.dial_session(&identity).await.expect("upgraded");
    assert_eq!(reader.expect("job:new").await["payload"], 0);
}

#[actix_rt::test]
async fn a_refused_resume_changes_nothing() {
    let broker = TestBroker::with(|settings| settings.limits.max_subscriptions = 1).await;
    let mut sender = broker.agent("sender").await;
    send_all(&mut sender, "topic:a", 0..1).await;
    let epoch = broker.handle.broker().channels.epoch().to_string();
    let mut session = broker.session().await;
    let position = json!({"epoch":epoch,"seq":0});
    session.send(json!({"type":"connection:resume","payload":{"channels":{"topic:a":position,"topic:b":position}}})).await;
    session.expect_error("too_many_subscriptions").await;
    // It does not subscribe to the first of the two either.
    send_all(&mut sender, "topic:a", 1..2).await;
    session.expect_nothing().await;
    session.send(json!({"type":"topic:subscribe","payload":{"topic":"b"}})).await;
    session.expect("topic:subscribed").await;
}

#[actix_rt::test]
async fn a_name_has_one_holder_and_the_older_one_goes_on_under_another_from_its_own_positions() {
    let broker = TestBroker::start().await;
    let session = SessionId::fresh();
    let mut sender = broker.agent("sender").await;
    let mut older = broker.session_as(named(session, "tab")).await;
    older.send(json!({"type":"topic:subscribe","id":"s","payload":{"topic":"news"}})).await;
    older.expect("topic:subscribed").await;
    send_all(&mut sender, "topic:news", 0..2).await;
    older.expect("job:new").await;
    let held = older.expect("job:new").await;
    older.settle().await;

    // The duplicate alone has the name, and what is stored under it.
    let mut newer = broker.session_as(named(session, "tab")).await;
    assert_eq!(older.ended().await, Ended::Code(4011));
    send_all(&mut sender, "topic:news", 2..4).await;
    for at in 2..4 {
        assert_eq!(newer.expect("job:new").await["payload"], at);
    }
    newer.settle().await;

    // The other continues from its positions, and takes nothing from the duplicate.
    let mut again = named(session, "tab-2");
    again.reading.resume = true;
    let mut again = broker.session_as(again).await;
    let position = json!({"epoch":held["epoch"],"seq":held["seq"]});
    again.send(json!({"type":"connection:resume","id":"r","payload":{"channels":{"topic:news":position}}})).await;
    let resumed = again.expect("connection:resumed").await;
    assert_eq!(resumed["payload"]["channels"]["topic:news"]["lost"], Value::Null);
    send_all(&mut sender, "topic:news", 4..5).await;
    for at in 2..5 {
        assert_eq!(again.expect("job:new").await["payload"], at);
    }
    assert_eq!(newer.expect("job:new").await["payload"], 4);
    // Another session may use the same name.
    let mut stranger = broker.session_as(named(SessionId::fresh(), "tab")).await;
    stranger.settle().await;
    newer.settle().await;
}
