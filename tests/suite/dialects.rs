//! Dialects in real processes: what their listeners refuse, count and record, and what happens to
//! their clients when processes are killed or stopped. The conversations themselves are scripted in
//! `tests/dialects`.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use crate::harness::{EchoAgent, Ended, Peer, Process, Site, eventually, everyone, in_time, request};

const TOKEN: &str = "dev-token-12345";

fn site() -> Site {
    Site::new()
        .with("dialects.supervisor.enabled", "true")
        .with("dialects.supervisor.addr", "127.0.0.1:0")
        .with("dialects.supervisor.token", TOKEN)
        .with("dialects.supervisor.agent", "boss")
}

/// Where a process says that a dialect listens.
fn address_of(site: &Site, process: &str, dialect: &str) -> SocketAddr {
    let log = fs::read_to_string(site.folder().join(format!("{process}.log"))).expect("there is a log");
    let line = log.lines().rev().find_map(|line| line.trim().strip_prefix(dialect)).expect("the dialect is announced");
    line.trim().trim_start_matches("ws://").parse().expect("an address")
}

async fn client(addr: SocketAddr) -> Peer {
    let mut peer = Peer::dial(addr, "/", "").await.expect("upgraded");
    peer.send(json!({"type": "auth", "token": TOKEN})).await;
    assert_eq!(peer.next().await["success"], true);
    peer
}

fn sms(number: usize) -> Value {
    json!({"type": "sms_received", "from": "+1", "to": "+2", "message": format!("text {number}"), "user": format!("user {number}")})
}

async fn page(site: &Site) -> Value {
    request(site.edge, "GET", "/stats", None).await.expect("the edge answers").json
}

#[tokio::test]
async fn requests_run_side_by_side_and_replies_keep_their_order() {
    let site = site();
    let _daemon = site.daemon().await;
    let agent = EchoAgent::start(&site, "boss").await;
    let addr = address_of(&site, "daemon", "supervisor");
    let replies = everyone((0..4).map(|_| async move {
        let mut client = client(addr).await;
        // More than the agent is asked at the same time: the connection is not read meanwhile.
        for number in 0..40 {
            client.send(sms(number)).await;
        }
        let mut replies = Vec::new();
        for _ in 0..40 {
            replies.push(client.next().await);
        }
        replies
    }))
    .await;
    for replies in replies {
        for (number, reply) in replies.iter().enumerate() {
            let expected = json!({"type": "send_sms_response", "to": "+1", "message": format!("text {number}"), "user": format!("user {number}")});
            assert_eq!(*reply, expected);
        }
    }
    assert_eq!(agent.answered(), 160);
}

#[tokio::test]
async fn a_client_keeps_its_socket_while_the_broker_is_killed_and_started_again() {
    let site = site();
    let mut broker = site.broker_alone().await;
    let mut edge = site.edge_alone().await;
    let _agent = EchoAgent::start(&site, "boss").await;
    let mut peer = client(address_of(&site, "edge", "supervisor")).await;
    peer.send(sms(1)).await;
    assert_eq!(peer.next().await["message"], "text 1");
    broker.kill();
    let _broker = site.broker_alone().await;
    site.wait_for_agent("boss").await;
    // Until its session is back, requests fail with an error that names the reason.
    eventually("it is answered again", async || {
        peer.send(sms(2)).await;
        peer.next().await["message"] == "text 2"
    })
    .await;

    edge.kill();
    assert_eq!(peer.ended().await, Ended::Broken);
    let _edge = site.edge_alone().await;
    let mut peer = client(address_of(&site, "edge", "supervisor")).await;
    peer.send(sms(3)).await;
    assert_eq!(peer.next().await["message"], "text 3");
}

