//! The client's address of a request as an extractor, and the site that it was sent to.

use std::{
    future::{Ready, ready},
    net::IpAddr,
};

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use transport::{
    Site,
    client_address::{TrustedProxies, of},
};

use super::Refusal;

/// The client's address: that of the connection, or what trusted proxies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The client's address of a request.
    pub fn of(request: &HttpRequest) -> Self {
        match request.app_data::<web::Data<TrustedProxies>>() {
            Some(proxies) => Self(of(request, proxies)),
            None => Self(request.peer_addr().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.ip())),
        }
    }
}

impl FromRequest for ClientAddress {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request)))
    }
}

/// The site that a request was sent to.
pub fn site_of(request: &HttpRequest) -> Site<'_> {
    match request.app_data::<web::Data<TrustedProxies>>() {
        Some(proxies) => Site::of(request, proxies),
        None => Site { host: transport::site::host(request).unwrap_or_default(), is_https: None },
    }
}
