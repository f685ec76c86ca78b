//! What all HTTP answers of the edge have in common: refusals, security headers, the origin rule,
//! the rates of one address, entries of the audit log, and the count of requests in progress. Also
//! the edge's own HTTP requests, among them those to its broker.

mod ambiguity;
mod broker_api;
mod client_address;
mod cors;
mod forgery;
mod hosts;
mod in_flight;
mod noting;
mod outbound;
mod refusal;
mod security_headers;
mod throttle;

pub use ambiguity::refuse_ambiguous;
pub use broker_api::{BrokerApi, Call, CallKind, CallPipe, TellError, keep_reporting};
pub use client_address::{ClientAddress, site_of};
pub use cors::allow_origins;
pub use forgery::{refuse_forged, require_own_origin};
pub use hosts::require_own_host;
pub use in_flight::{InFlight, count_in_flight};
pub use noting::{note_refusals, note_session};
pub use outbound::{Answer, IDEMPOTENCY_KEY, Outbound, OutboundError, Question};
pub use refusal::{Refusal, only};
pub use security_headers::{Hsts, security_headers};
pub use throttle::{PacedOperator, Throttle};
