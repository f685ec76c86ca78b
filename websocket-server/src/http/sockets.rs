//! Who may open a socket. Everything is decided before the upgrade.

use std::{net::IpAddr, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use common::{
    assertion::{self, Acks, ClientIdentity, Reading},
    config::{BrokerSettings, ClientCertificates},
    error::{ClientError, ErrorCode},
    id::{AgentId, ClientName, SessionId},
    message::parse_agent_id,
};
use serde::Deserialize;
use tls::ClientCertificate;
use tokio::io::DuplexStream;
use transport::{RouteFamily, Upgraded, client_address, clock::now_ms};

use super::refusal;
use crate::{
    actors::{AgentActor, AgentHandshake, ClientSessionActor},
    audit::Event,
    broker::Broker,
    routing::Pass,
};

/// Keys shorter than this might be guessed.
const GUESSABLE: usize = 32;
/// Bytes that may be under way between an edge in this process and the broker, in each direction.
const LOCAL_BUFFER: usize = 64 * 1024;

#[derive(Debug, Deserialize)]
pub struct AgentQuery {
    agent_id: Option<String>,
    #[serde(default)]
    ack: Acks,
    client: Option<ClientName>,
    #[serde(default)]
    resume: bool,
}

/// Pages of other sites open no sockets here either, whatever they know.
fn check_origin(request: &HttpRequest, broker: &Broker) -> Result<(), ErrorCode> {
    if broker.origins.admits(request) { Ok(()) } else { Err(ErrorCode::OriginNotAllowed) }
}

/// `GET /ws/agent`
pub async fn agent(request: HttpRequest, query: web::Query<AgentQuery>, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let address = client_address::of(&request, &broker.proxies);
    let admitted = || -> Result<_, ClientError> {
        check_origin(&request, &broker)?;
        let wanted: Option<AgentId> = query.agent_id.as_deref().map(parse_agent_id).transpose()?;
        let pass = admit_agent(&broker, &request, wanted.as_ref(), address)?;
        tracing::debug!(key = pass.name(), %address, agent = wanted.as_ref().map(AgentId::as_str), "agent connects");
        let query = query.into_inner();
        let reading = Reading { acks: query.ack, client: query.client, resume: query.resume, away_since: None };
        if reading.is_named_by_edge() {
            return Err(ClientError::with_message(ErrorCode::BadRequest, "names of clients that begin with `@edge/` are taken"));
        }
        Ok((broker.admit_agent(pass.name(), address)?, pass, AgentHandshake::new(wanted), reading))
    };
    match admitted() {
        Ok((admission, pass, handshake, reading)) => {
            upgrade(&request, move |upgraded| AgentActor::take_over(upgraded, admission, pass, handshake, reading))
        }
        Err(error) => refuse(&broker, &request, error),
    }
}

/// `GET /ws/client/{session_id}`
pub async fn client(request: HttpRequest, path: web::Path<String>, broker: web::Data<Broker>) -> HttpResponse {
    let broker = broker.into_inner();
    let admitted = || -> Result<_, ClientError> {
        check_origin(&request, &broker)?;
        let session_id: SessionId = path.parse().map_err(|_| ErrorCode::InvalidSessionId)?;
        let assertion = credentials(&request).ok_or(ErrorCode::Unauthorized)?;
        let identity = assertion::verify(assertion, &broker.settings.broker.bridge_secret)?;
        if identity.session_id != session_id {
            return Err(ErrorCode::Forbidden.into());
        }
        let admission = broker.admit_session(&identity)?;
        Ok((admission, identity))
    };
    match admitted() {
        Ok((admission, identity)) => {
            upgrade(&request, move |upgraded| ClientSessionActor::take_over(upgraded, admission, identity))
        }
        Err(error) => refuse(&broker, &request, error),
    }
}

/// A way into this broker from within its process: for an edge that runs beside it, which needs no socket between.
#[derive(Clone, Debug)]
pub struct LocalBroker(pub(crate) Arc<Broker>);

impl LocalBroker {
    /// Connects a session that the caller vouches for, on the caller's thread. What is written here, the broker reads, as
    /// WebSocket frames of a client; the handshake is left out.
    ///
    /// # Errors
    /// `not_ready`, `at_capacity`, `too_many_connections`.
    pub fn connect(&self, identity: ClientIdentity) -> Result<DuplexStream, ErrorCode> {
        let admission = self.0.admit_session(&identity).inspect_err(|code| self.0.refusals.count(*code))?;
        let (ours, theirs) = tokio::io::duplex(LOCAL_BUFFER);
        ClientSessionActor::take_over(Upgraded::without_handshake(ours), admission, identity);
        Ok(theirs)
    }
}

/// Checks what an agent presents: its key, and its certificate where that is asked for or has a say.
///
/// # Errors
/// `client_certificate_required`, `too_many_failures`, `unauthorized`, `agent_key_revoked`, `agent_key_expired`, `not_allowed`.
pub(super) fn admit_agent(
    broker: &Broker,
    request: &HttpRequest,
    wanted: Option<&AgentId>,
    address: IpAddr,
) -> Result<Pass, ClientError> {
    let certificate = certificate(request, &broker.settings.broker)?;
    let mut pass = admit_key(broker, credentials(request), wanted, address)?.from(address);
    if let Some(certificate) = certificate.filter(|_| broker.settings.broker.client_names) {
        pass = pass.named(Arc::clone(&certificate.names));
        wanted.map_or(Ok(()), |wanted| pass.check_id(wanted))?;
    }
    Ok(pass)
}

/// Checks the key that an agent presents. Wrong ones cost their address a wait that grows, in which short keys are not looked at:
/// whoever is guessing learns nothing. A right key that is too long to be guessed does not suffer for its neighbours.
fn admit_key(broker: &Broker, presented: Option<&str>, wanted: Option<&AgentId>, address: IpAddr) -> Result<Pass, ClientError> {
    let now = Duration::from_millis(now_ms());
    let waits = broker.penalties.check(address, now).map_err(|wait| ClientError::new(ErrorCode::TooManyFailures).after(wait));
    if presented.is_none_or(|key| key.len() < GUESSABLE) {
        waits.clone()?;
    }
    match broker.keys.admit(presented, wanted) {
        Err(error) if error.code == ErrorCode::Unauthorized => {
            waits?;
            let wait = broker.penalties.on_failure(address, now);
            tracing::info!(%address, wait_ms = crate::broker::millis(wait), "a wrong agent key");
            Err(error)
        }
        Ok(pass) => {
            broker.penalties.on_success(address, now);
            Ok(pass)
        }
        // A key that has ended, or is for others: neither a guess nor a proof.
        Err(error) => Err(error),
    }
}

fn upgrade(request: &HttpRequest, start: impl FnOnce(Upgraded) + 'static) -> HttpResponse {
    transport::accept(request, start)
        .unwrap_or_else(|fault| refusal(ClientError::with_message(ErrorCode::UpgradeRequired, fault.to_string())))
}

fn refuse(broker: &Broker, request: &HttpRequest, error: ClientError) -> HttpResponse {
    if matches!(error.code.row().status, 401 | 403) {
        let address = client_address::of(request, &broker.proxies);
        match broker.http_rates.take(RouteFamily::Refusal, address) {
            Ok(()) => {
                let what = format!("{}: {}", request.path(), error.code);
                broker.audit.note(Event::Authentication, "", &what, &address.to_string());
            }
            Err(_) => broker.audit.pass_over(1),
        }
    }
    tracing::debug!(code = error.code.as_str(), "connection refused");
    broker.refusals.count(error.code);
    refusal(error)
}

/// The certificate the agent showed. It was checked in the handshake: with a wrong one there is no request.
///
/// # Errors
/// `client_certificate_required`.
fn certificate<'a>(request: &'a HttpRequest, settings: &BrokerSettings) -> Result<Option<&'a ClientCertificate>, ErrorCode> {
    let shown = request.conn_data::<ClientCertificate>();
    match settings.client_certificates {
        ClientCertificates::Required if shown.is_none() => Err(ErrorCode::ClientCertificateRequired),
        _ => Ok(shown),
    }
}

/// Whether an edge asks, for itself or for a session.
pub(super) fn is_edge(request: &HttpRequest, broker: &Broker) -> bool {
    let secret = &broker.settings.broker.bridge_secret;
    let vouches = |token: &str| assertion::verify(token, secret).is_ok() || assertion::verify_edge(token, secret).is_ok();
    credentials(request).is_some_and(vouches)
}

/// The `Authorization` header's value, without `Bearer` if that is its scheme.
pub(super) fn credentials(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get("authorization")?.to_str().ok()?.trim();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn credentials_are_presented_bare_or_as_bearer() {
        let presented = |header: &str| {
            let request = TestRequest::get().insert_header(("authorization", header)).to_http_request();
            credentials(&request).map(str::to_owned)
        };
        assert_eq!(presented("one").as_deref(), Some("one"));
        assert_eq!(presented("Bearer two").as_deref(), Some("two"));
        assert_eq!(presented("bearer  two ").as_deref(), Some("two"));
        assert_eq!(presented("Basic two").as_deref(), Some("Basic two"));
        assert_eq!(presented("").as_deref(), Some(""));
        assert_eq!(presented("Bearer").as_deref(), Some("Bearer"));
    }
}
