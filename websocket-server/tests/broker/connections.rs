//! Who is admitted, under which name, and how connections end.

use common::{
    assertion::{self, ClientIdentity},
    audit::Event,
    config::AgentKey,
    id::SessionId,
    secret::Secret,
};
use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Ended, TestBroker, eventually};

#[actix_rt::test]
async fn agents_need_one_of_the_keys() {
    let broker = TestBroker::with(|settings| {
        settings.broker.agent_keys.push(AgentKey { name: "next".into(), key: Secret::new("rotated-in") });
    })
    .await;
    for (key, expected) in [
        (None, Err(401)),
        (Some("wrong"), Err(401)),
        (Some("Bearer wrong"), Err(401)),
        (Some("test-agent-key"), Ok(())),
        (Some("Bearer test-agent-key"), Ok(())),
        (Some("Bearer rotated-in"), Ok(())),
    ] {
        assert_eq!(broker.dial("/ws/agent", key).await.map(drop), expected, "{key:?}");
    }
}

#[actix_rt::test]
async fn sessions_need_an_assertion_of_their_own() {
    let broker = TestBroker::start().await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let path = format!("/ws/client/{}", identity.session_id);
    assert_eq!(broker.dial(&path, None).await.map(drop), Err(401));
    assert_eq!(broker.dial(&path, Some("Bearer test-agent-key")).await.map(drop), Err(401));
    assert_eq!(broker.dial("/ws/client/not-a-uuid", None).await.map(drop), Err(400));
    let others = common::assertion::mint(&identity, &broker.settings.broker.bridge_secret).expect("signs");
    let another = format!("/ws/client/{}", SessionId::fresh());
    assert_eq!(broker.dial(&another, Some(&format!("Bearer {others}"))).await.map(drop), Err(403));
}

#[actix_rt::test]
async fn the_first_frame_states_ids_limits_and_heartbeat() {
    let broker = TestBroker::start().await;
    let mut agent = broker.dial("/ws/agent?agent_id=planner", Some("test-agent-key")).await.expect("upgraded");
    let ack = agent.next().await;
    assert_eq!(ack["type"], "connection:ack");
    assert_eq!(ack["source"], "bridge");
    assert_eq!(ack["payload"]["agent_id"], "planner");
    assert_eq!(ack["payload"]["limits"]["max_frame_bytes"], 1 << 20);
    assert_eq!(ack["payload"]["limits"]["max_receive_bytes"], (1 << 20) + 4096);
    assert_eq!(ack["payload"]["heartbeat"], json!({"interval_ms": 5000, "timeout_ms": 30000}));
    assert!(ack["payload"]["version"].is_string());
}

#[actix_rt::test]
async fn an_unnamed_agent_may_register_under_a_name() {
    let broker = TestBroker::start().await;
    let mut agent = broker.dial("/ws/agent", Some("test-agent-key")).await.expect("upgraded");
    agent.expect("connection:ack").await;
    agent.send(json!({"type":"agent:register","id":"1","payload":{"agent_id":"planner","name":"Planner","colour":"red"}})).await;
    let registered = agent.expect("agent:registered").await;
    assert_eq!(registered["correlation_id"], "1");
    assert_eq!(registered["payload"]["agent_id"], "planner");
    assert_eq!(registered["payload"]["agent"]["colour"], "red");
    agent.send(json!({"type":"agent:register","id":"2","payload":{"agent_id":"other"}})).await;
    assert_eq!(agent.expect_error("already_registered").await["correlation_id"], "2");
    agent.send(json!({"type":"agent:register","id":"3","payload":{"name":"New"}})).await;
    assert_eq!(agent.expect("agent:registered").await["payload"]["agent"]["name"], "New");
}

#[actix_rt::test]
async fn an_agent_that_never_registers_works_under_its_assigned_id() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let mut agent = broker.dial("/ws/agent", Some("test-agent-key")).await.expect("upgraded");
    let assigned = agent.expect("connection:ack").await["payload"]["agent_id"].clone();
    // It sends nothing: after the grace period it is announced all the same.
    let connected = session.expect("agent:connected").await;
    assert_eq!(connected["payload"]["agent"]["agent_id"], assigned);
    session.send(json!({"type":"message:send","payload":"hi"})).await;
    assert_eq!(agent.expect("message:send").await["payload"], "hi");
}

