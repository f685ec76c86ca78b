//! Decides whether a request comes from an operator.
//!
//! With a token in the configuration, an operator presents the token. Without one nobody
//! administers over HTTP, and statistics are for this machine, if nothing stands between it and the
//! listener. A page in a browser on this machine is not its operator, whatever name it had resolve
//! to a loopback address (DNS rebinding): the host must be this machine's own.

use std::net::SocketAddr;

use actix_web::HttpRequest;
use common::{
    config::ProxySettings,
    error::ErrorCode,
    network::{Network, is_loopback},
    secret::Secret,
};

use crate::{bearer, client_address::peer_of, origin::OriginRule, site};

/// Headers that show that a request was forwarded.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// The operators of one listener. See the module.
#[derive(Clone, Debug)]
pub struct Operators {
    token: Secret,
    /// Whether a request from this machine is known to be from this machine.
    is_private: bool,
}

impl Operators {
    /// The operators of the listener at `addr`. `has_proxy_protocol`: its connections may begin
    /// with the PROXY protocol.
    pub fn new(token: &Secret, addr: SocketAddr, proxies: &ProxySettings, has_proxy_protocol: bool) -> Self {
        let is_private = addr.ip().to_canonical().is_loopback() && proxies.trusted.is_empty() && !has_proxy_protocol;
        Self { token: token.clone(), is_private }
    }

    /// Checks that a request may administer: only with the token.
    ///
    /// # Errors
    /// `not_found` if no token is configured, so that there is nothing to administer;
    /// `unauthorized`.
    pub fn check_administrator(&self, request: &HttpRequest) -> Result<(), ErrorCode> {
        match self.token.is_empty() {
            true => Err(ErrorCode::NotFound),
            false if self.shows_token(request) => Ok(()),
            false => Err(ErrorCode::Unauthorized),
        }
    }

    /// Checks that a request may see statistics: with the token, or, if none is configured, from
    /// this machine.
    ///
    /// # Errors
    /// `unauthorized`.
    pub fn check_observer(&self, request: &HttpRequest) -> Result<(), ErrorCode> {
        let may = if self.token.is_empty() { self.is_from_here(request) } else { self.shows_token(request) };
        if may { Ok(()) } else { Err(ErrorCode::Unauthorized) }
    }

    fn shows_token(&self, request: &HttpRequest) -> bool {
        bearer(request.headers()).is_some_and(|token| self.token.matches(token))
    }

    fn is_from_here(&self, request: &HttpRequest) -> bool {
        self.is_private
            && Network::this_machine().iter().any(|network| network.contains(peer_of(request)))
            && site::host(request).is_some_and(is_loopback)
            && OriginRule::default().admits(request)
            && PASSED_ON.iter().all(|name| !request.headers().contains_key(*name))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const LOOPBACK: &str = "127.0.0.1:8080";

    fn request(peer: &str, headers: &[(&'static str, &'static str)]) -> HttpRequest {
        let request = TestRequest::get().peer_addr(format!("{peer}:4711").parse().expect("an address"));
        let request = request.insert_header(("host", "localhost:8080"));
        headers.iter().fold(request, |request, header| request.insert_header(*header)).to_http_request()
    }

    fn operators(token: &str, addr: &str) -> Operators {
        Operators::new(&Secret::new(token), addr.parse().expect("an address"), &ProxySettings::default(), false)
    }

    fn observes(peer: &str, headers: &[(&'static str, &'static str)], token: &str) -> bool {
        operators(token, LOOPBACK).check_observer(&request(peer, headers)).is_ok()
    }

    #[test]
    fn without_a_token_only_loopback_may_ask_and_not_through_a_proxy() {
        assert!(observes("127.0.0.1", &[], "") && observes("[::1]", &[("host", "[::1]:8080")], ""));
        assert!(!observes("192.0.2.1", &[], "") && !observes("192.0.2.1", &[("authorization", "Bearer ")], ""));
        for header in PASSED_ON {
            assert!(!observes("127.0.0.1", &[(header, "127.0.0.1")], ""), "{header}");
        }
    }

    #[test]
    fn a_page_in_a_browser_on_this_machine_is_not_its_operator() {
        for headers in [
            &[("host", "rebound.example:8080")][..],
            &[("host", "localhost.evil.example")],
            &[("host", "")],
            &[("origin", "http://rebound.example:8080")],
            &[("origin", "http://localhost:3000")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            assert!(!observes("127.0.0.1", headers, ""), "{headers:?}");
        }
        assert!(observes("127.0.0.1", &[("sec-fetch-site", "none")], ""), "its address bar is");
    }

    #[test]
    fn without_a_token_no_client_can_ask_what_others_may_reach() {
        let asks = |operators: &Operators| operators.check_observer(&request("127.0.0.1", &[])).is_ok();
        assert!(asks(&operators("", LOOPBACK)));
        assert!(!asks(&operators("", "0.0.0.0:8080")) && !asks(&operators("", "192.0.2.1:8080")));
        let (no_token, addr) = (Secret::new(""), LOOPBACK.parse().expect("an address"));
        let proxies = ProxySettings { trusted: vec!["10.0.0.0/8".parse().expect("a network")], ..Default::default() };
        assert!(!asks(&Operators::new(&no_token, addr, &proxies, false)));
        assert!(!asks(&Operators::new(&no_token, addr, &ProxySettings::default(), true)));
    }

    #[test]
    fn with_a_token_only_those_that_present_it_are_operators() {
        let shows = [("authorization", "bearer secret"), ("host", "bridge.example"), ("x-forwarded-for", "192.0.2.1")];
        assert!(observes("192.0.2.1", &shows, "secret"));
        assert!(!observes("127.0.0.1", &[], "secret") && !observes("127.0.0.1", &[("authorization", "Bearer other")], "secret"));
        assert!(!observes("127.0.0.1", &[("authorization", "secret")], "secret"));
    }

    #[test]
    fn only_the_token_administers() {
        let check = |token, headers: &[_]| operators(token, LOOPBACK).check_administrator(&request("127.0.0.1", headers));
        assert_eq!(check("", &[]), Err(ErrorCode::NotFound));
        assert_eq!(check("", &[("authorization", "Bearer ")]), Err(ErrorCode::NotFound));
        assert_eq!(check("secret", &[]), Err(ErrorCode::Unauthorized));
        assert_eq!(check("secret", &[("authorization", "Bearer secret")]), Ok(()));
    }
}
