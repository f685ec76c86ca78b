//! A refused request: the status of the error table, and the error as JSON.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError, Route,
    http::{StatusCode, header},
    web,
};
use common::error::{ClientError, ErrorCode};
use identity::siwe::SiweError;
use transport::UPGRADE_REQUIRED;

/// An error as an HTTP answer: `{"error":{"code","message","temporary"}}`.
#[derive(Debug)]
pub struct Refusal {
    error: ClientError,
    allow: Option<&'static str>,
}

impl Refusal {
    /// A refusal with its own message.
    pub fn with_message(code: ErrorCode, message: impl Into<String>) -> Self {
        ClientError::with_message(code, message).into()
    }

    /// 405, with the allowed methods, such as `GET, HEAD`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..ErrorCode::MethodNotAllowed.into() }
    }

    /// The permanent code.
    pub fn code(&self) -> ErrorCode {
        self.error.code
    }

    /// The error alone.
    pub fn into_error(self) -> ClientError {
        self.error
    }
}

/// The answer of a path to methods that it does not have; see [`Refusal::method_not_allowed`].
pub fn only(allow: &'static str) -> Route {
    web::route().to(move || async move { Err::<HttpResponse, _>(Refusal::method_not_allowed(allow)) })
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        ClientError::new(code).into()
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        Self { error, allow: None }
    }
}

impl From<SiweError> for Refusal {
    fn from(error: SiweError) -> Self {
        ClientError::from(error).into()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(out)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.error.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type("application/json").insert_header((header::CACHE_CONTROL, "no-store"));
        if let Some(allow) = self.allow {
            response.insert_header((header::ALLOW, allow));
        }
        if self.status_code() == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if self.status_code() == StatusCode::UPGRADE_REQUIRED {
            for header in UPGRADE_REQUIRED {
                response.insert_header(header);
            }
        }
        if let Some(seconds) = self.error.retry_after_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.body(self.error.to_http_body())
    }
}
