//! Ownership as a type: a handler that takes an [`OwnedSession`] is reached by the session's owner only.

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use common::{error::ErrorCode, id::SessionId};
use std::future::{Ready, ready};

use super::{authority::SessionAuthority, cookie::COOKIE, token::Session};
use crate::http::{ClientAddress, Refusal, Throttle};

/// How a client proved that a session is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// `Authorization: Bearer <token>`: no page of another site can make a browser send it.
    Bearer,
    /// The cookie, which a browser sends by itself.
    Cookie,
}

/// A session whose owner sent this request. Where the path names a session (`{client_id}`), it is that one.
///
/// Refusals, in this order: 400 `invalid_session_id` for a path that names none, 401 without valid credentials (429
/// after too many forged ones), 403 with those of another session.
#[derive(Clone, Copy, Debug)]
pub struct OwnedSession {
    /// The session.
    pub session: Session,
    /// How it was proved.
    pub proof: Proof,
}

impl OwnedSession {
    /// What the request's credentials prove; the path is not looked at.
    ///
    /// # Errors
    /// `unauthorized`, `credentials_expired`, `session_ended`.
    pub fn of(request: &HttpRequest) -> Result<Self, ErrorCode> {
        let authority = request.app_data::<web::Data<SessionAuthority>>().ok_or(ErrorCode::Internal)?;
        if let Some(value) = request.headers().get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer).ok_or(ErrorCode::Unauthorized)?;
            return authority.recognise(token).map(|session| Self { session, proof: Proof::Bearer });
        }
        let cookie = request.cookie(COOKIE).ok_or(ErrorCode::Unauthorized)?;
        authority.recognise(cookie.value()).map(|session| Self { session, proof: Proof::Cookie })
    }
}

impl FromRequest for OwnedSession {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(owned(request))
    }
}

fn owned(request: &HttpRequest) -> Result<OwnedSession, Refusal> {
    let named: Option<SessionId> = match request.match_info().get("client_id") {
        Some(text) => Some(text.parse().map_err(|_| ErrorCode::InvalidSessionId)?),
        None => None,
    };
    let owned = OwnedSession::of(request).map_err(|code| refusal(request, code))?;
    if named.is_some_and(|id| id != owned.session.id) { Err(ErrorCode::Forbidden.into()) } else { Ok(owned) }
}

/// A token that nobody signed costs its address a wait.
fn refusal(request: &HttpRequest, code: ErrorCode) -> Refusal {
    let throttle = request.app_data::<web::Data<Throttle>>();
    let has_token = request.headers().contains_key(header::AUTHORIZATION) || request.cookie(COOKIE).is_some();
    match throttle {
        Some(throttle) if code == ErrorCode::Unauthorized && has_token => throttle.on_forged_token(ClientAddress::of(request)),
        _ => code.into(),
    }
}

/// The token of `Bearer <token>`; the scheme's case does not matter.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
