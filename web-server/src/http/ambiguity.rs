//! Requests with two sessions are refused: their session would depend on who reads them.

use actix_web::{
    Error,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{self, HeaderMap},
    middleware::Next,
    web,
};
use common::error::ErrorCode;

use super::Refusal;
use crate::sessions::{COOKIE, CookiePolicy};

/// Middleware: refuses a request with more than one cookie of a session, in one header line or
/// several.
///
/// # Errors
/// Those of the services inside.
pub async fn refuse_ambiguous(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    // Only the cookie that counts is checked: anybody may have planted the other name.
    let policy = request.app_data::<web::Data<CookiePolicy>>();
    let name = policy.map_or(COOKIE, |policy| policy.as_ref().name(request.request()));
    if cookies(request.headers(), name) > 1 {
        let message = format!("the request has more than one cookie named {name}: send one");
        return Ok(request.error_response(Refusal::with_message(ErrorCode::BadRequest, message)));
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

fn cookies(headers: &HeaderMap, name: &str) -> usize {
    let cookies = headers.get_all(header::COOKIE).filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(';'));
    cookies.filter(|cookie| cookie.split_once('=').is_some_and(|(known, _)| known.trim() == name)).count()
}
