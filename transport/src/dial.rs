//! The client's side of the handshake: dials a server and returns the bare socket, for callers that
//! forward frames unchanged.

use std::{io, time::Duration};

use ::tls::ClientTls;
use actix_http::ws::hash_key;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use common::assertion::CLOCK_HEADER;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{accept::Upgraded, serve::tune, stream::Stream};

/// Longest answer to a handshake in bytes.
const MAX_ANSWER: usize = 16 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No socket, or it failed.
    #[error("cannot reach the server: {0}")]
    Unreachable(#[from] io::Error),
    /// The handshake took too long.
    #[error("the server did not answer in time")]
    TimedOut,
    /// The server answered with this status instead of 101.
    #[error("the server refused the handshake with status {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The clock of the broker, if that is the reason: see [`common::assertion::Signer`].
        clock: Option<String>,
        /// The body of the answer, if it was complete and short enough.
        body: Vec<u8>,
    },
    /// The answer is not HTTP, or not to this handshake.
    #[error("the server's answer is not a WebSocket handshake")]
    NotWebSocket,
}

/// Dials `authority` (`host:port`), with TLS if configured, and requests `path` with additional
/// `headers`, within `limit`.
///
/// # Errors
/// The server cannot be reached, or refuses the handshake.
pub async fn dial(
    authority: &str,
    tls: Option<&ClientTls>,
    path: &str,
    headers: &[(&str, &str)],
    limit: Duration,
) -> Result<Upgraded, DialError> {
    tokio::time::timeout(limit, handshake(authority, tls, path, headers)).await.map_err(|_| DialError::TimedOut)?
}

async fn handshake(
    authority: &str,
    tls: Option<&ClientTls>,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Upgraded, DialError> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let key = STANDARD.encode(nonce);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
    );
    for (name, value) in headers {
        if value.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a header's value has control characters").into());
        }
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");

    let mut socket = connect(authority, tls).await?;
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;
    let mut leftover = BytesMut::with_capacity(1024);
    loop {
        if socket.read_buf(&mut leftover).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match read_answer(&leftover, &key)? {
            Some(Answer::Accepted { head }) => {
                let _ = leftover.split_to(head);
                return Ok(Upgraded { socket, leftover });
            }
            Some(Answer::Refused { status, clock, head, body }) => {
                let body = read_body(&mut socket, leftover, head, body).await.unwrap_or_default();
                return Err(DialError::Refused { status, clock, body });
            }
            None if leftover.len() > MAX_ANSWER => return Err(DialError::NotWebSocket),
            None => {}
        }
    }
}

/// The body of a refusal, `length` bytes behind a head of `head` bytes; `None` if it is too long or
/// does not come.
async fn read_body(socket: &mut Stream, mut answer: BytesMut, head: usize, length: usize) -> Option<Vec<u8>> {
    let end = head.checked_add(length).filter(|end| *end <= MAX_ANSWER)?;
    while answer.len() < end {
        if socket.read_buf(&mut answer).await.ok()? == 0 {
            return None;
        }
    }
    answer.get(head..end).map(<[u8]>::to_vec)
}

/// Connects to `authority` (`host:port`), with TLS if configured.
///
/// # Errors
/// Nobody listens there, or the certificate is not trusted.
pub async fn connect(authority: &str, tls: Option<&ClientTls>) -> io::Result<Stream> {
    let tcp = TcpStream::connect(authority).await?;
    tune(&tcp);
    match tls {
        Some(tls) => tls.connect(host(authority), tcp).await.map(Stream::from),
        None => Ok(Stream::Plain(tcp)),
    }
}

/// The host of `host:port`.
fn host(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    }
}

/// A complete answer to a handshake.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// With the length of its head in bytes.
    Accepted { head: usize },
    /// With the lengths of its head and body.
    Refused { status: u16, clock: Option<String>, head: usize, body: usize },
}

/// Reads an answer; `None` if more bytes are needed.
fn read_answer(bytes: &[u8], key: &str) -> Result<Option<Answer>, DialError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(bytes).map_err(|_| DialError::NotWebSocket)? else {
        return Ok(None);
    };
    let status = answer.code.unwrap_or_default();
    let find =
        |name: &str| answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value);
    if status != 101 {
        let length = find("content-length").and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        let clock = find(CLOCK_HEADER).and_then(|clock| String::from_utf8(clock.to_vec()).ok());
        return Ok(Some(Answer::Refused { status, clock, head, body: length.unwrap_or_default() }));
    }
    if find("sec-websocket-accept").is_none_or(|accept| accept != hash_key(key.as_bytes())) {
        return Err(DialError::NotWebSocket);
    }
    Ok(Some(Answer::Accepted { head }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_rfc_example_is_accepted_and_frames_behind_it_are_left() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00";
        assert_eq!(read_answer(answer, KEY).expect("HTTP"), Some(Answer::Accepted { head: answer.len() - 2 }));
        assert_eq!(read_answer(&answer[..40], KEY).expect("HTTP"), None);
    }

    #[test]
    fn refusals_and_other_protocols_are_distinguished() {
        let refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\n";
        let expected = Answer::Refused { status: 401, clock: None, head: refused.len(), body: 5 };
        assert_eq!(read_answer(refused, KEY).expect("HTTP"), Some(expected));
        let told = b"HTTP/1.1 401 Unauthorized\r\nBridge-Clock: a.b.c\r\n\r\n";
        let expected = Answer::Refused { status: 401, clock: Some("a.b.c".to_owned()), head: told.len(), body: 0 };
        assert_eq!(read_answer(told, KEY).expect("HTTP"), Some(expected));
        assert!(matches!(read_answer(b"SSH-2.0-OpenSSH\r\n\r\n", KEY), Err(DialError::NotWebSocket)));
        let wrong = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
        assert!(matches!(read_answer(wrong, KEY), Err(DialError::NotWebSocket)));
    }

    #[tokio::test]
    async fn the_text_of_a_refusal_is_reported() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let authority = listener.local_addr().expect("bound").to_string();
        let server = async {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            assert!(socket.read(&mut [0; 1024]).await.expect("a request") > 0);
            socket.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n").await.expect("open");
            socket.write_all(b"why").await.expect("open");
        };
        let (dialled, ()) = tokio::join!(dial(&authority, None, "/", &[], Duration::from_secs(10)), server);
        assert!(matches!(dialled, Err(DialError::Refused { status: 403, clock: None, body }) if body == b"why"));
    }
}
