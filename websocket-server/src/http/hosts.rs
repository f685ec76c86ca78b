//! Under which names the broker answers: see [`transport::HostRule`].
//!
//! Everything here but health asks for a secret. A request under another name is refused unless it brings one; what it brings is judged
//! by its route, where wrong ones cost a wait, so that a strange name is no way to guess. The development key is no secret.

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

use super::refusal;
use crate::broker::Broker;

/// Marks a request that went to a name which is not the broker's.
#[derive(Clone, Copy, Debug)]
struct UnderAnotherName;

/// Middleware: refuses a request under another name that brings no secret, and marks one that brings something.
pub async fn require_own_host(
    broker: web::Data<Broker>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !broker.hosts.admits(request.request()) {
        if !request.headers().contains_key(header::AUTHORIZATION) {
            return Ok(request.into_response(refusal(ErrorCode::HostNotAllowed.into())));
        }
        request.extensions_mut().insert(UnderAnotherName);
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Checks that a key which was found good is good under the name that the request went to.
///
/// # Errors
/// `host_not_allowed` for the development key under another name: a page of any site could show it.
pub fn check_key(request: &HttpRequest, presented: Option<&str>) -> Result<(), ClientError> {
    let is_open_secret = presented == Some(DEV_AGENT_KEY);
    if is_open_secret && request.extensions().contains::<UnderAnotherName>() {
        return Err(ErrorCode::HostNotAllowed.into());
    }
    Ok(())
}
