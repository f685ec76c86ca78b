//! Errors over HTTP.

use actix_web::{HttpResponse, Resource, ResponseError, Route, http::StatusCode, web};
use common::error::{ClientError, ErrorCode};
use store::StoreError;
use transport::UPGRADE_REQUIRED;

/// An error over HTTP.
pub fn refusal(error: ClientError) -> HttpResponse {
    let status = StatusCode::from_u16(error.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header(("WWW-Authenticate", "Bearer"));
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        for header in UPGRADE_REQUIRED {
            response.insert_header(header);
        }
    }
    if let Some(seconds) = error.retry_after_seconds() {
        response.insert_header(("Retry-After", seconds));
    }
    let mut response = response.content_type("application/json").body(error.to_http_body());
    response.extensions_mut().insert(error.code);
    response
}

/// A path with one method; others are refused.
pub fn only(path: &str, route: Route) -> Resource {
    web::resource(path).route(route).default_service(web::to(|| async { refusal(ErrorCode::MethodNotAllowed.into()) }))
}

/// A request that is refused.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Refused(#[from] ClientError);

impl Refused {
    /// The request cannot be read.
    pub fn bad_request(fault: impl std::fmt::Display) -> Self {
        Self(ClientError::with_message(ErrorCode::BadRequest, fault.to_string()))
    }
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self(code.into())
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store cannot be read");
        ErrorCode::StoreUnavailable.into()
    }
}

impl ResponseError for Refused {
    fn status_code(&self) -> StatusCode {
        self.error_response().status()
    }

    fn error_response(&self) -> HttpResponse {
        refusal(self.0.clone())
    }
}
