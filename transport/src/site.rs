//! The site that a request was sent to, as its client sees it: scheme and host.
//!
//! The host is what the client wrote in `Host`, which proxies must pass on: the origin rule
//! compares it with what browsers say. Under the listener's own TLS the scheme is `https`. For a
//! request without TLS it is what a trusted proxy says. If none says it, the scheme is unknown,
//! because an unnamed proxy may stand in front.

use actix_web::{HttpMessage, HttpRequest, http::header};
use common::network::is_loopback;

use crate::client_address::{TrustedProxies, peer_of};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site<'a> {
    /// `host[:port]`; empty if the request names none that can be read.
    pub host: &'a str,
    /// Whether its client uses `https`, or `http`; `None`: unknown.
    pub is_https: Option<bool>,
}

/// Marks a request under TLS, in its extensions.
#[derive(Clone, Copy, Debug)]
pub struct UnderTls;

impl<'a> Site<'a> {
    /// The site of a request.
    pub fn of(request: &'a HttpRequest, proxies: &TrustedProxies) -> Self {
        let under_tls = request.extensions().get::<UnderTls>().map(|_| true);
        let is_https = under_tls.or_else(|| proxies.say_https(peer_of(request), request.headers()));
        Self { host: host(request).unwrap_or_default(), is_https }
    }

    /// Whether its host is this machine's own name or address.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.host)
    }
}

/// The content of a request's `Host`.
pub fn host(request: &HttpRequest) -> Option<&str> {
    request.headers().get(header::HOST).and_then(|host| host.to_str().ok())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::client_address::AddressHeader;

    fn is_https(header: AddressHeader, peer: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let request = TestRequest::get().peer_addr(format!("{peer}:4711").parse().unwrap());
        let request = headers.iter().fold(request, |request, header| request.append_header(*header)).to_http_request();
        Site::of(&request, &TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], header)).is_https == Some(true)
    }

    #[test]
    fn only_trusted_proxies_say_what_scheme_the_client_used() {
        let proto = |peer, value| is_https(AddressHeader::XForwardedFor, peer, &[("x-forwarded-proto", value)]);
        assert!(proto("10.0.0.1", "https") && proto("10.0.0.1", "HTTPS") && proto("10.0.0.1", "http, https"));
        assert!(!proto("192.0.2.1", "https") && !proto("127.0.0.1", "https"), "a stranger is not believed");
        assert!(!proto("10.0.0.1", "http") && !proto("10.0.0.1", "https, http") && !proto("10.0.0.1", ""));
    }

    #[test]
    fn the_other_header_is_never_looked_at() {
        let headers = [("forwarded", "for=192.0.2.7;proto=https")];
        assert!(is_https(AddressHeader::Forwarded, "10.0.0.1", &headers));
        assert!(!is_https(AddressHeader::Forwarded, "192.0.2.1", &headers));
        assert!(!is_https(AddressHeader::XForwardedFor, "10.0.0.1", &headers));
        assert!(!is_https(AddressHeader::Forwarded, "10.0.0.1", &[("x-forwarded-proto", "https")]));
        let made_up = [("forwarded", "for=1.2.3.4;proto=https, for=192.0.2.7;proto=http")];
        assert!(
            !is_https(AddressHeader::Forwarded, "10.0.0.1", &made_up),
            "what the client wrote before the proxy does not count"
        );
        let chain = [("forwarded", "for=192.0.2.7;proto=https, for=10.0.0.2;proto=http")];
        assert!(is_https(AddressHeader::Forwarded, "10.0.0.1", &chain), "the proxy that saw the client knows");
    }
}