#[tokio::test]
async fn a_message_for_an_absent_agent_waits_for_it() {
    let site = site();
    let _daemon = site.daemon().await;
    drop(site.agent("boss").await);
    eventually("the agent has left", async || site.stats().await["agents"]["list"].as_array().is_some_and(Vec::is_empty)).await;
    let mut peer = client(address_of(&site, "daemon", "supervisor")).await;
    peer.send(sms(1)).await;
    assert_eq!(peer.next().await["type"], "message_acknowledged");
    let mut agent = site.dial_agent("boss").await.expect("upgraded");
    let waited = loop {
        let frame = agent.next().await;
        if frame["type"] == "message:send" {
            break frame;
        }
    };
    assert_eq!((&waited["payload"]["text"], &waited["channel"]), (&json!("text 1"), &json!("agent:boss")));
}

#[tokio::test]
async fn statistics_and_the_audit_log_name_the_dialect() {
    const OPERATOR: &str = "an-operator-token-of-the-suite";
    let site = site().with("broker.operator_token", OPERATOR);
    let _daemon = site.daemon().await;
    let addr = address_of(&site, "daemon", "supervisor");
    let stats = async |server: SocketAddr| request(server, "GET", "/stats", Some(OPERATOR)).await.expect("answered").json;
    let stranger = Peer::dial(addr, "/", "").await.expect("upgraded");
    let peer = client(addr).await;
    eventually("both are counted", async || {
        let (edge, broker) = (stats(site.edge).await, stats(site.broker).await);
        edge["dialects"]["supervisor"]["open"] == 2 && broker["connections"]["sessions"]["by_dialect"]["supervisor"] == 1
    })
    .await;
    eventually("it is recorded", async || {
        let audit = request(site.broker, "GET", "/api/v1/audit", Some(OPERATOR)).await.expect("answered").json;
        audit["entries"]
            .as_array()
            .is_some_and(|entries| entries.iter().any(|entry| entry["what"] == "connected by dialect supervisor"))
    })
    .await;
    drop((stranger, peer));
    eventually("none is left", async || stats(site.edge).await["dialects"]["supervisor"]["open"] == 0).await;
}

#[tokio::test]
async fn a_client_that_is_refused_and_comes_back_for_ever_leaves_nothing_behind() {
    let site = site();
    let daemon = site.daemon().await;
    let addr = address_of(&site, "daemon", "supervisor");
    let refused = async || {
        let mut peer = Peer::dial(addr, "/", "").await.expect("upgraded");
        peer.send(json!({"type": "auth", "token": "wrong"})).await;
        assert_eq!(peer.next().await["success"], false);
    };
    for _ in 0..50 {
        refused().await;
    }
    eventually("none is left", async || page(&site).await["dialects"]["supervisor"]["open"] == 0).await;
    let before = daemon.memory().now;
    for _ in 0..500 {
        refused().await;
    }
    eventually("none is left", async || page(&site).await["dialects"]["supervisor"]["open"] == 0).await;
    let grown = daemon.memory().now.saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more after 500 refused connections");
    assert!(page(&site).await["dialects"]["supervisor"]["refused"].as_u64().is_some_and(|refused| refused >= 550));
}

#[tokio::test]
async fn a_drain_closes_clients_and_strangers_with_1012() {
    let site = site();
    let mut daemon: Process = site.daemon().await;
    let addr = address_of(&site, "daemon", "supervisor");
    let (mut stranger, mut peer) = (Peer::dial(addr, "/", "").await.expect("upgraded"), client(addr).await);
    daemon.terminate();
    assert_eq!((stranger.ended().await, peer.ended().await), (Ended::Code(1012), Ended::Code(1012)));
    assert_eq!(in_time("the process ends", daemon.exit_code()).await, 0);
}

const JWT_SECRET: &str = "the-secret-of-a-hybrid-gateway-in-the-suite";

fn hybrid_site() -> Site {
    Site::new()
        .with("dialects.hybrid.enabled", "true")
        .with("dialects.hybrid.addr", "127.0.0.1:0")
        .with("auth.jwt_secret", JWT_SECRET)
}

/// A client that was greeted, and its `sync_data`.
async fn deployment(addr: SocketAddr, user: &str, mode: &str) -> (Peer, Value) {
    let claims = json!({"sub": user, "exp": 4_102_444_800.5_f64});
    let token = signed(&claims);
    let path = format!("/ws?user_id={user}&deployment_mode={mode}&auth_token={token}");
    let mut peer = Peer::dial(addr, &path, "").await.expect("upgraded");
    assert_eq!(peer.next().await["type"], "connection_ack");
    let data = peer.next().await;
    assert_eq!(data["type"], "sync_data");
    (peer, data)
}

