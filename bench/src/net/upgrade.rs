//! The client's side of the HTTP upgrade at the start of a WebSocket.
//!
//! The key is a constant (the RFC's example). So the answer is a constant as well, and can be
//! compared without SHA-1.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;

/// `Sec-WebSocket-Key` of every connection.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// The only correct `Sec-WebSocket-Accept` for [`KEY`].
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// The longest response head that is accepted, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Where and how to open one WebSocket.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The server.
    pub addr: SocketAddr,
    /// The request head, to the empty line.
    pub request: Vec<u8>,
    /// The TLS configuration, if the server speaks TLS.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Dial {
    /// A dial of `path` (with its query) at `addr`; `bearer` becomes the `Authorization` header.
    pub fn new(addr: SocketAddr, path: &str, bearer: Option<&str>) -> Self {
        let authorization = bearer.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{authorization}\r\n"
        );
        Self { addr, request: request.into_bytes(), tls: None }
    }

    /// The same with TLS, if there is a configuration.
    pub fn under(self, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, ..self }
    }
}

/// The result of an upgrade.
#[derive(Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The head is not complete.
    Incomplete,
    /// The upgrade succeeded. Frames start after this many bytes.
    Done(usize),
    /// The answer is not a correct 101. This is its start.
    Refused(String),
}

/// Reads the answer to an upgrade request.
pub fn answer(bytes: &[u8]) -> Upgrade {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD { Upgrade::Refused("an endless response head".into()) } else { Upgrade::Incomplete };
    };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        let body = String::from_utf8_lossy(bytes.get(end + 4..).unwrap_or_default());
        return Upgrade::Refused(format!("{status}: {}", body.chars().take(200).collect::<String>()));
    }
    let accepted = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == ACCEPT);
    if accepted { Upgrade::Done(end + 4) } else { Upgrade::Refused("a wrong Sec-WebSocket-Accept".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    #[test]
    fn frames_start_after_the_head() {
        let mut bytes = GOOD.as_bytes().to_vec();
        bytes.extend_from_slice(&[0x81, 0]);
        assert_eq!(answer(&bytes), Upgrade::Done(GOOD.len()));
        assert_eq!(answer(&bytes[..GOOD.len() - 1]), Upgrade::Incomplete);
    }

    #[test]
    fn other_answers_are_refusals() {
        assert_eq!(answer(b"HTTP/1.1 401 Unauthorized\r\n\r\n{}"), Upgrade::Refused("HTTP/1.1 401 Unauthorized: {}".into()));
        let wrong = GOOD.replace("s3p", "S3p");
        assert!(matches!(answer(wrong.as_bytes()), Upgrade::Refused(_)));
    }
}
