//! The edge's requests to others: an issuer's keys, a node of a chain, the broker.
//!
//! One connection for each request, bounded in time and size. `https` uses the system's
//! authorities, or those of the broker; `http` is used to the broker and on loopback only (the
//! configuration ensures that). Redirects are not followed, so that only the configured hosts are
//! dialled. URLs may contain the operator's keys: no error repeats one.

use std::{io, time::Duration};

use bytes::Bytes;
use common::assertion::CLOCK_HEADER;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
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

/// The header that names a request, so that a repetition is recognised.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// How long one request may take, unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer in bytes. Key sets and answers of nodes are much shorter.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Why there is no answer. It names no URL.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The URL cannot be dialled.
    #[error("the URL cannot be dialled")]
    Url,
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    /// The trusted authorities cannot be read.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not valid HTTP.
    #[error("no answer: {0}")]
    Http(#[from] hyper::Error),
    /// Too long, or cut off.
    #[error("the answer is too long or was cut off")]
    Body,
    /// A status that is not a success.
    #[error("the answer has the status {0}")]
    Status(u16),
    /// Too slow.
    #[error("no answer in time")]
    TimedOut,
}

/// A request.
pub struct Question<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// The URL.
    pub url: &'a str,
    /// JSON, or nothing.
    pub body: Bytes,
    /// A bearer token, if any.
    pub bearer: Option<&'a str>,
    /// The idempotency key of a call, if any.
    pub key: Option<&'a str>,
    /// How long the answer may take.
    pub patience: Duration,
    /// The longest answer in bytes.
    pub longest: usize,
}

impl<'a> Question<'a> {
    /// A request for what is at a URL.
    pub fn get(url: &'a str) -> Self {
        Self {
            method: Method::GET,
            url,
            body: Bytes::new(),
            bearer: None,
            key: None,
            patience: PATIENCE,
            longest: LONGEST_ANSWER,
        }
    }

    /// A request with this JSON.
    pub fn post(url: &'a str, body: impl Into<Bytes>) -> Self {
        Self { method: Method::POST, body: body.into(), ..Self::get(url) }
    }
}

/// An answer.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The broker's clock, if that is why it refuses: see [`common::assertion::Signer`].
    pub clock: Option<String>,
    /// When to try again, if it refuses for now.
    pub retry_after: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn content(self) -> Result<Vec<u8>, OutboundError> {
        if self.is_success() { Ok(self.body.into()) } else { Err(OutboundError::Status(self.status)) }
    }
}

/// The client. It reads the trusted authorities when it first needs them.
#[derive(Default)]
pub struct Outbound {
    trust: Option<Trust>,
    tls: OnceCell<ClientTls>,
}

impl Outbound {
    /// A client that trusts nobody else under TLS; `None`: the system's authorities.
    pub fn trusting(trust: Option<Trust>) -> Self {
        Self { trust, tls: OnceCell::new() }
    }

    /// Fetches what is at a URL.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, OutboundError> {
        self.ask(Question::get(url)).await?.content()
    }

    /// Posts JSON to a URL.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub async fn post_json(&self, url: &str, body: String) -> Result<Vec<u8>, OutboundError> {
        self.ask(Question::post(url, body)).await?.content()
    }

    /// Sends a request and returns the answer, whatever its status is.
    ///
    /// # Errors
    /// See [`OutboundError`], except for the status.
    pub async fn ask(&self, question: Question<'_>) -> Result<Answer, OutboundError> {
        timeout(question.patience, self.exchange(question)).await.map_err(|_| OutboundError::TimedOut)?
    }

    async fn exchange(&self, question: Question<'_>) -> Result<Answer, OutboundError> {
        let Question { method, url, body, bearer, key, longest, .. } = question;
        let url: Uri = url.parse().map_err(|_| OutboundError::Url)?;
        let authority = url.authority().ok_or(OutboundError::Url)?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_secure = url.scheme_str() == Some("https");
        let socket = TcpStream::connect((host, authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }))).await?;
        let mut request = Request::builder()
            .method(&method)
            .uri(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority.as_str())
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .header(USER_AGENT, HeaderValue::from_static(concat!("agent-bridge/", env!("CARGO_PKG_VERSION"))))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(bearer) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {bearer}")).map_err(|_| OutboundError::Url)?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(key) = key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        let request = request.body(Full::new(body)).map_err(|_| OutboundError::Url)?;
        if !is_secure {
            return send(socket, request, longest).await;
        }
        let tls = self.tls.get_or_try_init(|| trusted(self.trust.clone())).await?;
        send(tls.connect(host, socket).await?, request, longest).await
    }
}

async fn send<S>(socket: S, request: Request<Full<Bytes>>, longest: usize) -> Result<Answer, OutboundError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    // Ends with the sender.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, longest).collect().await.map_err(|_| OutboundError::Body)?;
    let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (clock, retry_after) = (text(head.headers.get(CLOCK_HEADER)), text(head.headers.get(RETRY_AFTER)));
    Ok(Answer { status: head.status.as_u16(), clock, retry_after, body: body.to_bytes() })
}

/// Reads the trusted authorities.
async fn trusted(trust: Option<Trust>) -> Result<ClientTls, OutboundError> {
    let reading = tokio::task::spawn_blocking(|| ClientTls::new(trust.unwrap_or(Trust::System)));
    Ok(reading.await.map_err(io::Error::other)??)
}
