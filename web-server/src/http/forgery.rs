//! What pages of other sites may not do: act with a browser's cookie, and open sockets.
//!
//! Every request that changes something is looked at here, whatever its route, so that no handler has to; WebSockets, which are opened by
//! GET, are looked at where they are opened. The cookie is `SameSite=Strict` besides.

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

/// Middleware: refuses what a page of another site may have had a browser send. A bearer token no page can make it send by itself.
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
