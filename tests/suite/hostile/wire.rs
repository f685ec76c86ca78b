//! Bytes sent unchanged, from the attacker's address.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long to wait for an answer. Later ones do not count.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection from an address of this machine.
pub async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Sends bytes and reads until the other side closes.
pub async fn exchange(to: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = connect(Ipv4Addr::LOCALHOST, to).await.expect("connects");
    // The server may have closed before it has everything.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes and reads the first answer, up to the end of a head; for connections that then stay
/// open.
pub async fn first_answer(to: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = connect(Ipv4Addr::LOCALHOST, to).await.expect("connects");
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, async {
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") && socket.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The head of a WebSocket handshake, with further header lines.
pub fn handshake(path: &str, host: SocketAddr, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// The status of an answer; 0 for none.
pub fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}
