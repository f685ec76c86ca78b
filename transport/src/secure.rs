//! Turns a new TCP connection into one for HTTP: makes the TLS handshake, if the listener has TLS.

use std::{io, sync::Arc, time::Duration};

use common::error::{ClientError, ErrorCode};
use tls::{HandshakeError, ServerTls};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::stream::Stream;

/// Bytes of a request without TLS that are read before it is answered.
const READ_BYTES: usize = 8 * 1024;
/// How long to wait until a client without TLS has read its answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// The stream for HTTP, within `limit`.
///
/// # Errors
/// There is none; a client that could be told has been told.
pub(crate) async fn secure(socket: TcpStream, tls: Option<Arc<ServerTls>>, limit: Duration) -> io::Result<Stream> {
    let Some(tls) = tls else { return Ok(Stream::Plain(socket)) };
    match tls.accept(socket, limit).await {
        Ok(stream) => Ok(stream.into()),
        Err(error) => {
            tracing::debug!(%error, "no TLS connection");
            if let HandshakeError::NotTls(socket) = error {
                // The client may have gone already.
                let _ = timeout(FAREWELL, answer_in_the_clear(socket)).await;
            }
            Err(io::ErrorKind::ConnectionAborted.into())
        }
    }
}

async fn answer_in_the_clear(mut socket: TcpStream) -> io::Result<()> {
    let mut request = vec![0; READ_BYTES];
    let length = socket.read(&mut request).await?;
    // A client that speaks neither TLS nor HTTP would not understand an answer.
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
    // If the socket were closed with unread bytes, the answer would be lost.
    while socket.read(&mut request).await? > 0 {}
    Ok(())
}
