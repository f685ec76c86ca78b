//! An HTTP client that sends exactly the given bytes, and changes nothing in the answer.

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Edge, in_time};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, if present.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }

    /// The code of an error answer.
    pub fn error_code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The value of the session cookie that was set, and all of its attributes.
    pub fn cookie(&self) -> Option<(String, String)> {
        let header = self.header("set-cookie")?;
        let header = header.strip_prefix("__Host-").unwrap_or(header).strip_prefix("agent_bridge_session=")?;
        let (value, attributes) = header.split_once(';').unwrap_or((header, ""));
        Some((value.to_owned(), attributes.to_owned()))
    }
}

impl Edge {
    /// Sends a request with these headers (besides `Host` and `Connection`).
    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.request_under(&self.host(), method, path, headers).await
    }

    /// The same with another `Host`, and optionally a `Connection`.
    pub async fn request_under(&self, host: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
        if !headers.iter().any(|(name, _)| *name == "Connection") {
            head.push_str("Connection: close\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if method == "POST" {
            head.push_str("Content-Length: 0\r\n");
        }
        head.push_str("\r\n");
        in_time("an answer", exchange(&self.host(), &head)).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let body = body.to_string();
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.host());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        in_time("an answer", exchange(&self.host(), &head)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[]).await
    }

    /// Asks for an upgrade that must be refused.
    pub async fn refused_upgrade(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let upgrade = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.host());
        for (name, value) in upgrade.iter().chain(headers) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let answer = in_time("a refusal", exchange(&self.host(), &head)).await;
        assert_ne!(answer.status, 101);
        answer
    }
}

async fn exchange(host: &str, request: &str) -> Answer {
    let mut socket = TcpStream::connect(host).await.expect("connects");
    socket.write_all(request.as_bytes()).await.expect("writes");
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).await.expect("reads");
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).expect("the head is text");
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
    let headers = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned())).expect("a header"))
        .collect();
    Answer { status: status.parse().expect("a number"), headers, body: bytes[end + 4..].to_vec() }
}
