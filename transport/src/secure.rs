//! From a fresh TCP connection to one that HTTP is spoken on: the TLS handshake, where the listener has TLS.

use std::{io, sync::Arc, time::Duration};

use common::error::{ClientError, ErrorCode};
use tls::{HandshakeError, ServerTls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::stream::Stream;

/// Bytes of a request in the clear that are read before it is answered.
const READ_BYTES: usize = 8 * 1024;
/// How long someone who speaks in the clear may take to hear that it is of no use.
const FAREWELL: Duration = Duration::from_secs(1);

/// The stream that HTTP is spoken on, within `limit`.
///
/// # Errors
/// There is none; whoever could be told has been told.
pub(crate) async fn secure(socket: TcpStream, tls: Option<Arc<ServerTls>>, limit: Duration) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Stream::Plain(socket)) };
    match tls.accept(socket, limit).await {
        Ok(stream) => Ok(stream.into()),
        Err(error) => {
            tracing::debug!(%error, "no TLS connection");
            if let HandshakeError::NotTls(socket) = error {
                // It may have gone already.
                let _ = timeout(FAREWELL, answer_in_the_clear(socket)).await;
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

async fn answer_in_the_clear(mut socket: TcpStream) -> io::Result<()> {
    let mut request = vec![0; READ_BYTES];
    let length = socket.read(&mut request).await?;
    // Whoever speaks neither TLS nor HTTP would not understand.
    if !request.first().is_some_and(u8::is_ascii_uppercase) || length == 0 {
        return Ok(());
    }
    let body = ClientError::new(ErrorCode::TlsRequired).to_http_body();
    let status = ErrorCode::TlsRequired.row().status;
    let answer = format!(
        "HTTP/1.1 {status} Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await?;
    // Closed with unread bytes, the answer would be lost.
    while socket.read(&mut request).await? > 0 {}
    Ok(())
}
