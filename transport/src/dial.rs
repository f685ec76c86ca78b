//! The client's side of the handshake: dials a server and leaves the bare socket, for those who pass frames on as they are.

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
    /// No socket, or it broke.
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
        /// What a broker says of its clock, where that is the reason: see [`common::assertion::Signer`].
        clock: Option<String>,
    },
    /// The answer is not HTTP, or not to this handshake.
    #[error("the server's answer is no WebSocket handshake")]
    NotWebSocket,
}

/// Dials `authority` (`host:port`), by TLS if there is any, and asks for `path`, with `headers` added, within `limit`.
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
        if let Some(length) = answer_length(&leftover, &key)? {
            let _ = leftover.split_to(length);
            return Ok(Upgraded { socket, leftover });
        }
        if leftover.len() > MAX_ANSWER {
            return Err(DialError::NotWebSocket);
        }
    }
}

/// Connects to `authority` (`host:port`), by TLS if there is any.
///
/// # Errors
/// Nobody listens there, or nobody who is trusted.
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

/// The length of a whole, acceptable answer; `None` if more bytes are needed.
fn answer_length(bytes: &[u8], key: &str) -> Result<Option<usize>, DialError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = answer.parse(bytes).map_err(|_| DialError::NotWebSocket)? else {
        return Ok(None);
    };
    let status = answer.code.unwrap_or_default();
    if status != 101 {
        let clock = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(CLOCK_HEADER));
        let clock = clock.and_then(|clock| String::from_utf8(clock.value.to_vec()).ok());
        return Err(DialError::Refused { status, clock });
    }
    let accept = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
    if accept.is_none_or(|accept| accept.value != hash_key(key.as_bytes())) {
        return Err(DialError::NotWebSocket);
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_rfc_example_is_accepted_and_frames_behind_it_are_left() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x00";
        assert!(matches!(answer_length(answer, KEY), Ok(Some(length)) if length == answer.len() - 2));
        assert!(matches!(answer_length(&answer[..40], KEY), Ok(None)));
    }

    #[test]
    fn refusals_and_strangers_are_told_apart() {
        assert!(matches!(
            answer_length(b"HTTP/1.1 401 Unauthorized\r\n\r\n", KEY),
            Err(DialError::Refused { status: 401, clock: None })
        ));
        let told = answer_length(b"HTTP/1.1 401 Unauthorized\r\nBridge-Clock: a.b.c\r\n\r\n", KEY);
        assert!(matches!(told, Err(DialError::Refused { status: 401, clock: Some(clock) }) if clock == "a.b.c"));
        assert!(matches!(answer_length(b"SSH-2.0-OpenSSH\r\n\r\n", KEY), Err(DialError::NotWebSocket)));
        let wrong = b"HTTP/1.1 101 X\r\nSec-WebSocket-Accept: AAAA\r\n\r\n";
        assert!(matches!(answer_length(wrong, KEY), Err(DialError::NotWebSocket)));
    }
}
