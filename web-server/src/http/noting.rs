//! Entries of the audit log about requests: refused credentials, and events of sessions.
//!
//! Anybody can be refused any number of times, and the log is bounded: an address is recorded at a
//! rate, and events beyond it are counted.

use actix_web::{
    Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web,
};
use common::{audit::Event, error::ErrorCode, id::SessionId};
use gateway::dialects::HttpRefusal;
use transport::RouteFamily;

use super::{BrokerApi, ClientAddress, Refusal, Throttle};

/// Records an event of a session.
pub fn note_session(request: &HttpRequest, session: SessionId, what: &str) {
    if let Some(broker) = request.app_data::<web::Data<BrokerApi>>() {
        broker.note(Event::Authentication, &format!("session:{session}"), what, ClientAddress::of(request));
    }
}

/// Middleware: records requests that were refused because of their credentials, by path and code.
///
/// # Errors
/// Those of the services inside.
pub async fn note_refusals<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let answer = next.call(request).await?;
    let event = match answer.status() {
        StatusCode::UNAUTHORIZED => Event::Authentication,
        StatusCode::FORBIDDEN => Event::Refusal,
        _ => return Ok(answer),
    };
    let request = answer.request();
    let address = ClientAddress::of(request);
    let (broker, throttle) = (request.app_data::<web::Data<BrokerApi>>(), request.app_data::<web::Data<Throttle>>());
    if let (Some(broker), Some(throttle)) = (broker, throttle) {
        if throttle.take(RouteFamily::Refusal, address).is_ok() {
            let error = answer.response().error();
            let code = error.and_then(|error| {
                let of_dialect = || error.as_error::<HttpRefusal>().map(HttpRefusal::code);
                error.as_error::<Refusal>().map(Refusal::code).or_else(of_dialect)
            });
            let code = code.map_or("refused", ErrorCode::as_str);
            broker.note(event, "", &format!("{} {}: {code}", request.method(), request.path()), address);
        } else {
            broker.pass_over();
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App, HttpResponse,
        middleware::from_fn,
        test::{TestRequest, call_service, init_service},
    };
    use common::{audit::Batch, config::Settings, rate::Rate};

    use super::*;

    #[actix_web::test]
    async fn strangers_are_noted_at_a_rate_and_counted_beyond() {
        let mut settings = Settings::for_tests();
        settings.rates.logins = Rate::new(1, 3);
        let broker = web::Data::new(BrokerApi::new(
            &settings,
            std::sync::Arc::new(common::assertion::Signer::new(settings.broker.bridge_secret.clone())),
            None,
        ));
        let app = App::new()
            .app_data(broker.clone())
            .app_data(web::Data::new(Throttle::new(&settings, Vec::new())))
            .wrap(from_fn(note_refusals))
            .default_service(web::to(|| async { Err::<HttpResponse, _>(Refusal::from(ErrorCode::Unauthorized)) }));
        let app = init_service(app).await;
        for stranger in ["192.0.2.1:1", "192.0.2.2:1"] {
            for _ in 0..50 {
                let stranger = stranger.parse().expect("an address");
                let answer = call_service(&app, TestRequest::get().uri("/ws").peer_addr(stranger).to_request()).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
            }
        }
        let Batch { entries, beyond } = broker.take();
        assert!((6..50).contains(&entries.len()), "{} of 100", entries.len());
        assert_eq!(entries.len() as u64 + beyond, 100);
        assert_eq!((entries[0].what.as_str(), entries[0].origin.as_str()), ("GET /ws: unauthorized", "192.0.2.1"));
    }
}
