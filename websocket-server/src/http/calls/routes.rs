//! The routes of calls, and who may use them.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, http::Method, web};
use common::error::ErrorCode;
use serde::Deserialize;
use transport::answer_later;

use super::{
    call::{Call, CallKind, make},
    caller::Who,
    events,
    who::who,
};
use crate::{
    broker::Broker,
    http::refusal::{Refused, only, refusal},
};

/// The header that names a request, so that a repetition is recognised.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The query of `POST` calls.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CallQuery {
    agent_id: Option<String>,
}

/// Whether a request is a call that sends something.
pub fn is_call(method: &Method, path: &str) -> bool {
    method == Method::POST && ["/api/v1/messages", "/api/v1/request"].contains(&path)
}

/// The routes, for the scope `/api/v1`.
pub fn configure(config: &mut web::ServiceConfig, broker: &Broker) {
    let limits = &broker.settings.limits;
    let longest = limits.max_frame_bytes.max(limits.client_frame_bytes());
    let resource = |path: &str, kind: CallKind| {
        let call = move |request: HttpRequest, query: web::Query<CallQuery>, body: web::Payload, broker: web::Data<Broker>| async move {
            post(&request, query.into_inner(), kind, body, longest, broker.into_inner()).await
        };
        only(path, web::post().to(call))
    };
    config
        .service(resource("/messages", CallKind::Publish))
        .service(resource("/request", CallKind::Request))
        .service(only("/channels/{channel:.+}/events", web::get().to(events::open)));
}

async fn post(
    request: &HttpRequest,
    query: CallQuery,
    kind: CallKind,
    body: web::Payload,
    longest: usize,
    broker: Arc<Broker>,
) -> Result<HttpResponse, Refused> {
    let who = who(request, &broker, query.agent_id.as_deref())?;
    let body = match body.to_bytes_limited(longest).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Err(Refused::bad_request(error)),
        Err(_) => return Err(ErrorCode::FrameTooBig.into()),
    };
    let key = request.headers().get(IDEMPOTENCY_KEY).map(|key| key.to_str().unwrap_or_default().to_owned());
    let call = Call { kind, body, key };
    Ok(match kind {
        CallKind::Publish => answer(broker, who, call).await,
        // The peer that is asked may take its time: the places of HTTP are for others.
        CallKind::Request => answer_later(async move {
            let statistics = Arc::clone(&broker.statistics);
            let answer = answer(broker, who, call).await;
            // No middleware sees this answer.
            if let Some(code) = answer.extensions().get::<ErrorCode>() {
                statistics.refusals.count(*code);
            }
            answer
        }),
    })
}

async fn answer(broker: Arc<Broker>, who: Who, call: Call) -> HttpResponse {
    match make(&broker, who, call).await {
        Ok(text) => HttpResponse::Ok().insert_header(("Cache-Control", "no-store")).content_type("application/json").body(text),
        Err(error) => refusal(error),
    }
}
