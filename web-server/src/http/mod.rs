//! What every answer of the edge over HTTP has in common: refusals, security headers, the origin rule.

mod origin;
mod refusal;
mod security_headers;

pub use origin::{OriginRule, require_own_origin};
pub use refusal::Refusal;
pub use security_headers::security_headers;
