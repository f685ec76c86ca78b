//! `GET /ws` and `GET /ws/{client_id}`: from a request to a [`ProxyActor`].

use std::sync::Arc;

use actix::Actor;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use common::{
    assertion::{Acks, ClientIdentity, Prefetch, Reading},
    error::ErrorCode,
    id::ClientName,
    message::{agent_id_in_query, client_name_in_query},
};
use serde::Deserialize;

use super::{actor::ProxyActor, environment::ProxyEnvironment, websocket::WebSocketFace};
use crate::{
    http::{ClientAddress, Refusal, Throttle, only, require_own_origin},
    sessions::{OpenSockets, OwnedSession, SessionAuthority},
};

/// How many characters of a `User-Agent` are sent to the broker.
const USER_AGENT_LENGTH: usize = 256;

#[derive(Deserialize)]
struct Parameters {
    agent: Option<String>,
    #[serde(default)]
    ack: Acks,
    prefetch: Option<String>,
    client: Option<String>,
    #[serde(default)]
    resume: bool,
}

impl Parameters {
    /// How the client wants to read. `name` names a client that does not name itself, so that the
    /// broker recognizes it when this edge dials again or the client reconnects.
    fn reading(self, name: impl FnOnce() -> Option<ClientName>) -> Result<Reading, Refusal> {
        let Self { ack, prefetch, client, resume, .. } = self;
        let client = client.as_deref().map(|text| client_name_in_query("client", text)).transpose()?;
        let prefetch = Prefetch::in_query(prefetch.as_deref(), ack)?;
        let named = Reading { acks: ack, prefetch, client, resume, ..Reading::default() };
        if named.is_named_by_edge() {
            return Err(Refusal::with_message(ErrorCode::BadRequest, "client names that begin with `@edge/` are reserved"));
        }
        Ok(Reading { client: named.client.clone().or_else(name), ..named })
    }
}

/// Opens the socket of the caller's session.
///
/// # Errors
/// Those of [`OwnedSession`]; 403 `origin_not_allowed`, 400 `invalid_agent_id`, 426
/// `upgrade_required`, 429 `too_many_connections`, 503 `at_capacity` and `not_ready`.
pub async fn open(
    request: HttpRequest,
    owned: OwnedSession,
    address: ClientAddress,
    throttle: web::Data<Throttle>,
    environment: web::Data<ProxyEnvironment>,
    sockets: web::Data<OpenSockets>,
    authority: web::Data<SessionAuthority>,
) -> Result<HttpResponse, Refusal> {
    require_own_origin(&request)?;
    let share = throttle.open_socket(address)?;
    let parameters = web::Query::<Parameters>::from_query(request.query_string())
        .map_err(|error| Refusal::with_message(ErrorCode::BadRequest, format!("the query cannot be read: {error}")))?;
    let parameters = parameters.into_inner();
    let ticket = sockets.into_inner().admit(&owned.session)?.with(share);
    let identity = ClientIdentity {
        socket_id: Some(ticket.socket_id()),
        agent: parameters.agent.as_deref().map(|text| agent_id_in_query("agent", text)).transpose()?,
        ip: Some(address.0.to_string()),
        user_agent: user_agent(&request),
        reading: parameters.reading(|| ticket.seat().and_then(|seat| environment.name.of_client(seat)))?,
        ..owned.session.identity()
    };

    // The session may have been revoked between the check and the admission. Nothing else would
    // close this socket.
    authority.check(&owned.session)?;
    let environment = environment.into_inner();
    let accepted = transport::accept(&request, move |upgraded| {
        let face = WebSocketFace::new(&environment, upgraded);
        ProxyActor::new(environment, identity, address, ticket, face).start();
    });
    Ok(accepted?)
}

/// The routes.
pub fn configure(routes: &mut web::ServiceConfig, environment: &Arc<ProxyEnvironment>) {
    routes
        .app_data(web::Data::from(Arc::clone(environment)))
        .service(web::resource("/ws").route(web::get().to(open)).default_service(only("GET")))
        .service(web::resource("/ws/{client_id}").route(web::get().to(open)).default_service(only("GET")));
}

/// The `User-Agent` of the client, as it is sent to the broker.
pub(crate) fn user_agent(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::USER_AGENT)?.to_str().ok()?;
    Some(value.chars().take(USER_AGENT_LENGTH).collect())
}
