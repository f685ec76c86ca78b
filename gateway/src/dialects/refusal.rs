//! A refusal over HTTP, before a socket opens, in the form of the bridge.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use common::error::{ClientError, ErrorCode};
use transport::UPGRADE_REQUIRED;

/// An error as an HTTP answer: `{"error":{"code","message","temporary"}}`. A dialect whose clients
/// read another form makes its own answer of the error.
#[derive(Debug)]
pub struct HttpRefusal(pub ClientError);

impl HttpRefusal {
    /// The permanent code.
    pub const fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The answer with another body, in the form of a dialect.
    pub fn with_body(&self, content_type: &str, body: String) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        response.content_type(content_type).insert_header((header::CACHE_CONTROL, "no-store"));
        if self.status_code() == StatusCode::UPGRADE_REQUIRED {
            for header in UPGRADE_REQUIRED {
                response.insert_header(header);
            }
        }
        if let Some(seconds) = self.0.retry_after_seconds() {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.body(body)
    }
}

impl From<ErrorCode> for HttpRefusal {
    fn from(code: ErrorCode) -> Self {
        Self(ClientError::new(code))
    }
}

impl From<ClientError> for HttpRefusal {
    fn from(error: ClientError) -> Self {
        Self(error)
    }
}

impl fmt::Display for HttpRefusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl ResponseError for HttpRefusal {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code().row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        self.with_body("application/json", self.0.to_http_body())
    }
}
