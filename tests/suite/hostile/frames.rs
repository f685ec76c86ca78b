//! Handshakes and frames that are incomplete, too long, or offer what is not supported. Each ends
//! at most its own connection; an honest client beside it notices nothing.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::wire::{connect, exchange, first_answer, handshake};
use crate::harness::{AGENT_KEY, Ended, Peer, Site, everyone};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A session at the edge and an agent at the broker, both upgraded.
async fn both(site: &Site) -> [Peer; 2] {
    let session = site.session("").await;
    let mut agent = Peer::dial(site.broker, "/ws/agent", AGENT_KEY).await.expect("upgraded");
    agent.expect("connection:ack").await;
    [session, agent]
}

#[tokio::test]
async fn frames_that_are_too_long_or_wrong_end_their_own_connection() {
    // A peer in the middle of a frame answers no ping.
    let site = Site::new().with("heartbeat.timeout", "10min");
    let daemon = site.daemon().await;
    let mut honest = site.session("").await;
    let before = daemon.memory();
    let mut half = both(&site).await;
    for peer in &mut half {
        // Half a frame, whose rest does not come for long: no fault, and nobody waits for it.
        peer.send_bytes(&[0x81, 0xfe, 0x40, 0, 1, 2, 3, 4, b'h', b'a', b'l', b'f']).await;
    }
    for (frame, code) in [
        // A text of 1 TiB, and one of a byte more than is allowed, by their headers.
        (&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, b'x'][..], 1009),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 1, 2, 3, 4, b'x'], 1009),
        // The same in a length that has its highest bit set.
        (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1002),
        // Not masked; reserved bits, as a compressed frame has them; a reserved opcode; a
        // continuation of nothing; a long ping.
        (&[0x81, 0x05, b'p', b'l', b'a', b'i', b'n'], 1002),
        (&[0xc1, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x89, 0xfe, 0, 0x7e, 0, 0, 0, 0], 1002),
        (&[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        for (number, mut peer) in both(&site).await.into_iter().enumerate() {
            peer.send_bytes(frame).await;
            assert_eq!(peer.ended().await, Ended::Code(code), "{frame:02x?} at {}", ["the edge", "the broker"][number]);
        }
        honest.settle().await;
    }
    for peer in &mut half {
        // The other half, after all: the connection is as it was, and the frame is read. It is
        // text, but no envelope.
        peer.send_bytes(&[b'x'; 0x4000 - 4]).await;
        let error = peer.expect_error().await;
        assert_eq!(error["payload"]["code"], "invalid_envelope", "{error}");
        peer.settle().await;
    }
    assert!(daemon.memory().now < before.now + (64 << 20), "memory is kept for what is only announced");
}

#[tokio::test]
async fn compression_is_never_agreed_on() {
    let site = Site::new();
    let _daemon = site.daemon().await;
    let session = site.register().await;
    let token = format!("Authorization: Bearer {}\r\n", session.token);
    let key = format!("Authorization: Bearer {AGENT_KEY}\r\n");
    for (listener, path, credentials) in [(site.edge, "/ws", token), (site.broker, "/ws/agent", key)] {
        for offer in [
            "permessage-deflate",
            "permessage-deflate; client_max_window_bits; server_no_context_takeover",
            "x-webkit-deflate-frame, permessage-deflate",
            "permessage-bzip2",
        ] {
            let headers = format!("{credentials}Sec-WebSocket-Extensions: {offer}\r\n");
            let answer = first_answer(listener, handshake(path, listener, &headers).as_bytes()).await;
            let answer = answer.to_ascii_lowercase();
            assert!(answer.starts_with("http/1.1 101") && !answer.contains("extensions"), "{offer}: {answer}");
        }
    }
}

#[tokio::test]
async fn handshakes_that_never_end_are_cut_on_both_listeners() {
    let site = Site::new().with("limits.handshake_timeout", "1s");
    let _daemon = site.daemon().await;
    let mut honest = site.session("").await;
    for listener in [site.edge, site.broker] {
        let whole = handshake("/ws", listener, "");
        for (what, beginning) in [("nothing", 0), ("a word", 3), ("all but the last byte", whole.len() - 1)] {
            let mut socket = connect(Ipv4Addr::LOCALHOST, listener).await.expect("connects");
            let begun = Instant::now();
            socket.write_all(&whole.as_bytes()[..beginning]).await.expect("sent");
            let mut answer = Vec::new();
            let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
            assert!(read.is_ok(), "{what} at {listener}: still open after {:?}", begun.elapsed());
            assert!(!answer.starts_with(b"HTTP/1.1 101"), "{what}");
        }
        // A byte now and then does not prolong the time: this head has no end.
        let mut socket = connect(Ipv4Addr::LOCALHOST, listener).await.expect("connects");
        let begun = Instant::now();
        for byte in b"GET /ws HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'a')) {
            let mut rest = [0; 512];
            if socket.write_all(&[byte]).await.is_err()
                || matches!(timeout(Duration::from_millis(100), socket.read(&mut rest)).await, Ok(Ok(0) | Err(_)))
            {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on at {listener}");
        }
        honest.settle().await;
    }
}

#[tokio::test]
async fn unread_answers_take_little_memory_and_are_cut() {
    const SOCKETS: usize = 150;
    let site = Site::new().with("limits.request_timeout", "2s");
    let daemon = site.daemon().await;
    let mut honest = site.session("").await;
    for (listener, path) in [(site.edge, "/"), (site.edge, "/api/"), (site.edge, "/nothing/here"), (site.broker, "/nothing")] {
        let before = daemon.memory();
        let ahead = format!("GET {path} HTTP/1.1\r\nHost: {listener}\r\n\r\n").repeat(20_000);
        let senders = everyone((0..SOCKETS).map(|_| {
            let ahead = ahead.clone();
            async move {
                let mut socket = connect(Ipv4Addr::LOCALHOST, listener).await.expect("connects");
                let _ = timeout(Duration::from_secs(1), socket.write_all(ahead.as_bytes())).await;
                socket
            }
        }));
        let sockets = senders.await;
        let grown = daemon.memory().peak.saturating_sub(before.peak.max(before.now));
        assert!(grown < 48 << 20, "{path} of {listener}: {SOCKETS} connections took {} MiB", grown >> 20);
        // Cut: what is left in the kernel is read, and then the end.
        everyone(sockets.into_iter().map(|mut socket| async move {
            let mut some = vec![0; 64 * 1024];
            let end = timeout(PATIENCE, socket.ready(tokio::io::Interest::ERROR)).await;
            assert!(end.is_ok(), "still open");
            while socket.read(&mut some).await.is_ok_and(|read| read > 0) {}
        }))
        .await;
        honest.settle().await;
    }
    let stats = site.stats().await;
    assert!(stats["http_faults"]["not_read"].as_u64() > Some(0), "{}", stats["http_faults"]);
}

#[tokio::test]
async fn invalid_input_is_logged_with_its_sender_at_a_bounded_rate_and_counted() {
    let site = Site::new();
    let daemon = site.daemon().await;
    for _ in 0..300 {
        let answer = exchange(site.broker, b"nonsense\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad_request"), "{answer}");
    }
    let log = daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("malformed")).collect();
    assert!((1..60).contains(&lines.len()), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.contains("127.0.0.1")), "{lines:?}");
    assert!(!log.contains("ERROR"), "{log}");
    assert_eq!(site.stats().await["http_faults"]["malformed"], 300);
}
