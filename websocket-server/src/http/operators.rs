//! Health checks and statistics.

use actix_web::{HttpRequest, HttpResponse, web};
use common::error::{ClientError, ErrorCode};
use serde_json::json;
use tokio::task::spawn_blocking;
use transport::{metrics::CONTENT_TYPE, operator::Operators};

use super::{
    credentials::check_operator,
    metrics,
    refusal::{Refused, refusal},
    stats,
};
use crate::{broker::Broker, lifecycle::Readiness, state::GetStats};

/// `GET /health/live`: the process answers.
pub async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "live" }))
}

/// `GET /health/ready`: 503 while starting or draining. A fault of the certificate is reported, but
/// is no reason to be unready: whoever can read the answer was served.
pub async fn ready(broker: web::Data<Broker>) -> HttpResponse {
    match broker.lifecycle.readiness() {
        Readiness::Ready if !broker.channels.store().health().is_ready() => {
            let fault = broker.channels.store().health().fault.map_or_else(|| "closed".to_owned(), |fault| fault.to_string());
            refusal(ClientError::with_message(ErrorCode::StoreUnavailable, format!("durable messages cannot be stored: {fault}")))
        }
        Readiness::Ready => HttpResponse::Ok().json(match &broker.http.tls {
            Some(tls) => json!({ "status": "ready", "tls": { "fault": tls.fault().map(|fault| fault.code) } }),
            None => json!({ "status": "ready" }),
        }),
        Readiness::Starting => refusal(ClientError::with_message(ErrorCode::NotReady, "starting")),
        Readiness::Draining => refusal(ClientError::with_message(ErrorCode::NotReady, "draining")),
    }
}

/// `GET /stats`, for operators.
pub async fn stats(request: HttpRequest, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    check_operator(&broker, &request, Operators::check_observer)?;
    let tracked = broker.state.send(GetStats).await.map_err(|_| ErrorCode::NotReady)?;
    // A store that cannot be read does not keep the rest of the page away.
    let positions = broker.channels.store().positions().await.ok();
    // Not on this thread: it carries messages.
    let page =
        spawn_blocking(move || stats::to_json(&broker, tracked, positions.as_ref())).await.map_err(|_| ErrorCode::Internal)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).json(page))
}

/// `GET /metrics`, for those who may see `/stats`.
pub async fn metrics(request: HttpRequest, broker: web::Data<Broker>) -> Result<HttpResponse, Refused> {
    check_operator(&broker, &request, Operators::check_observer)?;
    let tracked = broker.state.send(GetStats).await.map_err(|_| ErrorCode::NotReady)?;
    // Not on this thread: it carries messages.
    let text = spawn_blocking(move || metrics::scrape(&broker, &tracked)).await.map_err(|_| ErrorCode::Internal)?;
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type(CONTENT_TYPE).body(text))
}
