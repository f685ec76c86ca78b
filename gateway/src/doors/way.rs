//! How the broker is reached: over a socket, or over a pipe within the process.

use std::{fmt::Write as _, future::Future, sync::Arc, time::Duration};

use common::{
    assertion::{Acks, ClientIdentity, Reading, Signer},
    config::ws_authority,
    error::{ClientError, ErrorCode},
    id::{AgentId, ClientName},
    secret::Secret,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tls::ClientTls;
use transport::{DialError, Socket, Stream, Upgraded, dial};

use super::error::BridgeError;

/// The address of a broker.
#[derive(Clone, Debug)]
pub struct BrokerAddress {
    authority: String,
    tls: Option<Arc<ClientTls>>,
    limit: Duration,
}

impl BrokerAddress {
    /// The broker at `ws://host:port` or `wss://host:port`; with `tls` for the latter. Dialling may
    /// take as long as `limit`.
    pub fn new(url: &str, tls: Option<Arc<ClientTls>>, limit: Duration) -> Self {
        Self { authority: ws_authority(url), tls, limit }
    }

    /// `host:port`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Opens the door of sessions for `identity`, which `signer` vouches for. Returns the bare
    /// socket, for callers that forward frames unchanged. If the broker refuses because the clocks
    /// differ, the signer learns the broker's, and this tries once more.
    ///
    /// # Errors
    /// See [`DialError`]. An assertion that cannot be signed counts as a refusal with 401.
    pub async fn open_session(&self, identity: &ClientIdentity, signer: &Signer) -> Result<Upgraded, DialError> {
        let mut path = format!("/ws/client/{}", identity.session_id);
        if let Some(agent) = &identity.agent {
            let _ = write!(path, "?agent={}", utf8_percent_encode(agent.as_str(), NON_ALPHANUMERIC));
        }
        let assertion = sign(signer, identity)?;
        match self.open(&path, &assertion).await {
            Err(DialError::Refused { status: 401, clock: Some(clock), .. }) if signer.learn(&clock, &assertion) => {
                self.open(&path, &sign(signer, identity)?).await
            }
            outcome => outcome,
        }
    }

    /// Opens the door of agents for `agent`. Returns the bare socket.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn open_agent(&self, agent: &AgentId, key: &Secret, reading: &Reading) -> Result<Upgraded, DialError> {
        let mut path = format!("/ws/agent?agent_id={}", utf8_percent_encode(agent.as_str(), NON_ALPHANUMERIC));
        if reading.acks == Acks::Explicit {
            let _ = write!(path, "&ack=explicit&prefetch={}", reading.prefetch.messages());
        }
        if let Some(client) = &reading.client {
            let _ = write!(path, "&client={}", utf8_percent_encode(client.as_str(), NON_ALPHANUMERIC));
        }
        if reading.resume {
            path.push_str("&resume=true");
        }
        self.open(&path, key.reveal()).await
    }

    async fn open(&self, path: &str, bearer: &str) -> Result<Upgraded, DialError> {
        let bearer = format!("Bearer {bearer}");
        dial(&self.authority, self.tls.as_deref(), path, &[("Authorization", &bearer)], self.limit).await
    }
}

fn sign(signer: &Signer, identity: &ClientIdentity) -> Result<String, DialError> {
    signer.mint(identity).map_err(|code| {
        tracing::error!(%code, "assertion not signed");
        DialError::Refused { status: ErrorCode::Unauthorized.row().status, clock: None, body: Vec::new() }
    })
}

/// Connects a session to a broker in this process, on the caller's thread.
pub type SessionPipe = Arc<dyn Fn(ClientIdentity) -> Result<Box<dyn Socket>, ErrorCode> + Send + Sync>;

/// Connects an agent to a broker in this process, on the caller's thread, if the key is valid for
/// the id.
pub type AgentPipe = Arc<dyn Fn(AgentId, &Secret, Reading) -> Result<Box<dyn Socket>, ClientError> + Send + Sync>;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nobody listens there, or it is not a broker.
    Unreachable(String),
    /// The broker refused.
    Refused {
        /// With this HTTP status.
        status: u16,
        /// And its error.
        error: BridgeError,
    },
    /// The options do not give a valid request.
    Misconfigured(String),
}

