//! One HTTP request, one answer, without a library.

use std::{io, net::SocketAddr};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::in_time;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The body, `Null` if it is not JSON.
    pub json: Value,
}

/// Sends a request without a body.
///
/// # Errors
/// Nobody listens, or the connection broke before there was an answer.
pub async fn request(addr: SocketAddr, method: &str, path: &str, bearer: Option<&str>) -> io::Result<Answer> {
    send(addr, method, path, bearer, "", "").await
}

/// Posts JSON.
///
/// # Errors
/// As of [`request`].
pub async fn post(addr: SocketAddr, path: &str, bearer: Option<&str>, body: &Value) -> io::Result<Answer> {
    send(addr, "POST", path, bearer, "", &body.to_string()).await
}

/// The same with further header lines, each with its line end.
///
/// # Errors
/// As of [`request`].
pub async fn post_with(addr: SocketAddr, path: &str, bearer: Option<&str>, headers: &str, body: &Value) -> io::Result<Answer> {
    send(addr, "POST", path, bearer, headers, &body.to_string()).await
}

async fn send(addr: SocketAddr, method: &str, path: &str, bearer: Option<&str>, headers: &str, body: &str) -> io::Result<Answer> {
    in_time("an answer to a request", async {
        let mut socket = TcpStream::connect(addr).await?;
        let credentials = bearer.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n{kind}{credentials}{headers}\r\n{body}",
            body.len()
        );
        socket.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await?;
        parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    })
    .await
}

fn parse(answer: &str) -> Option<Answer> {
    let status = answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunk(body) } else { body.to_owned() };
    Some(Answer { status, json: serde_json::from_str(&body).unwrap_or_default() })
}

fn unchunk(body: &str) -> String {
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let chunk = usize::from_str_radix(length.trim(), 16).ok().filter(|length| *length > 0);
        let Some((chunk, next)) = chunk.and_then(|length| after.split_at_checked(length)) else { break };
        whole.push_str(chunk);
        rest = next.trim_start_matches("\r\n");
    }
    whole
}