#[actix_rt::test]
async fn a_bad_agent_id_is_refused() {
    let broker = TestBroker::start().await;
    assert_eq!(broker.dial("/ws/agent?agent_id=a%20b", Some("test-agent-key")).await.map(drop), Err(400));
}

#[actix_rt::test]
async fn a_second_connection_takes_over_and_late_clean_up_does_no_harm() {
    let broker = TestBroker::start().await;
    let mut session = broker.session().await;
    let mut older = broker.agent("planner").await;
    session.expect("agent:connected").await;
    let mut newer = broker.agent("planner").await;
    assert_eq!(older.ended().await, Ended::Code(4009));
    assert_eq!(session.expect("agent:updated").await["payload"]["agent"]["agent_id"], "planner");
    eventually("the older connection is gone", || async { broker.handle.broker().connections() == 2 }).await;
    session.send(json!({"type":"message:send","target":"agent:planner","payload":1})).await;
    assert_eq!(newer.expect("message:send").await["payload"], 1);
    session.expect_nothing().await;
}

#[actix_rt::test]
async fn an_older_connection_that_registers_late_is_refused_and_cannot_send() {
    let broker = TestBroker::start().await;
    let mut other = broker.agent("other").await;
    let mut older = broker.dial("/ws/agent", Some("test-agent-key")).await.expect("upgraded");
    older.expect("connection:ack").await;
    let mut newer = broker.agent("a").await;
    other.expect("agent:connected").await;
    // In one write, so that the message is there before the refusal is known.
    for frame in [
        json!({"type":"agent:register","payload":{"agent_id":"a"}}),
        json!({"type":"x:y","target":"agent:other","payload":"forged"}),
    ] {
        older.socket.feed(Message::text(frame.to_string())).await.expect("takes a frame");
    }
    older.socket.flush().await.expect("sends");
    assert_eq!(older.ended().await, Ended::Code(4009));
    other.expect_nothing().await;
    newer.send(json!({"type":"x:y","target":"agent:other"})).await;
    other.expect("x:y").await;
    let entries = broker.noted(Event::Connection).await;
    let came = entries.iter().filter(|entry| entry.who == "agent:a" && entry.what.starts_with("connected"));
    assert_eq!(came.count(), 1, "who was refused did not connect");
}

#[actix_rt::test]
async fn takeovers_in_a_race_leave_exactly_one() {
    let broker = TestBroker::start().await;
    let dial = || broker.dial("/ws/agent?agent_id=planner", Some("test-agent-key"));
    let peers = futures_util::future::join_all((0..20).map(|_| dial())).await;
    eventually("one connection is left", || async { broker.handle.broker().connections() == 1 }).await;
    let mut open = 0;
    let mut peers: Vec<_> = peers.into_iter().map(|peer| peer.expect("upgraded")).collect();
    for peer in &mut peers {
        peer.expect("connection:ack").await;
        let ended = tokio::time::timeout(std::time::Duration::from_millis(100), peer.ended()).await;
        match ended {
            Ok(ended) => assert_eq!(ended, Ended::Code(4009)),
            Err(_) => open += 1,
        }
    }
    assert_eq!(open, 1);
    assert_eq!(broker.stats().await["agents"]["connected"], 1);
}

#[actix_rt::test]
async fn a_session_has_several_connections_up_to_its_limit() {
    let broker = TestBroker::with(|settings| settings.limits.max_session_connections = 2).await;
    let mut agent = broker.agent("planner").await;
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let mut one = broker.session_as(identity.clone()).await;
    let mut two = broker.session_as(identity.clone()).await;
    assert_eq!(broker.dial_session(&identity).await.map(drop), Err(429));
    agent.expect("session:connected").await;
    agent.send(json!({"type":"message:send","target":one.address(),"payload":7})).await;
    assert_eq!(one.expect("message:send").await["payload"], 7);
    assert_eq!(two.expect("message:send").await["payload"], 7);
    one.close().await;
    agent.expect_nothing().await;
    two.close().await;
    agent.expect("session:disconnected").await;
}

