//! A reader of server-sent events, without a library.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::in_time;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub name: Option<String>,
    pub data: Value,
}

/// An open stream.
pub struct EventStream {
    socket: TcpStream,
    /// The bytes of the chunked body that are not decoded yet.
    raw: String,
    /// The bytes of events that are not read yet.
    text: String,
    events: VecDeque<Event>,
    is_over: bool,
}

impl EventStream {
    /// Asks for events with a session's token.
    ///
    /// # Errors
    /// The status and the error's code.
    pub async fn open(addr: SocketAddr, path: &str, token: &str, more: &str) -> Result<Self, (u16, String)> {
        let socket = TcpSocket::new_v4().expect("a socket");
        Self::open_over(socket, addr, path, token, more).await
    }

    /// The same, with a receive buffer of the kernel's smallest size.
    ///
    /// # Errors
    /// As of [`EventStream::open`].
    pub async fn open_small(addr: SocketAddr, path: &str, token: &str) -> Result<Self, (u16, String)> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("set");
        Self::open_over(socket, addr, path, token, "").await
    }

    async fn open_over(socket: TcpSocket, addr: SocketAddr, path: &str, token: &str, more: &str) -> Result<Self, (u16, String)> {
        in_time("an answer to a request for events", async {
            let mut socket = socket.connect(addr).await.expect("connects");
            let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n{more}\r\n");
            socket.write_all(request.as_bytes()).await.expect("sends");
            let mut answer = Vec::new();
            let head = loop {
                if let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") {
                    break String::from_utf8(answer.drain(..end + 4).collect()).expect("text");
                }
                assert!(socket.read_buf(&mut answer).await.expect("reads") > 0, "no head");
            };
            let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
            if status != 200 {
                let length = head.to_ascii_lowercase().split("content-length: ").nth(1).expect("a length").to_owned();
                let length: usize = length.split("\r\n").next().expect("a line").parse().expect("a number");
                while answer.len() < length {
                    assert!(socket.read_buf(&mut answer).await.expect("reads") > 0, "no body");
                }
                let body: Value = serde_json::from_slice(&answer).expect("JSON");
                return Err((status, body["error"]["code"].as_str().expect("a code").to_owned()));
            }
            assert!(head.contains("text/event-stream"), "{head}");
            let raw = String::from_utf8(answer).expect("text");
            Ok(Self { socket, raw, text: String::new(), events: VecDeque::new(), is_over: false })
        })
        .await
    }

    /// The next event; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Event> {
        in_time("an event", async {
            loop {
                self.decode();
                if let Some(event) = self.events.pop_front() {
                    return Some(event);
                }
                let mut bytes = Vec::new();
                if self.is_over || self.socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return None;
                }
                self.raw.push_str(std::str::from_utf8(&bytes).expect("what is sent here is ASCII"));
            }
        })
        .await
    }

    /// The next event with a message of the topic. Other events are skipped.
    pub async fn message(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.name.is_none() {
                return event;
            }
        }
    }

    /// Reads until the stream ends. Returns the close code.
    pub async fn closed(&mut self) -> u64 {
        let mut last = None;
        while let Some(event) = self.next().await {
            last = Some(event);
        }
        let last = last.expect("an event");
        assert_eq!(last.name.as_deref(), Some("close"), "{last:?}");
        last.data["code"].as_u64().expect("a code")
    }

    fn decode(&mut self) {
        while let Some((length, rest)) = self.raw.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).expect("a chunk's length");
            if rest.len() < length + 2 {
                break;
            }
            self.is_over |= length == 0;
            self.text.push_str(&rest[..length]);
            self.raw = rest[length + 2..].to_owned();
        }
        while let Some((event, rest)) = self.text.split_once("\n\n") {
            let field = |name: &str| {
                let lines = event.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let lines: Vec<_> = lines.collect();
                (!lines.is_empty()).then(|| lines.join("\n"))
            };
            if let Some(data) = field("data") {
                let data = serde_json::from_str(&data).expect("JSON");
                self.events.push_back(Event { id: field("id"), name: field("event"), data });
            }
            self.text = rest.to_owned();
        }
    }
}
