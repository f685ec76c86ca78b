//! Which other origins' pages may call the edge's HTTP.

use actix_cors::Cors;
use actix_web::http::header;

/// How long a browser may remember the answer, in seconds.
const REMEMBERED: usize = 600;

/// Middleware: lets pages of these origins read answers, with their credentials.
pub fn allow_origins(origins: &[String]) -> Cors {
    let cors = origins.iter().fold(Cors::default(), |cors, origin| cors.allowed_origin(origin));
    cors.allowed_methods(["GET", "HEAD", "POST", "DELETE"])
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
        .supports_credentials()
        // What other origins may not do is refused where it changes something; that they may not read, browsers see to.
        .block_on_origin_mismatch(false)
        .max_age(REMEMBERED)
}
