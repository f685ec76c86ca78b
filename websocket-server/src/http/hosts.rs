//! The names under which the broker answers: see [`transport::HostRule`].
//!
//! Every route except health needs a secret. A request under another name is refused unless it
//! carries one. Its route checks the secret, and wrong ones cost a wait, so another name is no way
//! to guess. The development key does not count as a secret.

use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header,
    middleware::Next,
    web,
};
use common::{
    config::DEV_AGENT_KEY,
    error::{ClientError, ErrorCode},
};

use super::refusal::refusal;
use crate::broker::Broker;

/// Marks a request to a name that is not the broker's.
#[derive(Clone, Copy, Debug)]
struct UnderAnotherName;

/// Middleware: refuses a request under another name without a secret, and marks one with a secret.
pub async fn require_own_host(
    broker: web::Data<Broker>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !broker.http.hosts.admits(request.request()) {
        if !request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(request.into_response(refusal(ErrorCode::HostNotAllowed.into())));
        }
        request.extensions_mut().insert(UnderAnotherName);
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Checks that a valid key is also valid under the name that the request was sent to.
///
/// # Errors
/// `host_not_allowed` for the development key under another name: a page of any site could present
/// it.
pub fn check_key(request: &HttpRequest, presented: Option<&str>) -> Result<(), ClientError> {
    let is_open_secret = presented == Some(DEV_AGENT_KEY);
    if is_open_secret && request.extensions().contains::<UnderAnotherName>() {
        return Err(ErrorCode::HostNotAllowed.into());
    }
    Ok(())
}
