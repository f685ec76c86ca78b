//! The broker's HTTP: the two socket endpoints, health and statistics, and the operators' API.

pub mod calls;
pub mod credentials;
pub mod edge_api;
mod edge_clocks;
mod hosts;
pub mod metrics;
pub mod operator_api;
pub mod operators;
pub mod past_api;
mod refusal;
pub mod sockets;
pub mod stats;

use std::sync::Arc;

use actix_web::{
    Error, HttpMessage,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Next, from_fn},
    web,
};
use common::{audit::Event, error::ErrorCode};
use transport::{RouteFamily, client_address};

use self::{
    credentials::{Vouched, payer_of},
    refusal::{Refused, only, refusal},
};
use crate::broker::Broker;

/// The longest report of an edge in bytes: entries without messages are short.
const LONGEST_REPORT: usize = 1024 * 1024;

/// The routes.
pub fn routes(config: &mut web::ServiceConfig, broker: &Arc<Broker>) {
    config
        .app_data(web::Data::from(Arc::clone(broker)))
        .app_data(web::QueryConfig::default().error_handler(|error, _| Refused::bad_request(error).into()))
        .service(only("/health/live", web::get().to(operators::live)))
        .service(only("/health/ready", web::get().to(operators::ready)))
        .service(
            web::scope("")
                .wrap(from_fn(hosts::require_own_host))
                .wrap(from_fn(note_refusals))
                .service(only("/ws/agent", web::get().to(sockets::agent)))
                .service(only("/ws/client/{session_id}", web::get().to(sockets::client)))
                .service(only("/stats", web::get().to(operators::stats)).wrap(from_fn(paced)))
                .service(only("/metrics", web::get().to(operators::metrics)).wrap(from_fn(paced)))
                .service(
                    web::scope("/api/v1")
                        .wrap(from_fn(paced))
                        .configure(|config| calls::configure(config, broker))
                        .configure(api),
                )
                .default_service(web::to(|| async { refusal(ErrorCode::NotFound.into()) })),
        );
}

fn api(config: &mut web::ServiceConfig) {
    let json = web::JsonConfig::default().limit(LONGEST_REPORT).error_handler(|error, _| Refused::bad_request(error).into());
    config
        .service(only("/keys", web::get().to(operator_api::keys)))
        .service(only("/keys/reload", web::post().to(operator_api::reload_keys)))
        .service(only("/channels", web::get().to(past_api::channels)))
        .service(only("/channels/{channel:.+}/history", web::get().to(past_api::history)))
        .service(only("/audit", web::get().to(past_api::audit)).app_data(json.clone()).route(web::post().to(edge_api::report)))
        .service(only("/revocations", web::post().to(edge_api::revocations)).app_data(json))
        .default_service(web::to(|| async { refusal(ErrorCode::NotFound.into()) }));
}

/// Middleware: counts refusals, and records those because of credentials by path and code, at the
/// rate of an address.
async fn note_refusals<B: MessageBody + 'static>(
    broker: web::Data<Broker>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let answer = next.call(request).await?;
    let Some(code) = answer.response().extensions().get::<ErrorCode>().copied() else { return Ok(answer) };
    let request = answer.request();
    tracing::debug!(code = code.as_str(), path = request.path(), "refused");
    broker.statistics.refusals.count(code);
    let event = match answer.status() {
        StatusCode::UNAUTHORIZED => Event::Authentication,
        StatusCode::FORBIDDEN => Event::Refusal,
        _ => return Ok(answer),
    };
    let address = client_address::of(request, &broker.http.proxies);
    match broker.http.rates.take(RouteFamily::Refusal, address) {
        Ok(()) => {
            let what = format!("{} {}: {code}", request.method(), request.path());
            broker.audit.note(event, "", &what, &address.to_string());
        }
        Err(_) => broker.audit.pass_over(1),
    }
    Ok(answer)
}

/// Middleware: refuses requests over an address's rate. Only an edge's assertion is checked before:
/// edges ask on behalf of many, whom they have throttled themselves. Handlers use the content of
/// the assertion.
async fn paced(
    broker: web::Data<Broker>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let address = client_address::of(request.request(), &broker.http.proxies);
    let vouched = Vouched::of(request.request(), &broker.settings.broker.bridge_secret);
    let refused = vouched.as_ref().err().copied();
    request.extensions_mut().insert(vouched);
    let Some(code) = refused else { return next.call(request).await.map(ServiceResponse::map_into_boxed_body) };
    let payer = payer_of(&broker, request.request(), address);
    let family = match calls::is_call(request.method(), request.path()) {
        true => RouteFamily::Call,
        false => RouteFamily::Operator,
    };
    if let Err(error) = broker.http.rates.take_of(family, payer, address) {
        return Ok(request.into_response(refusal(error)));
    }
    let clock = edge_clocks::on_refusal(&broker, request.request(), code, address);
    let answer = next.call(request).await.map(ServiceResponse::map_into_boxed_body)?;
    let (request, response) = answer.into_parts();
    Ok(ServiceResponse::new(request, edge_clocks::tell_clock(response, clock)))
}
