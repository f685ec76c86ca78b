//! Tells the broker's clock to an edge whose assertion was refused because of its times.

use std::net::IpAddr;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderName, HeaderValue},
};
use common::{
    assertion::{self, CLOCK_HEADER},
    error::ErrorCode,
};
use transport::bearer;

use crate::broker::Broker;

/// The assertion of this request was refused with this code: logs it, and returns the broker's
/// clock if the times are the reason.
pub fn on_refusal(broker: &Broker, request: &HttpRequest, code: ErrorCode, address: IpAddr) -> Option<HeaderValue> {
    let shown = bearer(request.headers()).filter(|shown| assertion::claims_to_be_one(shown))?;
    broker.authentication.refused_edges.note(code, address);
    if code != ErrorCode::CredentialsExpired {
        return None;
    }
    let clock = assertion::tell_clock(shown, &broker.settings.broker.bridge_secret).ok()?;
    HeaderValue::try_from(clock).ok()
}

/// Adds the broker's clock to a refusal.
pub fn tell_clock<B>(mut answer: HttpResponse<B>, clock: Option<HeaderValue>) -> HttpResponse<B> {
    if let (Some(clock), Ok(name)) = (clock, CLOCK_HEADER.parse::<HeaderName>()) {
        answer.headers_mut().insert(name, clock);
    }
    answer
}
