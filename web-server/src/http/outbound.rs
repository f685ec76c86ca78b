//! What the edge asks of others: an issuer's keys, a node of a chain.
//!
//! One connection for each question, bounded in time and size; `https` with the system's certificates, `http` on loopback only
//! (the configuration sees to that). No redirect is followed, so that nothing but the configured hosts is dialled. URLs may hold
//! the operator's keys: no error repeats one.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tls::{ClientTls, TlsError, Trust};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    time::timeout,
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer. Key sets and answers of nodes are much shorter.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Why there is no answer; names no URL.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL cannot be dialled.
    #[error("the URL is not one that can be asked")]
    Url,
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// Whom to trust is not known.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// Too long, or cut off.
    #[error("the answer is longer than 256 KiB or was cut off")]
    Body,
    /// An answer that is none.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// Too slow.
    #[error("no answer within 10 s")]
    TimedOut,
}

/// The client. Reads the system's certificates when it first needs them.
#[derive(Default)]
pub struct Outbound {
    tls: OnceCell<ClientTls>,
}

impl Outbound {
    /// Fetches what is at a URL.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, OutboundError> {
        self.ask(Method::GET, url, Bytes::new()).await
    }

    /// Posts JSON to a URL.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn post_json(&self, url: &str, body: String) -> Result<Vec<u8>, OutboundError> {
        self.ask(Method::POST, url, body.into()).await
    }

    async fn ask(&self, method: Method, url: &str, body: Bytes) -> Result<Vec<u8>, OutboundError> {
        timeout(PATIENCE, self.exchange(method, url, body)).await.map_err(|_| OutboundError::TimedOut)?
    }

    async fn exchange(&self, method: Method, url: &str, body: Bytes) -> Result<Vec<u8>, OutboundError> {
        let url: Uri = url.parse().map_err(|_| OutboundError::Url)?;
        let authority = url.authority().ok_or(OutboundError::Url)?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_secure = url.scheme_str() == Some("https");
        let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }))).await?;
        let request = Request::builder()
            .method(&method)
            .uri(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("agent-bridge/", env!("CARGO_PKG_VERSION"))))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(body))
            .map_err(|_| OutboundError::Url)?;
        if !is_secure {
            return send(socket, request).await;
        }
        let tls = self.tls.get_or_try_init(trust_the_system).await?;
        send(tls.connect(host, socket).await?, request).await
    }
}

async fn send<S>(socket: S, request: Request<Full<Bytes>>) -> Result<Vec<u8>, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    if !head.status.is_success() {
        return Err(OutboundError::Status(head.status.as_u16()));
    }
    let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(|_| OutboundError::Body)?;
    Ok(body.to_bytes().to_vec())
}

/// Reads the system's certificates.
async fn trust_the_system() -> Result<ClientTls, OutboundError> {
    let reading = tokio::task::spawn_blocking(|| ClientTls::new(Trust::System));
    Ok(reading.await.map_err(io::Error::other)??)
}
