//! Handshakes and frames that are half, too long, or offer what is not wanted. Each ends, if anything, its own connection; an honest
//! client beside it notices nothing.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::wire::{connect, first_answer, handshake};
use crate::harness::{AGENT_KEY, Site};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An upgraded connection, and what was read of it so far: frames of the server, from the beginning of one.
struct Raw {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Raw {
    async fn open(to: SocketAddr, path: &str, headers: &str) -> Self {
        let mut socket = connect(Ipv4Addr::LOCALHOST, to).await.expect("connects");
        socket.write_all(handshake(path, to, headers).as_bytes()).await.expect("sent");
        let mut read = Vec::new();
        let reading = async {
            // The first frame follows the head.
            while !String::from_utf8_lossy(&read).contains("connection:ack") {
                assert!(socket.read_buf(&mut read).await.expect("read") > 0, "{}", String::from_utf8_lossy(&read));
            }
        };
        timeout(PATIENCE, reading).await.expect("an answer");
        let head = read.windows(4).position(|end| end == b"\r\n\r\n").expect("a head");
        Self { read: read.split_off(head + 4), socket }
    }

    /// One at each listener.
    async fn both(site: &Site) -> [Self; 2] {
        let session = site.register().await;
        let token = format!("Authorization: Bearer {}\r\n", session.token);
        let key = format!("Authorization: Bearer {AGENT_KEY}\r\n");
        [Self::open(site.edge, "/ws", &token).await, Self::open(site.broker, "/ws/agent", &key).await]
    }

    /// The code of the close frame that comes, `None` if the connection ends without one.
    async fn close_code(mut self) -> Option<u16> {
        // A reset is an end too.
        let ended = timeout(PATIENCE, self.socket.read_to_end(&mut self.read)).await;
        assert!(ended.is_ok(), "the connection stays open");
        // A server's frames are not masked, and here shorter than 64 KiB.
        let mut rest = self.read.as_slice();
        while let [first, length, after @ ..] = rest {
            let (length, after) = match *length {
                126 => (usize::from(u16::from_be_bytes([*after.first()?, *after.get(1)?])), after.get(2..)?),
                short => (usize::from(short), after),
            };
            if *first == 0x88 {
                return Some(u16::from_be_bytes([*after.first()?, *after.get(1)?]));
            }
            rest = after.get(length..)?;
        }
        None
    }
}

#[tokio::test]
async fn frames_that_are_too_long_or_wrong_end_their_own_connection() {
    let site = Site::new();
    let daemon = site.daemon().await;
    let mut honest = site.session("").await;
    let before = daemon.memory();
    let mut half = Raw::both(&site).await;
    for Raw { socket, .. } in &mut half {
        // Half a frame, whose rest never comes: no fault, and nothing that anybody waits for.
        socket.write_all(&[0x81, 0xfe, 0x40, 0, 1, 2, 3, 4, b'h', b'a', b'l', b'f']).await.expect("sent");
    }
    for (frame, code) in [
        // A text of 1 TiB, and one of a byte more than is allowed, by their headers.
        (&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 1, 2, 3, 4, b'x'][..], 1009),
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 1, 2, 3, 4, b'x'], 1009),
        // The same in a length that has its highest bit set.
        (&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], 1002),
        // Not masked; reserved bits, as a compressed frame has them; a reserved opcode; a continuation of nothing; a long ping.
        (&[0x81, 0x05, b'p', b'l', b'a', b'i', b'n'], 1002),
        (&[0xc1, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),
        (&[0x80, 0x81, 0, 0, 0, 0, b'x'], 1002),
        (&[0x89, 0xfe, 0, 0x7e, 0, 0, 0, 0], 1002),
        (&[0x82, 0x81, 0, 0, 0, 0, 1], 1003),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1007),
    ] {
        for (number, mut raw) in Raw::both(&site).await.into_iter().enumerate() {
            raw.socket.write_all(frame).await.expect("sent");
            let ended = raw.close_code().await;
            assert_eq!(ended, Some(code), "{frame:02x?} at {}", ["the edge", "the broker"][number]);
        }
        honest.settle().await;
    }
    for Raw { socket, .. } in &mut half {
        // The other half, after all: the connection is as it was.
        socket.write_all(&vec![b'x'; 0x4000 - 4]).await.expect("it is still open");
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
        // A byte now and then does not make it longer.
        let mut socket = connect(Ipv4Addr::LOCALHOST, listener).await.expect("connects");
        let begun = Instant::now();
        for byte in whole.bytes().cycle() {
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
