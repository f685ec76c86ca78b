//! Who may open a socket. Everything is decided before the upgrade.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    assertion::{self, Acks, ClientIdentity, Prefetch, Reading},
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId},
    message::{agent_id_in_query, client_name_in_query},
    secret::Secret,
};
use serde::Deserialize;
use tokio::io::DuplexStream;
use transport::{Upgraded, bearer, client_address};

use super::{
    calls::{Call, make_for_session},
    credentials::admit_agent,
    edge_clocks::{on_refusal, tell_clock},
    refusal::refusal,
};
use crate::{
    actors::{AgentActor, AgentHandshake, ClientSessionActor},
    broker::Broker,
};

/// Bytes that may be on their way between an edge in this process and the broker, in each
/// direction.
const LOCAL_BUFFER: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
pub struct AgentQuery {
    agent_id: Option<String>,
    #[serde(default)]
    ack: Acks,
    prefetch: Option<String>,
    client: Option<String>,
    #[serde(default)]
    resume: bool,
}

/// Pages of other sites may not open sockets here either, whatever credentials they have.
pub fn check_origin(request: &HttpRequest, broker: &Broker) -> Result<(), ErrorCode> {
    if broker.http.origins.admits(request) { Ok(()) } else { Err(ErrorCode::OriginNotAllowed) }
}

/// `GET /ws/agent`
pub async fn agent(request: HttpRequest, query: web::Query<AgentQuery>, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let address = client_address::of(&request, &broker.http.proxies);
    let admitted = || -> Result<_, ClientError> {
        check_origin(&request, &broker)?;
        let wanted: Option<AgentId> = query.agent_id.as_deref().map(|text| agent_id_in_query("agent_id", text)).transpose()?;
        let pass = admit_agent(&broker, &request, wanted.as_ref(), address)?;
        tracing::debug!(key = pass.name(), %address, agent = wanted.as_ref().map(AgentId::as_str), "agent connects");
        let query = query.into_inner();
        let client = query.client.as_deref().map(|text| client_name_in_query("client", text)).transpose()?;
        let prefetch = Prefetch::in_query(query.prefetch.as_deref(), query.ack)?;
        let reading = Reading { acks: query.ack, prefetch, client, resume: query.resume, ..Reading::default() };
        if reading.is_named_by_edge() {
            return Err(ClientError::with_message(ErrorCode::BadRequest, "client names that begin with `@edge/` are reserved"));
        }
        Ok((broker.admit_agent(pass.name(), address)?, pass, AgentHandshake::new(wanted), reading))
    };
    match admitted() {
        Ok((admission, pass, handshake, reading)) => {
            upgrade(&request, move |upgraded| AgentActor::take_over(upgraded, &broker, admission, pass, handshake, reading))
        }
        Err(error) => refusal(error),
    }
}

/// `GET /ws/client/{session_id}`
pub async fn client(request: HttpRequest, path: web::Path<String>, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let asked = check_origin(&request, &broker).and_then(|()| path.parse().map_err(|_| ErrorCode::InvalidSessionId));
    let session_id: SessionId = match asked {
        Ok(session_id) => session_id,
        Err(code) => return refusal(code.into()),
    };
    let assertion = bearer(request.headers()).ok_or(ErrorCode::Unauthorized);
    let identity = match assertion.and_then(|shown| assertion::verify(shown, &broker.settings.broker.bridge_secret)) {
        Ok(identity) => identity,
        Err(code) => {
            let clock = on_refusal(&broker, &request, code, client_address::of(&request, &broker.http.proxies));
            return tell_clock(refusal(code.into()), clock);
        }
    };
    if identity.session_id != session_id {
        return refusal(ErrorCode::Forbidden.into());
    }
    match broker.admit_session(&identity) {
        Ok(admission) => upgrade(&request, move |upgraded| ClientSessionActor::take_over(upgraded, &broker, admission, identity)),
        Err(error) => refusal(error.into()),
    }
}

/// Connects to this broker from within its process, without a socket: for an edge that runs beside
/// it, and for agents.
#[derive(Clone, Debug)]
pub struct LocalBroker(pub(crate) Arc<Broker>);

impl LocalBroker {
    /// Connects a session that the caller vouches for, on the caller's thread. The broker reads
    /// what is written as WebSocket frames of a client; there is no handshake.
    ///
    /// # Errors
    /// `not_ready`, `at_capacity`, `too_many_connections`.
    pub fn connect(&self, identity: ClientIdentity) -> Result<DuplexStream, ErrorCode> {
        let admission = self.0.admit_session(&identity).inspect_err(|code| self.0.statistics.refusals.count(*code))?;
        let (ours, theirs) = tokio::io::duplex(LOCAL_BUFFER);
        ClientSessionActor::take_over(Upgraded::without_handshake(ours), &self.0, admission, identity);
        Ok(theirs)
    }

    /// Makes a call over HTTP for a session that the caller vouches for, on the caller's thread.
    /// Returns the JSON of the answer. Dropping the future ends the wait for an answer.
    ///
    /// # Errors
    /// Those of the broker's routes `POST /api/v1/messages` and `POST /api/v1/request`.
    pub fn call(&self, identity: ClientIdentity, call: Call) -> impl Future<Output = Result<String, ClientError>> + use<> {
        make_for_session(Arc::clone(&self.0), identity, call)
    }

    /// Connects an agent, on the caller's thread, if the key is valid for its id. There is no
    /// handshake.
    ///
    /// # Errors
    /// `unauthorized`, `agent_key_revoked`, `agent_key_expired`, `not_allowed`, `not_ready`,
    /// `at_capacity`, `too_many_connections`.
    pub fn connect_agent(&self, agent: AgentId, key: &Secret, reading: Reading) -> Result<DuplexStream, ClientError> {
        const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let admitted = || -> Result<_, ClientError> {
            let pass = self.0.authentication.keys.admit(Some(key.reveal()), Some(&agent))?.from(HERE);
            Ok((self.0.admit_agent(pass.name(), HERE)?, pass))
        };
        let (admission, pass) = admitted().inspect_err(|error| self.0.statistics.refusals.count(error.code))?;
        let (ours, theirs) = tokio::io::duplex(LOCAL_BUFFER);
        let handshake = AgentHandshake::new(Some(agent));
        AgentActor::take_over(Upgraded::without_handshake(ours), &self.0, admission, pass, handshake, reading);
        Ok(theirs)
    }
}

fn upgrade(request: &HttpRequest, start: impl FnOnce(Upgraded) + 'static) -> HttpResponse {
    transport::accept(request, start).unwrap_or_else(refusal)
}
