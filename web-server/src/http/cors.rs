//! Which other origins' pages may use the edge's HTTP API.

use actix_cors::Cors;
use actix_web::http::header;

use super::outbound::IDEMPOTENCY_KEY;

/// How long a browser may remember the answer, in seconds.
const REMEMBERED: usize = 600;

/// Middleware: lets pages of these origins read answers, with their credentials.
pub fn allow_origins(origins: &[String]) -> Cors {
    let cors = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    cors.allowed_methods(["GET", "HEAD", "POST", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .allowed_header(IDEMPOTENCY_KEY)
        .expose_headers([header::RETRY_AFTER])
        .supports_credentials()
        // Requests of other origins that change something are refused elsewhere; browsers keep
        // other origins from reading answers.
        .block_on_origin_mismatch(false)
        .max_age(REMEMBERED)
}