fn signed(claims: &Value) -> String {
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), claims, &key).expect("signed")
}

#[tokio::test]
async fn the_session_of_a_user_and_what_modes_missed_survive_a_kill() {
    let site = hybrid_site();
    let mut daemon = site.daemon().await;
    let addr = address_of(&site, "daemon", "hybrid");
    let (mut local, _) = deployment(addr, "ann", "local").await;
    let (mut web, _) = deployment(addr, "ann", "web").await;
    web.send(json!({"type": "settings_update", "source_mode": "web", "payload": {"settings": {"a": 1}}})).await;
    assert_eq!(local.next().await["type"], "settings_update");
    assert_eq!(local.close().await, Ended::Code(1000));
    for number in 0..150 {
        web.send(json!({"type": "task_update", "source_mode": "web", "payload": {"task": number}})).await;
    }
    web.send(json!({"type": "intervention", "source_mode": "web", "payload": {"text": "stop"}})).await;
    // The echo says that everything before it is stored.
    assert_eq!(web.next().await["type"], "intervention");
    daemon.kill();

    let _daemon = site.daemon().await;
    let addr = address_of(&site, "daemon", "hybrid");
    let (mut local, data) = deployment(addr, "ann", "local").await;
    assert_eq!((&data["user_session"]["settings"], &data["user_session"]["active_task"]), (&json!({"a": 1}), &json!(149)));
    assert_eq!(data["recent_messages"].as_array().map(Vec::len), Some(10));
    let mut missed = Vec::new();
    loop {
        let message = local.next().await;
        match message["type"].as_str() {
            Some("task_update") => missed.push(message["payload"]["task"].as_u64().expect("a number")),
            // It may have got this before its position was stored.
            Some("settings_update") => {}
            _ => {
                assert_eq!(message["payload"]["text"], "stop");
                break;
            }
        }
    }
    assert_eq!(missed, (0..150).collect::<Vec<_>>());
    // A mode that was never here gets what every mode gets.
    let (mut extension, _) = deployment(addr, "ann", "extension").await;
    assert_eq!(extension.next().await["payload"]["text"], "stop");
    let history =
        request(addr, "GET", "/api/v1/history?limit=500", Some(&signed(&json!({"sub": "ann", "exp": 4_102_444_800_u64})))).await;
    assert_eq!(history.expect("answered").json["messages"].as_array().map(Vec::len), Some(100));
}

#[tokio::test]
async fn hybrid_clients_that_answer_each_other_are_stopped_and_nothing_else_is_lost() {
    let site = hybrid_site();
    let _daemon = site.daemon().await;
    let addr = address_of(&site, "daemon", "hybrid");
    let (mut web, _) = deployment(addr, "ann", "web").await;
    let (mut local, _) = deployment(addr, "ann", "local").await;
    let asked = |mode: &str| json!({"type": "sync_request", "source_mode": mode, "payload": {}});
    web.send(asked("web")).await;
    let mut answered = 0;
    // Each answers whatever comes, until one is told that the chain was stopped.
    let stopped = loop {
        let (frame, mode, peer) = tokio::select! {
            frame = web.receive() => (frame, "web", &mut web),
            frame = local.receive() => (frame, "local", &mut local),
        };
        let frame = frame.expect("both stay connected");
        if frame["type"] == "error" {
            break frame;
        }
        answered += 1;
        assert!(answered < 1_000, "it goes on for ever");
        peer.send(asked(mode)).await;
    };
    assert_eq!(stopped["code"], "loop_stopped");
    web.send(json!({"type": "task_update", "source_mode": "web", "payload": {"task": 1}})).await;
    loop {
        let frame = in_time("the other message", local.receive()).await.expect("open");
        if frame["type"] == "task_update" {
            break;
        }
    }
}
