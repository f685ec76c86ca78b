//! `GET /api/v1/channels/{channel}/history`: the history of a channel, for a session that may read
//! it.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use common::error::{ClientError, ErrorCode};

use crate::{
    http::{BrokerApi, Refusal, only},
    sessions::{PacedSession, sharing::Sharing},
};

/// Asks the broker for the caller and passes on its answer: own inboxes, broadcasts that reach the
/// session, topics that it subscribes to.
///
/// # Errors
/// Those of [`PacedSession`] and of the broker's route; 503 `not_ready`.
async fn history(
    request: actix_web::HttpRequest,
    PacedSession(owned): PacedSession,
    channel: web::Path<String>,
    broker: web::Data<BrokerApi>,
    sharing: web::Data<Sharing>,
) -> Result<HttpResponse, Refusal> {
    let answer = broker.history(&owned.session.identity(), &channel, request.query_string()).await?;
    if answer.status == 401 {
        sharing.catch_up().await;
        sharing.check(&owned.session.identity())?;
        // The broker does not accept the edge; the caller is not to blame.
        return Err(ClientError::with_message(ErrorCode::NotReady, "the broker does not know this edge").into());
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok(HttpResponse::build(status)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(answer.body))
}

/// The route, for the scope `/api`.
pub fn configure(routes: &mut web::ServiceConfig) {
    routes.service(web::resource("/v1/channels/{channel:.+}/history").route(web::get().to(history)).default_service(only("GET")));
}
