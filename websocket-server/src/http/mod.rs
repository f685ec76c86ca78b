//! The broker's HTTP: the two socket endpoints, health and statistics, and what operators may do.

pub mod edge_api;
pub mod operator_api;
pub mod operators;
pub mod past_api;
pub mod sockets;
pub mod stats;

use std::sync::Arc;

use actix_web::{
    Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Next, from_fn},
    web,
};
use common::error::{ClientError, ErrorCode};
use transport::{RouteFamily, client_address};

use crate::broker::Broker;

/// Bytes of an edge's report: entries without what was said are short.
const LONGEST_REPORT: usize = 1024 * 1024;

/// The routes.
pub fn routes(config: &mut web::ServiceConfig, broker: &Arc<Broker>) {
    config
        .app_data(web::Data::from(Arc::clone(broker)))
        .service(only("/ws/agent", web::get().to(sockets::agent)))
        .service(only("/ws/client/{session_id}", web::get().to(sockets::client)))
        .service(only("/health/live", web::get().to(operators::live)))
        .service(only("/health/ready", web::get().to(operators::ready)))
        .service(only("/stats", web::get().to(operators::stats)).wrap(from_fn(paced)))
        .service(
            web::scope("/api/v1")
                .wrap(from_fn(paced))
                .service(only("/keys", web::get().to(operator_api::keys)))
                .service(only("/keys/reload", web::post().to(operator_api::reload_keys)))
                .service(only("/channels", web::get().to(past_api::channels)))
                .service(only("/channels/{channel:.+}/history", web::get().to(past_api::history)))
                .service(
                    only("/audit", web::get().to(past_api::audit))
                        .app_data(web::JsonConfig::default().limit(LONGEST_REPORT))
                        .route(web::post().to(edge_api::report)),
                )
                .service(
                    only("/revocations", web::post().to(edge_api::revocations))
                        .app_data(web::JsonConfig::default().limit(LONGEST_REPORT)),
                )
                .default_service(web::to(|| async { refusal(ErrorCode::NotFound.into()) })),
        )
        .default_service(web::to(|| async { refusal(ErrorCode::NotFound.into()) }));
}

fn only(path: &str, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path).route(route).default_service(web::to(|| async { refusal(ErrorCode::MethodNotAllowed.into()) }))
}

/// Middleware: refuses what comes from an address more often than may be, before anything is looked at. Edges ask for many, whom they
/// have paced themselves.
async fn paced(
    broker: web::Data<Broker>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let address = client_address::of(request.request(), &broker.proxies);
    if sockets::is_edge(request.request(), &broker) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    match broker.http_rates.take(RouteFamily::Operator, address) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
        Err(error) => Ok(request.into_response(refusal(error))),
    }
}

/// An error over HTTP.
pub fn refusal(error: ClientError) -> HttpResponse {
    let status = StatusCode::from_u16(error.code.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if status == StatusCode::UNAUTHORIZED {
        response.insert_header(("WWW-Authenticate", "Bearer"));
    }
    if status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS {
        let seconds = error.retry_after_ms.map_or(1, |wait| wait.div_ceil(1000).max(1));
        response.insert_header(("Retry-After", seconds.to_string()));
    }
    response.content_type("application/json").body(error.to_http_body())
}
