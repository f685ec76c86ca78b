//! Prevents pages of other sites from acting with a browser's cookie and from opening sockets.
//!
//! Every request that changes something is checked here, whatever its route, so that no handler has
//! to. WebSockets, which are opened by GET, are checked when they are opened. Besides, the cookie
//! is `SameSite=Strict`.

use actix_web::{
    Error, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web,
};
use common::error::ErrorCode;
use transport::{OriginRule, bearer};

use super::Refusal;

/// Checks a request against the origin rule.
///
/// # Errors
/// 403 `origin_not_allowed`.
pub fn require_own_origin(request: &HttpRequest) -> Result<(), Refusal> {
    let admits = match request.app_data::<web::Data<OriginRule>>() {
        Some(rule) => rule.admits(request),
        None => OriginRule::default().admits(request),
    };
    if admits { Ok(()) } else { Err(ErrorCode::OriginNotAllowed.into()) }
}

/// Middleware: refuses what a page of another site may have made a browser send. A page cannot make
/// it send a bearer token.
///
/// # Errors
/// Those of the services inside.
pub async fn refuse_forged(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let changes_nothing = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !changes_nothing
        && bearer(request.headers()).is_none()
        && let Err(refusal) = require_own_origin(request.request())
    {
        return Ok(request.error_response(refusal));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}
