//! What the audit log hears of requests: who was not let in, and what became of sessions.

use actix_web::{
    Error, HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web,
};
use common::{audit::Event, id::SessionId};

use super::{BrokerApi, ClientAddress, Refusal};

/// Notes what became of a session.
pub fn note_session(request: &HttpRequest, session: SessionId, what: &str) {
    note(request, Event::Authentication, &format!("session:{session}"), what);
}

/// Middleware: notes requests that were refused because of who asks, by path and code.
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
    let refusal = answer.response().error().and_then(|error| error.as_error::<Refusal>());
    let code = refusal.map_or("refused", |refusal| refusal.code().as_str());
    note(request, event, "", &format!("{} {}: {code}", request.method(), request.path()));
    Ok(answer)
}

fn note(request: &HttpRequest, event: Event, who: &str, what: &str) {
    if let Some(broker) = request.app_data::<web::Data<BrokerApi>>() {
        broker.note(event, who, what, ClientAddress::of(request));
    }
}