#[actix_rt::test]
async fn beyond_capacity_the_handshake_is_refused() {
    let broker = TestBroker::with(|settings| settings.limits.max_connections = 1).await;
    let agent = broker.agent("planner").await;
    assert_eq!(broker.dial("/ws/agent", Some("test-agent-key")).await.map(drop), Err(503));
    agent.close().await;
    eventually("its place is free", || async { broker.handle.broker().connections() == 0 }).await;
    broker.agent("planner").await;
}

#[actix_rt::test]
async fn a_drain_tells_everyone_and_closes_with_1012() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("planner").await;
    let mut session = broker.session().await;
    let watching = actix_rt::spawn(async move {
        agent.expect("system:draining").await;
        session.expect("system:draining").await;
        (agent.ended().await, session.ended().await)
    });
    assert_eq!(broker.handle.drain().await, 0);
    assert_eq!(watching.await.expect("watched"), (Ended::Code(1012), Ended::Code(1012)));
}

#[actix_rt::test]
async fn pages_of_other_sites_open_no_sockets() {
    let broker = TestBroker::with(|settings| settings.web.allowed_origins = vec!["https://app.example".to_owned()]).await;
    let own = format!("http://{}", broker.handle.addr());
    let identity = ClientIdentity::anonymous(SessionId::fresh());
    let assertion = assertion::mint(&identity, &broker.settings.broker.bridge_secret).expect("signs");
    let session = format!("/ws/client/{}", identity.session_id);
    for (path, authorization) in [("/ws/agent", "Bearer test-agent-key"), (session.as_str(), &format!("Bearer {assertion}"))] {
        for foreign in ["https://evil.example", "null"] {
            assert_eq!(broker.dial_with(path, authorization, &[("origin", foreign)]).await.err(), Some(403), "{path} {foreign}");
        }
        for admitted in ["https://app.example", &own] {
            assert!(broker.dial_with(path, authorization, &[("origin", admitted)]).await.is_ok(), "{path} {admitted}");
        }
    }
}

#[actix_rt::test]
async fn sessions_may_have_shorter_frames_than_agents() {
    let broker = TestBroker::with(|settings| settings.limits.max_client_frame_bytes = 32 * 1024).await;
    let mut agent = broker.dial("/ws/agent?agent_id=planner", Some("test-agent-key")).await.expect("upgraded");
    assert_eq!(agent.next().await["payload"]["limits"]["max_frame_bytes"], 1 << 20);
    agent.settle().await;
    let mut session = broker.dial_session(&ClientIdentity::anonymous(SessionId::fresh())).await.expect("upgraded");
    assert_eq!(session.next().await["payload"]["limits"]["max_frame_bytes"], 32 << 10);
    session.settle().await;
    let long = |length| json!({"type":"x:y","payload":"x".repeat(length)});
    session.send(long(32_000)).await;
    assert_eq!(agent.expect("x:y").await["payload"].as_str().map(str::len), Some(32_000));
    let target = format!("session:{}", session.session_id.expect("a session"));
    agent.send(json!({"type":"x:z","target":target,"payload":"x".repeat(100_000)})).await;
    assert_eq!(session.expect("x:z").await["payload"].as_str().map(str::len), Some(100_000));
    session.send(long(33_000)).await;
    assert_eq!(session.ended().await, Ended::Code(1009));
}

#[actix_rt::test]
async fn a_frame_of_exactly_the_limit_arrives_within_what_was_announced() {
    let broker = TestBroker::start().await;
    let (longest, other) = ("s".repeat(128), "r".repeat(128));
    let (mut sender, mut receiver) = (broker.agent(&longest).await, broker.agent(&other).await);
    let head = format!(r#"{{"type":"job:new","target":"agent:{other}","delivery":"durable","payload":""#);
    let text = format!("{head}{}\"}}", "x".repeat((1 << 20) - head.len() - 2));
    assert_eq!(text.len(), 1 << 20);
    sender.send_text(&text).await;
    let came = loop {
        let came = receiver.next_text().await;
        if came.contains("job:new") {
            break came;
        }
    };
    assert!((text.len() + 1..=text.len() + 4096).contains(&came.len()), "{} bytes", came.len());
}
