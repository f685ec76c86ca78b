//! Who sends a request: agents with their keys, operators with their token, edges with their
//! assertions. A wrong guess at a credential that can be guessed costs a growing wait.

use std::{
    future::{Ready, ready},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use common::{
    assertion::{self, ClientIdentity},
    config::{BrokerSettings, ClientCertificates},
    error::{ClientError, ErrorCode},
    id::AgentId,
    secret::Secret,
};
use identity::limits::GUESSABLE;
use tls::ClientCertificate;
use transport::{Payer, bearer, client_address, clock::now_ms, operator::Operators};

use super::{hosts, refusal::Refused};
use crate::{broker::Broker, peers::Pass};

fn now() -> Duration {
    Duration::from_millis(now_ms())
}

/// Checks an agent's credentials: its key, and its certificate if that is required or bounds the
/// id.
///
/// # Errors
/// `client_certificate_required`, `too_many_failures`, `unauthorized`, `agent_key_revoked`,
/// `agent_key_expired`, `not_allowed`, `host_not_allowed`.
pub fn admit_agent(
    broker: &Broker,
    request: &HttpRequest,
    wanted: Option<&AgentId>,
    address: IpAddr,
) -> Result<Pass, ClientError> {
    let certificate = certificate(request, &broker.settings.broker)?;
    let presented = presented(request);
    let admit = || broker.authentication.keys.admit(presented, wanted);
    let mut pass = broker.authentication.wrong_keys.weigh(presented, address, now(), admit)?.from(address);
    hosts::check_key(request, presented)?;
    if let Some(certificate) = certificate.filter(|_| broker.settings.broker.client_names) {
        pass = pass.named(Arc::clone(&certificate.names));
        wanted.map_or(Ok(()), |wanted| pass.check_id(wanted))?;
    }
    Ok(pass)
}

/// Checks with `rule` whether an operator asks. A request without a token is refused, but is no
/// guess.
///
/// # Errors
/// Those of the rule, `too_many_failures`.
pub fn check_operator(
    broker: &Broker,
    request: &HttpRequest,
    rule: impl FnOnce(&Operators, &HttpRequest) -> Result<(), ErrorCode>,
) -> Result<(), ClientError> {
    let look = || Ok(rule(&broker.authentication.operators, request)?);
    match bearer(request.headers()) {
        Some(token) => {
            broker.authentication.wrong_tokens.weigh(Some(token), client_address::of(request, &broker.http.proxies), now(), look)
        }
        None => look(),
    }
}

/// The presented text is not the operator token, nor anything else that is valid. Returns the
/// answer.
pub fn on_guess(broker: &Broker, address: IpAddr, error: ClientError) -> ClientError {
    match broker.authentication.wrong_tokens.check(address, now()) {
        Err(wait) => ClientError::new(ErrorCode::TooManyFailures).after(wait),
        Ok(()) => {
            broker.authentication.wrong_tokens.on_failure(address, now());
            error
        }
    }
}

/// Who pays for a request to the API. A caller with a valid credential that is too long to be
/// guessed pays for itself; others are charged to their address.
pub fn payer_of(broker: &Broker, request: &HttpRequest, address: IpAddr) -> Payer {
    let Some(token) = bearer(request.headers()).filter(|token| token.len() >= GUESSABLE) else { return Payer::Address(address) };
    if broker.authentication.operators.check_administrator(request).is_ok() {
        return Payer::Key("operator".into());
    }
    let pass = broker.authentication.keys.admit(Some(token), None);
    pass.map_or(Payer::Address(address), |pass| Payer::Key(format!("agents {}", pass.name()).into()))
}

/// Whether an operator asks, on a route that others may use too. A wrong token costs nothing here,
/// because it is checked again.
pub fn is_operator(broker: &Broker, request: &HttpRequest, address: IpAddr) -> bool {
    bearer(request.headers()).is_some_and(|token| broker.authentication.wrong_tokens.lets_look(token, address, now()))
        && broker.authentication.operators.check_administrator(request).is_ok()
}

/// An operator sent this request. Without a configured token there are no operators, and this path
/// does not exist.
#[derive(Debug)]
pub struct Operator;

impl FromRequest for Operator {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let checked = match request.app_data::<web::Data<Broker>>() {
            Some(broker) => check_operator(broker, request, Operators::check_administrator),
            None => Err(ErrorCode::Internal.into()),
        };
        ready(checked.map(|()| Self).map_err(Refused::from))
    }
}

/// On whose behalf an edge asks, according to its assertion.
#[derive(Clone, Debug)]
pub enum Vouched {
    /// One of its sessions.
    Session(Box<ClientIdentity>),
    /// Itself.
    Edge,
}

impl Vouched {
    /// Checks the assertion of a request.
    ///
    /// # Errors
    /// `credentials_expired` for one that was once valid, `unauthorized`.
    pub fn of(request: &HttpRequest, secret: &Secret) -> Result<Self, ErrorCode> {
        let token = bearer(request.headers()).ok_or(ErrorCode::Unauthorized)?;
        assertion::verify(token, secret).map(|identity| Self::Session(Box::new(identity))).or_else(|code| {
            let of_edge = assertion::verify_edge(token, secret).map(|()| Self::Edge);
            of_edge.map_err(|other| if other == ErrorCode::CredentialsExpired { other } else { code })
        })
    }

    /// What [`super::paced`] found for this request.
    ///
    /// # Errors
    /// Those of [`Vouched::of`].
    pub fn found(request: &HttpRequest) -> Result<Self, ErrorCode> {
        request.extensions().get::<Result<Self, ErrorCode>>().cloned().unwrap_or(Err(ErrorCode::Unauthorized))
    }
}

/// An edge sent this request on its own behalf.
#[derive(Debug)]
pub struct Edge;

impl FromRequest for Edge {
    type Error = Refused;
    type Future = Ready<Result<Self, Refused>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(match Vouched::found(request) {
            Ok(Vouched::Edge) => Ok(Self),
            Ok(Vouched::Session(_)) => Err(ErrorCode::Unauthorized.into()),
            Err(code) => Err(code.into()),
        })
    }
}

/// The certificate that the agent showed. The handshake has checked it: with a wrong one there is
/// no request.
///
/// # Errors
/// `client_certificate_required`.
fn certificate(request: &HttpRequest, settings: &BrokerSettings) -> Result<Option<ClientCertificate>, ErrorCode> {
    let shown = request.extensions().get::<ClientCertificate>().cloned();
    match settings.client_certificates {
        ClientCertificates::Required if shown.is_none() => Err(ErrorCode::ClientCertificateRequired),
        _ => Ok(shown),
    }
}

/// The `Authorization` header's value, without `Bearer` if that is its scheme. Agents may also
/// present their keys without a scheme.
fn presented(request: &HttpRequest) -> Option<&str> {
    bearer(request.headers()).or_else(|| Some(request.headers().get("authorization")?.to_str().ok()?.trim()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn keys_are_presented_bare_or_as_bearer() {
        let shown = |header: &str| {
            let request = TestRequest::get().insert_header(("authorization", header)).to_http_request();
            presented(&request).map(str::to_owned)
        };
        assert_eq!(shown("one").as_deref(), Some("one"));
        assert_eq!(shown("Bearer two").as_deref(), Some("two"));
        assert_eq!(shown("bearer  two ").as_deref(), Some("two"));
        assert_eq!(shown("Basic two").as_deref(), Some("Basic two"));
        assert_eq!(shown("").as_deref(), Some(""));
        assert_eq!(shown("Bearer").as_deref(), Some("Bearer"));
    }
}
