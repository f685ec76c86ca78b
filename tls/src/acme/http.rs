//! The HTTP client for the ACME directory: HTTP/1.1 over TLS, one connection per request, limited
//! in time and size.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri, header::HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::{net::TcpStream, time::timeout};

use crate::client::ClientTls;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Largest response body in bytes. A long certificate chain is about 10 KiB.
const LONGEST_ANSWER: usize = 256 * 1024;

/// An HTTP client for one ACME directory.
pub(super) struct Directory(pub Arc<ClientTls>);

impl HttpClient for Directory {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let tls = Arc::clone(&self.0);
        Box::pin(async move {
            let answered = timeout(PATIENCE, send(&tls, request)).await;
            let timed_out = || Error::Other(Box::new(io::Error::from(io::ErrorKind::TimedOut)));
            answered.map_err(|_| timed_out())?.map_err(Error::Other)
        })
    }
}

async fn send(
    tls: &ClientTls,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Box<dyn std::error::Error + Send + Sync>> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("the address has no host")?.clone();
    if head.uri.scheme_str() != Some("https") {
        return Err("a certificate authority is asked by https only".into());
    }
    let socket = TcpStream::connect((authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(443))).await?;
    let stream = tls.connect(authority.host(), socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the sender.
    tokio::spawn(connection);

    head.headers.insert(HOST, authority.as_str().parse()?);
    head.uri = Uri::try_from(head.uri.path_and_query().map_or("/", |path| path.as_str()))?;
    // The body is whole: a length is sent, not chunks.
    let body = Full::new(body.collect().await?.to_bytes());
    let (head, body) = sender.send_request(Request::from_parts(head, body)).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
    Ok(BytesResponse::from(Response::from_parts(head, Full::new(body))))
}
