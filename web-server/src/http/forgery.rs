//! What pages of other sites may not do: act with a browser's cookie, and open sockets.
//!
//! Every request that changes something is looked at here, whatever its route, so that no handler has to; WebSockets, which are opened by
//! GET, are looked at where they are opened. The cookie is `SameSite=Strict` besides.

use actix_web::{
    Error, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::Next,
    web,
};
use common::error::ErrorCode;
use transport::OriginRule;

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
        && !has_bearer(request.request())
        && let Err(refusal) = require_own_origin(request.request())
    {
        return Ok(request.error_response(refusal));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

fn has_bearer(request: &HttpRequest) -> bool {
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value.and_then(|value| value.split_once(' ')).is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
}
