//! How much a peer may do, and who a peer is by its address.
//!
//! - [`Rate`] and [`Bucket`]: so many a second with a burst, eight bytes per connection and limit.
//! - [`Penalties`]: addresses whose logins fail wait longer each time.
//! - [`TrustedProxies`]: the client's address behind proxies, from headers that only trusted ones may set; [`proxy_protocol`]
//!   for proxies that speak before HTTP.
//!
//! Nothing here keeps time or a socket. Times are durations since any moment the caller fixed, from a clock that never goes
//! back.

mod bucket;
mod forwarded;
mod penalties;
pub mod proxy_protocol;
mod trusted;

pub use bucket::{Bucket, Rate};
pub use forwarded::{ForwardedElement, ForwardedNode, forwarded, forwarded_for};
pub use penalties::{Penalties, PenaltySettings, penalty_key};
pub use trusted::{AddressHeader, BadNetwork, Network, TrustedProxies};
