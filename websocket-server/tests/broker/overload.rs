//! Peers that do not read, are silent, or send nonsense.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::{MaybeTlsStream, tungstenite::Message};

use crate::harness::{Ended, Peer, TestBroker, eventually};

async fn send_raw(peer: &mut Peer, bytes: &[u8]) {
    let MaybeTlsStream::Plain(socket) = peer.socket.get_mut() else { panic!("no plain socket") };
    socket.write_all(bytes).await.expect("writes");
}

#[actix_rt::test]
async fn bad_frames_are_closed_with_their_codes() {
    let broker = TestBroker::with(|settings| settings.limits.max_fragments = 4).await;
    let masked = |first: u8, payload: &[u8]| {
        let mut frame = vec![first, 0x80 | payload.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    };
    let endless = [masked(0x01, b"x"), masked(0x00, b"x").repeat(5)].concat();
    for (bytes, code) in [
        (masked(0x82, b"x"), 1003),
        (masked(0x81, &[0xff]), 1007),
        (masked(0xc1, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (vec![0x81, 1, b'x'], 1002),
        (vec![0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0], 1009),
        (endless, 1009),
    ] {
        let mut agent = broker.agent("a").await;
        send_raw(&mut agent, &bytes).await;
        assert_eq!(agent.ended().await, Ended::Code(code), "{bytes:?}");
    }
}

#[actix_rt::test]
async fn too_many_invalid_envelopes_in_a_row_close() {
    let broker = TestBroker::with(|settings| settings.limits.max_bad_frames = 3).await;
    let mut agent = broker.agent("a").await;
    for _ in 0..2 {
        agent.send_text("{}").await;
    }
    agent.send(json!({"type":"connection:ping"})).await;
    agent.expect("connection:pong").await;
    for _ in 0..3 {
        agent.send_text("{}").await;
    }
    assert_eq!(agent.ended().await, Ended::Code(4400));
}

#[actix_rt::test]
async fn a_silent_peer_is_closed_and_unregistered() {
    let broker = TestBroker::with(|settings| {
        settings.heartbeat.interval = Duration::from_millis(100);
        settings.heartbeat.timeout = Duration::from_millis(500);
    })
    .await;
    // Reads nothing, so answers no ping.
    let mut mute = broker.dial("/ws/agent?agent_id=mute", Some("test-agent-key")).await.expect("upgraded");
    let mut session = broker.session().await;
    assert_eq!(session.expect("agent:disconnected").await["payload"]["agent_id"], "mute");
    assert_eq!(mute.ended().await, Ended::Code(4010));
}

#[actix_rt::test]
async fn a_slow_consumer_is_closed_with_slow_and_others_continue() {
    let broker = TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 1024 * 1024;
        settings.limits.slow_consumer_timeout = Duration::from_millis(500);
    })
    .await;
    let mut agent = broker.agent("a").await;
    let mut stuck = broker.session().await;
    let mut reader = broker.session().await;
    for session in [&mut stuck, &mut reader] {
        session.send(json!({"type":"topic:subscribe","payload":{"topic":"t"}})).await;
        session.expect("topic:subscribed").await;
    }
    let text = "x".repeat(10_000);
    let publishing = actix_rt::spawn(async move {
        for at in 0..2000 {
            agent.send(json!({"type":"n:x","target":"topic:t","payload":[at, text]})).await;
        }
        agent
    });
    for at in 0..2000 {
        assert_eq!(reader.expect("n:x").await["payload"][0], at);
    }
    let _agent = publishing.await.expect("published");
    eventually("the stuck one is closed", || async { broker.stats().await["slow_consumers"]["closed"] == 1 }).await;
    assert_eq!(stuck.ended().await, Ended::Code(4008));
}

#[actix_rt::test]
async fn a_reader_that_returns_in_time_is_told_what_it_lost() {
    let broker = TestBroker::with(|settings| {
        settings.limits.outbox_bytes = 64 * 1024;
        settings.limits.flow_control_burst = Duration::ZERO;
    })
    .await;
    let mut agent = broker.agent("a").await;
    let mut session = broker.session().await;
    let text = "x".repeat(10_000);
    for at in 0..1000 {
        agent.send(json!({"type":"n:x","id":at.to_string(),"target":session.address(),"payload":[at, text]})).await;
    }
    // Its own outbox is full of refusals that it does not read, so it cannot be asked whether
    // everything was handled.
    eventually("all messages were handled", || async {
        let stats = broker.stats().await;
        let count = |value: &serde_json::Value| value.as_u64().unwrap_or(0);
        count(&stats["messages"]["by_family"]["other"]["messages_in"]) + count(&stats["errors"]["receiver_overloaded"]) == 1000
    })
    .await;
    let (mut last, mut seen, mut lost) = (-1, 0, 0);
    while seen + lost < 1000 {
        let frame = session.next().await;
        match frame["type"].as_str() {
            Some("n:x") => {
                let at = frame["payload"][0].as_i64().expect("a number");
                assert!(at > last, "{at} after {last}");
                last = at;
                seen += 1;
            }
            Some("system:lost") => lost += frame["payload"]["count"].as_i64().expect("a number"),
            _ => {}
        }
    }
    assert!(lost > 0 && seen + lost == 1000, "{lost} lost, {seen} seen");
}

#[actix_rt::test]
async fn pings_are_answered_with_their_payload() {
    let broker = TestBroker::start().await;
    let mut agent = broker.agent("a").await;
    agent.send(json!({"type":"connection:ping","id":"7","payload":{"n":[1]}})).await;
    let pong = agent.expect("connection:pong").await;
    assert_eq!((&pong["payload"], &pong["correlation_id"]), (&json!({"n":[1]}), &json!("7")));
    agent.socket.send(Message::Ping("abc".into())).await.expect("sends");
    send_raw(&mut agent, &[]).await;
    loop {
        match futures_util::StreamExt::next(&mut agent.socket).await {
            Some(Ok(Message::Pong(payload))) => break assert_eq!(&payload[..], b"abc"),
            Some(Ok(_)) => {}
            other => panic!("no pong but {other:?}"),
        }
    }
}

#[actix_rt::test]
async fn a_handshake_that_never_ends_is_cut() {
    let broker = TestBroker::with(|settings| settings.limits.handshake_timeout = Duration::from_millis(200)).await;
    let mut socket = tokio::net::TcpStream::connect(broker.handle.addr()).await.expect("connects");
    socket.write_all(b"GET /ws/agent HTTP/1.1\r\nHost: x\r\n").await.expect("writes");
    let mut answer = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
    assert!(cut.is_ok(), "the socket is still open");
}
