//! The real address of a connection or a request behind proxies.
//!
//! - [`TrustedProxies`]: headers that only trusted proxies may set (`Forwarded`,
//!   `X-Forwarded-For`).
//! - [`proxy_protocol`]: proxies that name the client before HTTP; read by the
//!   [`gate`](crate::gate).
//!
//! If the listener uses the PROXY protocol, a request's `peer_addr` is what that said.

mod forwarded;
pub mod proxy_protocol;
mod trusted;

pub use trusted::{AddressHeader, TrustedProxies};

use std::net::{IpAddr, Ipv4Addr};

use actix_web::HttpRequest;

/// The client's address.
pub fn of(request: &HttpRequest, proxies: &TrustedProxies) -> IpAddr {
    let values: Vec<&str> = request.headers().get_all(proxies.header_name()).filter_map(|value| value.to_str().ok()).collect();
    proxies.client(peer_of(request), &values)
}

/// The other end of the connection; an unspecified address if there is none.
pub(crate) fn peer_of(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
