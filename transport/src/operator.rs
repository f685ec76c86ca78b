//! Whether a request comes from somebody who runs the bridge.

use actix_web::{HttpRequest, http::header};
use common::{network::Network, secret::Secret};

use crate::client_address::{TrustedProxies, of};

/// Headers by which it shows that a request was passed on.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// With a token: whether the request shows it. Without one: whether it comes from this machine, and no proxy passed it on.
pub fn is_operator(request: &HttpRequest, proxies: &TrustedProxies, token: &Secret) -> bool {
    let headers = request.headers();
    if !token.is_empty() {
        let presented = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.split_once(' '));
        return presented.is_some_and(|(scheme, text)| scheme.eq_ignore_ascii_case("bearer") && token.matches(text.trim()));
    }
    let is_here = |address| Network::this_machine().iter().any(|network| network.contains(address));
    is_here(of(request, proxies)) && PASSED_ON.iter().all(|name| !headers.contains_key(*name))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::client_address::AddressHeader;

    fn ask(peer: &str, headers: &[(&'static str, &'static str)], token: &str) -> bool {
        let request = TestRequest::get().peer_addr(format!("{peer}:4711").parse().expect("an address"));
        let request = headers.iter().fold(request, |request, header| request.insert_header(*header));
        let proxies = TrustedProxies::new(vec![], AddressHeader::XForwardedFor);
        is_operator(&request.to_http_request(), &proxies, &Secret::new(token))
    }

    #[test]
    fn without_a_token_this_machine_asks_and_nobody_through_it() {
        assert!(ask("127.0.0.1", &[], "") && ask("[::1]", &[], ""));
        assert!(!ask("192.0.2.1", &[], "") && !ask("192.0.2.1", &[("authorization", "Bearer ")], ""));
        assert!(!ask("127.0.0.1", &[("x-forwarded-for", "127.0.0.1")], ""));
        assert!(!ask("192.0.2.1", &[("x-forwarded-for", "127.0.0.1")], ""));
    }

    #[test]
    fn with_a_token_whoever_shows_it() {
        assert!(ask("192.0.2.1", &[("authorization", "bearer secret")], "secret"));
        assert!(!ask("127.0.0.1", &[], "secret") && !ask("127.0.0.1", &[("authorization", "Bearer other")], "secret"));
        assert!(!ask("127.0.0.1", &[("authorization", "secret")], "secret"));
    }
}
