//! `POST /api/client`, `GET /api/client/{client_id}`, `DELETE /api/client/session`.

use std::{sync::Arc, time::SystemTime};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use common::{close::CloseCode, id::SessionId, timestamp};
use serde::Serialize;

use super::{
    authority::SessionAuthority,
    cookie::CookiePolicy,
    open_sockets::{OpenSockets, Order},
    owned::{OwnedSession, Proof},
    token::Session,
};
use crate::http::{ClientAddress, Refusal, Route, Throttle, require_own_origin};

/// The answer to `POST /api/client`.
#[derive(Serialize)]
struct Registered {
    client_id: SessionId,
    created_at: String,
    expires_at: String,
    is_authenticated: bool,
    wallet_address: Option<String>,
    new_session: bool,
    /// For clients without cookies. Null to a caller that proved its session by cookie: what script in a page cannot read, it
    /// does not get told either.
    token: Option<String>,
}

/// The answer to `GET /api/client/{client_id}`.
#[derive(Serialize)]
struct Described {
    client_id: SessionId,
    created_at: String,
    is_authenticated: bool,
    wallet_address: Option<String>,
    connections: usize,
}

/// Registers a session, or confirms the one the caller owns and renews its token when half of its life is over.
///
/// # Errors
/// 403 `origin_not_allowed`, 429 `rate_limited`, 500.
pub async fn register(
    request: HttpRequest,
    authority: web::Data<SessionAuthority>,
    cookies: web::Data<CookiePolicy>,
    throttle: web::Data<Throttle>,
) -> Result<HttpResponse, Refusal> {
    // What is expired, ended or rubbish is no reason to refuse a new session.
    let owned = OwnedSession::of(&request).ok();
    let proof = owned.map(|owned| owned.proof);
    if proof != Some(Proof::Bearer) {
        require_own_origin(&request)?;
    }
    let (session, token) = match owned {
        Some(owned) => match authority.renew(&owned.session)? {
            Some((session, token)) => (session, Some(token)),
            None => (owned.session, None),
        },
        None => {
            throttle.take(Route::Registration, ClientAddress::of(&request))?;
            let (session, token) = authority.register()?;
            tracing::debug!(session = %session.id, "session registered");
            (session, Some(token))
        }
    };

    let mut response = HttpResponse::build(if owned.is_some() { StatusCode::OK } else { StatusCode::CREATED });
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(token) = token.clone().filter(|_| proof != Some(Proof::Bearer)) {
        response.cookie(cookies.keep(&request, token, session.expires_at));
    }
    let shown = match proof {
        None => token,
        Some(Proof::Bearer) => token.or_else(|| presented_token(&request)),
        Some(Proof::Cookie) => None,
    };
    Ok(response.json(Registered {
        client_id: session.id,
        created_at: text(session.created_at),
        expires_at: text(session.expires_at),
        is_authenticated: false,
        wallet_address: None,
        new_session: owned.is_none(),
        token: shown,
    }))
}

/// Describes the caller's session.
///
/// # Errors
/// Those of [`OwnedSession`].
pub async fn describe(owned: OwnedSession, sockets: web::Data<OpenSockets>) -> HttpResponse {
    let Session { id, created_at, .. } = owned.session;
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(Described {
        client_id: id,
        created_at: text(created_at),
        is_authenticated: false,
        wallet_address: None,
        connections: sockets.of_session(id),
    })
}

/// Ends the caller's session: its tokens, its cookie, its open sockets.
///
/// # Errors
/// Those of [`OwnedSession`]; 403 `origin_not_allowed`.
pub async fn end(
    request: HttpRequest,
    owned: OwnedSession,
    authority: web::Data<SessionAuthority>,
    cookies: web::Data<CookiePolicy>,
    sockets: web::Data<OpenSockets>,
) -> Result<HttpResponse, Refusal> {
    if owned.proof == Proof::Cookie {
        require_own_origin(&request)?;
    }
    authority.end(owned.session.id);
    sockets.order_session(owned.session.id, Order::Close { code: CloseCode::SESSION_ENDED, reason: "the session was ended" });
    tracing::debug!(session = %owned.session.id, "session ended");
    Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).cookie(cookies.clear(&request)).finish())
}

/// The routes, to be put under `/api`.
pub fn configure(routes: &mut web::ServiceConfig) {
    let only = |allow| web::route().to(move || async move { Err::<HttpResponse, _>(Refusal::method_not_allowed(allow)) });
    routes
        .service(web::resource("/client").route(web::post().to(register)).default_service(only("POST")))
        .service(web::resource("/client/session").route(web::delete().to(end)).default_service(only("DELETE")))
        .service(web::resource("/client/{client_id}").route(web::get().to(describe)).default_service(only("GET")));
}

/// Hands the shared state to the extractors and handlers.
pub fn share(
    routes: &mut web::ServiceConfig,
    authority: &Arc<SessionAuthority>,
    sockets: &Arc<OpenSockets>,
    cookies: CookiePolicy,
) {
    routes
        .app_data(web::Data::from(Arc::clone(authority)))
        .app_data(web::Data::from(Arc::clone(sockets)))
        .app_data(web::Data::new(cookies));
}

fn presented_token(request: &HttpRequest) -> Option<String> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    value.split_once(' ').map(|(_, token)| token.trim().to_owned())
}

fn text(time: SystemTime) -> String {
    String::from_utf8_lossy(&timestamp::format(time)).into_owned()
}
