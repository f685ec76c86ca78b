//! Ownership as a type: only the session's owner reaches a handler that takes an [`OwnedSession`].

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use common::{error::ErrorCode, id::SessionId};
use futures_util::future::LocalBoxFuture;
use transport::{RouteFamily, bearer};

use super::{
    cookie::{COOKIE, CookiePolicy},
    credentials::Credentials,
    token::Session,
};
use crate::http::{ClientAddress, Refusal, Throttle};

/// The prefix of a subprotocol that carries a token. Browser scripts can set no other header on a
/// WebSocket.
const BEARER_PROTOCOL: &str = "bearer.";

/// How a client proved that a session is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `Authorization: Bearer <token>`, or the subprotocol `bearer.<token>`: a page of another site
    /// cannot make a browser send it.
    Bearer,
    /// The cookie, which a browser sends by itself.
    Cookie,
}

/// A session whose owner sent this request. If the path names a session (`{client_id}`), it is that
/// one.
///
/// Refusals, in this order: 400 `invalid_session_id` for a path without a valid id; 401 without
/// valid credentials (429 after too many forged ones, or too many signature checks for an address);
/// 403 with those of another session.
#[derive(Clone, Debug)]
pub struct OwnedSession {
    /// The session.
    pub session: Session,
    /// How it was proved.
    pub proof: Proof,
}

impl OwnedSession {
    /// The session of the request's credentials, whatever the path says.
    ///
    /// # Errors
    /// `unauthorized`, and those of [`Credentials::recognise`].
    pub async fn of(request: &HttpRequest) -> Result<Self, ErrorCode> {
        let credentials = request.app_data::<web::Data<Credentials>>().ok_or(ErrorCode::Internal)?;
        let (token, proof) = presented(request)?;
        let pay = || match request.app_data::<web::Data<Throttle>>() {
            Some(throttle) => throttle.pay_for_check(None, ClientAddress::of(request)),
            None => Err(ErrorCode::Internal),
        };
        Ok(Self { session: credentials.recognise(&token, pay).await?, proof })
    }
}

impl FromRequest for OwnedSession {
    type Error = Refusal;
    type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move { owned(&request).await })
    }
}

/// Declares an extractor of an [`OwnedSession`] at the rate of a family. The session pays, or its
/// address if the request proves none.
macro_rules! paced {
    ($(#[$doc:meta])* $name:ident = $family:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub OwnedSession);

        impl FromRequest for $name {
            type Error = Refusal;
            type Future = LocalBoxFuture<'static, Result<Self, Refusal>>;

            fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
                let request = request.clone();
                Box::pin(async move { paced(&request, RouteFamily::$family).await.map(Self) })
            }
        }
    };
}

paced! {
    /// A session whose owner asks about it, within the rate.
    PacedSession = Session
}
paced! {
    /// A session whose owner posts a message or a request, within the rate.
    CallingSession = Call
}
paced! {
    /// A session whose owner makes a login request, within the rate.
    LoginStep = Login
}

async fn paced(request: &HttpRequest, family: RouteFamily) -> Result<OwnedSession, Refusal> {
    let address = ClientAddress::of(request);
    let throttle = request.app_data::<web::Data<Throttle>>().ok_or(ErrorCode::Internal)?;
    match owned(request).await {
        Ok(owned) => throttle.take_of(family, owned.session.id, address).map(|()| owned),
        Err(refusal) => throttle.take(family, address).and(Err(refusal)),
    }
}

async fn owned(request: &HttpRequest) -> Result<OwnedSession, Refusal> {
    let named: Option<SessionId> = match request.match_info().get("client_id") {
        Some(text) => Some(text.parse().map_err(|_| ErrorCode::InvalidSessionId)?),
        None => None,
    };
    let owned = OwnedSession::of(request).await.map_err(|code| refusal(request, code))?;
    if named.is_some_and(|id| id != owned.session.id) { Err(ErrorCode::Forbidden.into()) } else { Ok(owned) }
}

/// A token that nobody signed costs its address a wait. A missing token costs nothing.
fn refusal(request: &HttpRequest, code: ErrorCode) -> Refusal {
    match request.app_data::<web::Data<Throttle>>() {
        Some(throttle) if presented(request).is_ok() => throttle.on_refused_token(ClientAddress::of(request), code),
        _ => code.into(),
    }
}

/// The token that a request presents: the first of the header, the subprotocol and the cookie.
///
/// # Errors
/// `unauthorized` if there is none, or if it does not have the form of a bearer token (RFC 6750,
/// section 2.1).
pub fn presented(request: &HttpRequest) -> Result<(String, Proof), ErrorCode> {
    found(request).filter(|(token, _)| is_token(token)).ok_or(ErrorCode::Unauthorized)
}

fn found(request: &HttpRequest) -> Option<(String, Proof)> {
    if request.headers().contains_key(header::AUTHORIZATION) {
        return bearer(request.headers()).map(|token| (token.to_owned(), Proof::Bearer));
    }
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    if let Some(token) =
        offered.flat_map(|list| list.split(',')).find_map(|protocol| protocol.trim().strip_prefix(BEARER_PROTOCOL))
    {
        return Some((token.to_owned(), Proof::Bearer));
    }
    let policy = request.app_data::<web::Data<CookiePolicy>>();
    let name = policy.map_or(COOKIE, |policy| policy.as_ref().name(request));
    request.cookie(name).map(|cookie| (cookie.value().to_owned(), Proof::Cookie))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}
