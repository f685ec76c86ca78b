//! `POST /api/client`, `GET /api/client/{client_id}`, `DELETE /api/client/session`.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use common::{close::CloseCode, error::ErrorCode, id::SessionId, timestamp};
use serde::Serialize;
use tokio::sync::oneshot;
use transport::RouteFamily;

use super::{
    authority::SessionAuthority,
    cookie::CookiePolicy,
    credentials::Credentials,
    open_sockets::{OpenSockets, Order},
    owned::{OwnedSession, PacedSession, Proof, presented},
    token::Session,
};
use crate::http::{ClientAddress, Refusal, Throttle, note_session, only};

/// A session as its owner sees it.
#[derive(Serialize)]
struct Described<'a> {
    client_id: SessionId,
    created_at: String,
    is_authenticated: bool,
    user_id: Option<&'a str>,
    wallet_address: Option<&'a str>,
}

impl<'a> Described<'a> {
    fn of(session: &'a Session) -> Self {
        let login = session.login();
        Self {
            client_id: session.id,
            created_at: timestamp::text(session.created_at),
            is_authenticated: login.is_some(),
            user_id: login.map(|login| login.user.as_str()),
            wallet_address: login.and_then(|login| login.wallet.as_deref()),
        }
    }
}

/// The answer that returns a session.
#[derive(Serialize)]
struct HandedOut<'a> {
    #[serde(flatten)]
    session: Described<'a>,
    expires_at: String,
    new_session: bool,
    /// For clients without cookies. Null to a caller that proved its session by cookie, because a
    /// page's script must not read the token.
    token: Option<String>,
}

/// Answers with a session and its token: in the cookie, in the body, or in both if the caller
/// presented neither.
pub fn hand_out(
    request: &HttpRequest,
    cookies: CookiePolicy,
    proof: Option<Proof>,
    session: &Session,
    token: Option<String>,
) -> HttpResponse {
    let is_new = proof.is_none();
    let mut response = HttpResponse::build(if is_new { StatusCode::CREATED } else { StatusCode::OK });
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(token) = token.clone().filter(|_| proof != Some(Proof::Bearer)) {
        response.cookie(cookies.keep(request, token, session.expires_at));
    }
    let shown = match proof {
        None => token,
        Some(Proof::Bearer) => token.or_else(|| presented(request).ok().map(|(token, _)| token)),
        Some(Proof::Cookie) => None,
    };
    response.json(HandedOut {
        session: Described::of(session),
        expires_at: timestamp::text(session.expires_at),
        new_session: is_new,
        token: shown,
    })
}

/// Registers a session, or confirms the caller's and renews its token when half of its life is
/// over.
///
/// # Errors
/// 429 `rate_limited`, 500.
pub async fn register(
    request: HttpRequest,
    authority: web::Data<SessionAuthority>,
    cookies: web::Data<CookiePolicy>,
    throttle: web::Data<Throttle>,
) -> Result<HttpResponse, Refusal> {
    let address = ClientAddress::of(&request);
    let owned = match OwnedSession::of(&request).await {
        // It may be valid: it was not checked, or could not be.
        Err(code @ (ErrorCode::RateLimited | ErrorCode::NotReady)) => return Err(code.into()),
        // Expired, ended or invalid credentials do not prevent a new session.
        owned => owned.ok(),
    };
    let proof = owned.as_ref().map(|owned| owned.proof);
    match &owned {
        Some(owned) => throttle.take_of(RouteFamily::Session, owned.session.id, address)?,
        None => throttle.take(RouteFamily::Registration, address)?,
    }
    let (session, token) = match owned {
        Some(owned) => match authority.renew(&owned.session)? {
            Some((session, token)) => (session, Some(token)),
            None => (owned.session, None),
        },
        None => {
            let (session, token) = authority.register()?;
            tracing::debug!(session = %session.id, "session registered");
            (session, Some(token))
        }
    };
    Ok(hand_out(&request, *cookies.into_inner(), proof, &session, token))
}

/// Describes the caller's session.
///
/// # Errors
/// Those of [`PacedSession`].
pub async fn describe(PacedSession(owned): PacedSession, sockets: web::Data<OpenSockets>) -> HttpResponse {
    #[derive(Serialize)]
    struct WithConnections<'a> {
        #[serde(flatten)]
        session: Described<'a>,
        connections: usize,
    }
    let connections = sockets.of_session(owned.session.id);
    let described = WithConnections { session: Described::of(&owned.session), connections };
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(described)
}

/// Ends the caller's session: its tokens, its cookie, its open sockets.
///
/// # Errors
/// Those of [`PacedSession`].
pub async fn end(
    request: HttpRequest,
    PacedSession(owned): PacedSession,
    authority: web::Data<SessionAuthority>,
    cookies: web::Data<CookiePolicy>,
    sockets: web::Data<OpenSockets>,
) -> Result<HttpResponse, Refusal> {
    // A caller that leaves while it is being stored is logged out all the same.
    let written = authority.into_inner().end(&owned.session);
    let _answering = close_when_answered(sockets.into_inner(), owned.session.id);
    note_session(&request, owned.session.id, "ended its session");
    tracing::debug!(session = %owned.session.id, "session ended");
    written.await;
    Ok(HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).cookie(cookies.clear(&request)).finish())
}

/// Lets nothing pass any more over the present sockets of an ended session, and closes them when
/// the answer was sent. A page whose socket closes asks for a new session at once; the answer that
/// removes the old cookie must not arrive after the one that brings the new cookie.
///
/// The caller holds the result until there is an answer. The answer is written in the same turn of
/// this worker's thread, and the sockets are closed in a later one.
fn close_when_answered(sockets: Arc<OpenSockets>, session: SessionId) -> oneshot::Sender<()> {
    let (answering, answered) = oneshot::channel();
    let open = sockets.hush(session);
    actix_rt::spawn(async move {
        // An error: the answer was sent, or nobody waits for it any more.
        let _ = answered.await;
        let order = Order::Close { code: CloseCode::SESSION_ENDED, reason: "the session was ended" };
        open.into_iter().for_each(|socket| sockets.order_one(socket, order.clone()));
    });
    answering
}

/// The routes, for the scope `/api`.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes
        .service(web::resource("/client").route(web::post().to(register)).default_service(only("POST")))
        .service(web::resource("/client/session").route(web::delete().to(end)).default_service(only("DELETE")))
        .service(web::resource("/client/{client_id}").route(web::get().to(describe)).default_service(only("GET")));
}

/// Gives the shared state to the extractors and handlers.
pub fn share(
    routes: &mut web::ServiceConfig,
    authority: &Arc<SessionAuthority>,
    credentials: &Arc<Credentials>,
    sockets: &Arc<OpenSockets>,
    cookies: CookiePolicy,
) {
    routes
        .app_data(web::Data::from(Arc::clone(authority)))
        .app_data(web::Data::from(Arc::clone(credentials)))
        .app_data(web::Data::from(Arc::clone(sockets)))
        .app_data(web::Data::new(cookies));
}
