//! Edges whose assertions are refused: logged, because an operator must correct a secret or a
//! clock.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use actix_web::{HttpRequest, HttpResponse, http::header::HeaderValue};
use common::{
    assertion::{self, CLOCK_HEADER},
    error::ErrorCode,
};
use parking_lot::Mutex;
use transport::bearer;

use crate::broker::Broker;

/// The least time between two lines in the log.
const EVERY: Duration = Duration::from_secs(10);

/// Bounds the log lines: anybody can send an assertion with a wrong signature.
#[derive(Debug, Default)]
pub struct RefusedEdges(Mutex<Logged>);

#[derive(Debug, Default)]
struct Logged {
    at: Option<Instant>,
    /// Refusals since then.
    more: u64,
}

impl RefusedEdges {
    /// A text presented as an assertion was refused with this code.
    fn note(&self, code: ErrorCode, address: IpAddr) {
        let mut logged = self.0.lock();
        if logged.at.is_some_and(|at| at.elapsed() < EVERY) {
            logged.more += 1;
            return;
        }
        let more = std::mem::take(&mut logged.more);
        logged.at = Some(Instant::now());
        drop(logged);
        let reason = match code {
            ErrorCode::CredentialsExpired => {
                "its clock differs from the broker's; it is told the broker's time, and goes by that from now on"
            }
            _ => "it is signed with another bridge secret: broker.bridge_secret must be the same at broker and edge",
        };
        tracing::warn!(%address, code = code.as_str(), since_last_line = more, reason, "the assertion of an edge was refused");
    }
}

/// The assertion of this request was refused with this code: logs it, and returns the broker's
/// clock if the times are the reason.
pub fn on_refusal(broker: &Broker, request: &HttpRequest, code: ErrorCode, address: IpAddr) -> Option<HeaderValue> {
    let shown = bearer(request.headers()).filter(|shown| assertion::claims_to_be_one(shown))?;
    broker.refused_edges.note(code, address);
    if code != ErrorCode::CredentialsExpired {
        return None;
    }
    let clock = assertion::tell_clock(shown, &broker.settings.broker.bridge_secret).ok()?;
    HeaderValue::try_from(clock).ok()
}

/// Adds the broker's clock to a refusal.
pub fn tell_clock<B>(mut answer: HttpResponse<B>, clock: Option<HeaderValue>) -> HttpResponse<B> {
    if let (Some(clock), Ok(name)) = (clock, CLOCK_HEADER.parse::<actix_web::http::header::HeaderName>()) {
        answer.headers_mut().insert(name, clock);
    }
    answer
}
