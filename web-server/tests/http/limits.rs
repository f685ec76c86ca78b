//! Bounds: slow readers, bad frames, too many sockets.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    broker::Broker,
    harness::{Edge, eventually, in_time},
};

#[actix_web::test]
async fn a_browser_that_does_not_read_holds_the_broker_back_and_is_closed() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.limits.slow_consumer_timeout = Duration::from_millis(500);
    });
    let browser = edge.browser().await;
    let (mut sink, mut stream) = broker.link().await.socket.split();
    let message = Message::text("x".repeat(64 * 1024));
    let mut sent = 0;
    let closed = async {
        loop {
            tokio::select! {
                biased;
                message = stream.next() => match message {
                    Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                    other => panic!("not a close: {other:?}"),
                },
                fed = sink.send(message.clone()) => { fed.expect("the edge is there"); sent += 64 }
            }
        }
    };
    assert_eq!(in_time("the edge closes", closed).await, 4008);
    // Its outbox, and what the kernel holds for both sockets.
    assert!(sent < 24 * 1024, "{sent} KiB were taken for a browser that reads nothing");
    let stats = edge.get("/stats").await.json();
    assert_eq!(stats["browsers"]["slow_consumers"], 1);
    assert!(stats["browsers"]["pauses"].as_u64() >= Some(1));
    eventually("no socket left", async || (edge.get("/stats").await.json()["browsers"]["sockets"] == 0).then_some(())).await;
    drop(browser);
}

#[actix_web::test]
async fn a_browser_that_reads_slowly_loses_nothing() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let mut browser = edge.browser().await;
    let mut link = broker.link().await;
    let count = 200;
    let feed = async {
        for number in 0..count {
            link.say(&format!("{number:0>60000}")).await;
        }
    };
    let read = async {
        for number in 0..count {
            assert_eq!(browser.text().await, format!("{number:0>60000}"));
            // Slower than the feed, so that every queue on the way fills up.
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(feed, read);
    assert_eq!(edge.get("/stats").await.json()["browsers"]["slow_consumers"], 0);
}

#[actix_web::test]
async fn a_broker_that_does_not_read_holds_the_browser_back() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let browser = edge.browser().await;
    let mut link = broker.link().await;
    let count = 300;
    let text = |number: usize| format!("{number:0>60000}");
    let (mut sink, _) = browser.socket.split();
    let feeder = tokio::spawn(async move {
        for number in 0..count {
            sink.send(Message::text(text(number))).await.expect("the edge is there");
        }
        sink
    });
    eventually("the browser is held back", async || {
        (edge.get("/stats").await.json()["upstream"]["pauses"].as_u64() >= Some(1)).then_some(())
    })
    .await;
    for number in 0..count {
        assert_eq!(link.text().await, text(number));
    }
    drop(in_time("all is sent", feeder).await.expect("no panic"));
}

/// Opens a socket and sends these bytes behind the handshake. Returns what comes back until the
/// edge closes.
async fn raw(edge: &Edge, bytes: &[u8]) -> Vec<u8> {
    let (_, token) = edge.session().await;
    let mut socket = TcpStream::connect(edge.host()).await.expect("connects");
    let head = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: agent-bridge.v1\r\nAuthorization: Bearer {token}\r\n\r\n",
        edge.host()
    );
    socket.write_all(head.as_bytes()).await.expect("writes");
    socket.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    in_time("the edge closes", socket.read_to_end(&mut answer)).await.expect("reads");
    answer
}

#[actix_web::test]
async fn bad_frames_are_closed_with_their_code() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| settings.web.broker_url = Some(broker.url()));
    let cases: [(&[u8], u16); 7] = [
        (b"\x81\x01x", 1002),
        (b"\xc1\x80\0\0\0\0", 1002),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x80\x80\0\0\0\0", 1002),
        (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),
        (b"\x81\xff\0\0\x01\0\0\0\0\0\0\0\0\0", 1009),
        (b"\x88\x81\0\0\0\0x", 1002),
    ];
    for (bytes, code) in cases {
        let answer = raw(&edge, bytes).await;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-protocol: agent-bridge.v1"), "{head}");
        let close = &answer[end..];
        assert_eq!((close[0], u16::from_be_bytes([close[2], close[3]])), (0x88, code), "{bytes:x?}");
        let _ = broker.link().await.closed().await;
    }
}

#[actix_web::test]
async fn messages_of_too_many_fragments_or_bytes_are_refused() {
    let mut broker = Broker::start().await;
    let edge = Edge::with(|settings| {
        settings.web.broker_url = Some(broker.url());
        settings.limits.max_fragments = 4;
        settings.limits.max_client_frame_bytes = 1000;
    });
    let endless = [b"\x01\x80\0\0\0\0".as_slice(), &b"\x00\x80\0\0\0\0".repeat(4)].concat();
    let mut half = b"\x01\xfe\x02\x58\0\0\0\0".to_vec();
    half.extend([b'x'; 600]);
    let mut rest = half.clone();
    rest[0] = 0x80;
    for bytes in [endless, [half, rest].concat()] {
        let answer = raw(&edge, &bytes).await;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head") + 4;
        assert_eq!(answer[end + 2..end + 4], 1009_u16.to_be_bytes());
        let _ = broker.link().await;
    }
}

#[actix_web::test]
async fn sockets_are_refused_before_the_upgrade_with_their_reason() {
    let edge = Edge::with(|settings| settings.limits.max_session_connections = 1);
    let (id, token) = edge.session().await;
    let bearer = format!("Bearer {token}");
    let own: &[(&str, &str)] = &[("Authorization", &bearer)];
    let other = common::id::SessionId::fresh().to_string();
    for (path, headers, status, code) in [
        ("/ws/nonsense", own, 400, "invalid_session_id"),
        ("/ws", &[], 401, "unauthorized"),
        (&format!("/ws/{id}"), &[], 401, "unauthorized"),
        (&format!("/ws/{other}"), own, 403, "forbidden"),
        ("/ws?agent=a%20b", own, 400, "invalid_agent_id"),
        ("/ws?agent=", own, 400, "invalid_agent_id"),
    ] {
        let answer = edge.refused_upgrade(path, headers).await;
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{path}");
    }
    let plain = edge.request("GET", "/ws", own).await;
    assert_eq!((plain.status, plain.error_code().as_str()), (426, "upgrade_required"));
    let _first = edge.open("/ws", id, token.clone()).await;
    let second = edge.refused_upgrade("/ws", own).await;
    assert_eq!((second.status, second.error_code().as_str()), (429, "too_many_connections"));
}

#[actix_web::test]
async fn the_edge_has_as_many_sockets_as_it_may() {
    let edge = Edge::with(|settings| settings.limits.max_connections = 2);
    let first = edge.browser().await;
    let _second = edge.browser().await;
    let (_, token) = edge.session().await;
    let refused = edge.refused_upgrade("/ws", &[("Authorization", &format!("Bearer {token}"))]).await;
    assert_eq!((refused.status, refused.error_code().as_str()), (503, "at_capacity"));
    drop(first);
    eventually("a place is free", async || (edge.get("/stats").await.json()["browsers"]["sockets"] == 1).then_some(())).await;
    let _third = edge.browser().await;
}