impl From<DialError> for Fault {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused { status, body, .. } => {
                let error = BridgeError::of_body(&body).unwrap_or_else(|| reason_of(status));
                Self::Refused { status, error }
            }
            DialError::Unreachable(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                Self::Misconfigured(error.to_string())
            }
            error => Self::Unreachable(error.to_string()),
        }
    }
}

/// The meaning of a refusal without an error of its own.
fn reason_of(status: u16) -> BridgeError {
    let code = match status {
        401 => ErrorCode::Unauthorized,
        403 => ErrorCode::Forbidden,
        404 => ErrorCode::NotFound,
        429 => ErrorCode::RateLimited,
        500.. => ErrorCode::NotReady,
        _ => ErrorCode::BadRequest,
    };
    code.into()
}

/// A pipe's refusal, as it would have been over HTTP.
fn refused(code: ErrorCode) -> Fault {
    Fault::Refused { status: code.row().status, error: code.into() }
}

/// What differs between the connections of one door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Whether the broker holds messages back until it knows the positions.
    pub resume: bool,
    /// The client name.
    pub client: Option<ClientName>,
}

impl Opening {
    fn of(self, reading: &Reading) -> Reading {
        let Self { resume, client } = self;
        Reading { resume, client, ..reading.clone() }
    }
}

/// A way to the broker, with everything that it needs.
pub trait Way: 'static {
    /// The connection.
    type Socket: Socket;

    /// Opens a connection.
    fn open(&self, opening: Opening) -> impl Future<Output = Result<Upgraded<Self::Socket>, Fault>>;
}

/// Sessions over a socket.
pub struct SessionSocket {
    pub address: BrokerAddress,
    pub signer: Signer,
    pub identity: ClientIdentity,
}

impl Way for SessionSocket {
    type Socket = Stream;

    async fn open(&self, opening: Opening) -> Result<Upgraded<Stream>, Fault> {
        let reading = opening.of(&self.identity.reading);
        let identity = ClientIdentity { reading, ..self.identity.clone() };
        Ok(self.address.open_session(&identity, &self.signer).await?)
    }
}

/// Agents over a socket.
pub struct AgentSocket {
    pub address: BrokerAddress,
    pub key: Secret,
    pub agent: AgentId,
    pub reading: Reading,
}

impl Way for AgentSocket {
    type Socket = Stream;

    async fn open(&self, opening: Opening) -> Result<Upgraded<Stream>, Fault> {
        let reading = opening.of(&self.reading);
        Ok(self.address.open_agent(&self.agent, &self.key, &reading).await?)
    }
}

/// Sessions over a pipe.
pub struct SessionThroughPipe {
    pub pipe: SessionPipe,
    pub identity: ClientIdentity,
}

impl Way for SessionThroughPipe {
    type Socket = Box<dyn Socket>;

    async fn open(&self, opening: Opening) -> Result<Upgraded<Box<dyn Socket>>, Fault> {
        let reading = opening.of(&self.identity.reading);
        let identity = ClientIdentity { reading, ..self.identity.clone() };
        (self.pipe)(identity).map(Upgraded::without_handshake).map_err(refused)
    }
}

/// Agents over a pipe.
pub struct AgentThroughPipe {
    pub pipe: AgentPipe,
    pub key: Secret,
    pub agent: AgentId,
    pub reading: Reading,
}

impl Way for AgentThroughPipe {
    type Socket = Box<dyn Socket>;

    async fn open(&self, opening: Opening) -> Result<Upgraded<Box<dyn Socket>>, Fault> {
        let reading = opening.of(&self.reading);
        let opened = (self.pipe)(self.agent.clone(), &self.key, reading);
        opened
            .map(Upgraded::without_handshake)
            .map_err(|error| Fault::Refused { status: error.code.row().status, error: error.into() })
    }
}
