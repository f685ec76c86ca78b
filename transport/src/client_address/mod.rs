//! Whose address a connection or a request really has, behind proxies.
//!
//! - [`TrustedProxies`]: headers that only trusted proxies may set (`Forwarded`, `X-Forwarded-For`).
//! - [`proxy_protocol`]: proxies that say it before HTTP; read by the [`gate`](crate::gate).
//!
//! A request's `peer_addr` is what the PROXY protocol said where the listener speaks it.

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

/// The other end of the connection; an address of nobody's where there is none.
pub(crate) fn peer_of(request: &HttpRequest) -> IpAddr {
    request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip())
}
