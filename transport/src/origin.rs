//! The origin rule: pages of other sites must not act with a browser's cookies, nor open sockets.
//!
//! A request without `Origin` does not come from a page, or is of a kind that is same-origin. A
//! request with `Origin` must come from the site that it was sent to, or from an allowed origin.
//! `Origin: null` is never allowed. A site is scheme, host and port: anybody on the way may have
//! written a page that came by `http`, so under TLS it is another site.

use actix_web::{HttpRequest, http::header};

use crate::{client_address::TrustedProxies, site::Site};

/// The allowed origins besides the server's own.
#[derive(Clone, Debug, Default)]
pub struct OriginRule {
    allowed: Vec<String>,
    /// The proxies that are believed about a client's scheme.
    proxies: TrustedProxies,
}

impl OriginRule {
    /// The rule with these origins, `scheme://host[:port]`, behind these proxies.
    pub fn new(allowed: &[String], proxies: TrustedProxies) -> Self {
        Self { allowed: allowed.iter().map(|origin| origin.to_ascii_lowercase()).collect(), proxies }
    }

    /// Whether a page of `origin` may act on the site that a request went to.
    pub fn allows(&self, origin: &str, site: Site<'_>) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.allowed.contains(&origin) || is_same(&origin, site)
    }

    /// Whether a request may be answered: it names an allowed origin, or it names none and the
    /// browser does not say that a page of another site sent it.
    pub fn admits(&self, request: &HttpRequest) -> bool {
        let headers = request.headers();
        match headers.get(header::ORIGIN) {
            Some(origin) => origin.to_str().is_ok_and(|origin| self.allows(origin, Site::of(request, &self.proxies))),
            None => headers.get("sec-fetch-site").is_none_or(|site| ["same-origin", "none"].iter().any(|own| site == own)),
        }
    }
}

/// Whether an origin is that of the site. A host without a port has the default port of the scheme
/// that the browser used. If that is unknown, because an unnamed proxy may hide it, the origin's
/// scheme is assumed.
fn is_same(origin: &str, site: Site<'_>) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let (default, is_https) = match scheme {
        "http" => ("80", false),
        "https" => ("443", true),
        _ => return false,
    };
    if site.is_https.is_some_and(|known| known != is_https) {
        return false;
    }
    let host = site.host.to_ascii_lowercase();
    let (origin_name, origin_port) = split(authority);
    let (host_name, host_port) = split(&host);
    !origin_name.is_empty() && origin_name == host_name && origin_port.unwrap_or(default) == host_port.unwrap_or(default)
}

/// Name and port. The colons inside the brackets of an IPv6 address do not separate a port.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn site(host: &str, is_https: Option<bool>) -> Site<'_> {
        Site { host, is_https }
    }

    #[test]
    fn a_site_that_is_known_to_be_https_is_another_than_that_of_http() {
        let rule = OriginRule::new(&["http://app.example".to_owned()], TrustedProxies::default());
        for (origin, host, known, expected) in [
            ("http://bridge.example", "bridge.example", Some(true), false),
            ("https://bridge.example", "bridge.example", Some(true), true),
            ("http://bridge.example:8443", "bridge.example:8443", Some(true), false),
            ("https://bridge.example:443", "bridge.example", Some(true), true),
            ("http://bridge.example:443", "bridge.example", Some(true), false),
            ("https://bridge.example", "bridge.example", Some(false), false),
            ("http://bridge.example", "bridge.example", Some(false), true),
            ("http://bridge.example", "bridge.example", None, true),
            ("http://app.example", "bridge.example", Some(true), true),
        ] {
            assert_eq!(rule.allows(origin, site(host, known)), expected, "{origin} {host} {known:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_says_which_scheme_it_was() {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], Default::default());
        let rule = OriginRule::new(&[], proxies);
        let admits = |peer: &str, proto: &'static str| {
            let request = TestRequest::get().peer_addr(format!("{peer}:4711").parse().expect("an address"));
            let request = request.insert_header(("host", "bridge.example")).insert_header(("x-forwarded-proto", proto));
            rule.admits(&request.insert_header(("origin", "http://bridge.example")).to_http_request())
        };
        assert!(!admits("10.0.0.1", "https") && admits("10.0.0.1", "http"));
        assert!(admits("192.0.2.1", "https"), "a stranger is not believed");
    }

    #[test]
    fn the_host_itself_and_allowed_origins_pass() {
        let rule = OriginRule::new(&["https://app.example".to_owned()], TrustedProxies::default());
        for (origin, host) in [
            ("http://localhost:8081", "localhost:8081"),
            ("https://bridge.example", "bridge.example"),
            ("https://bridge.example", "bridge.example:443"),
            ("http://Bridge.example:80", "bridge.example"),
            ("http://[::1]:8081", "[::1]:8081"),
            ("http://[::1]", "[::1]"),
            ("https://app.example", "bridge.example"),
        ] {
            assert!(rule.allows(origin, site(host, None)), "{origin} {host}");
        }
    }

    #[test]
    fn a_request_without_an_origin_passes_unless_a_browser_says_whose_it_is() {
        let admits = |headers: &[(&'static str, &'static str)]| {
            let request = headers.iter().fold(TestRequest::get(), |request, header| request.insert_header(*header));
            OriginRule::default().admits(&request.insert_header(("host", "bridge.example")).to_http_request())
        };
        assert!(admits(&[]));
        assert!(admits(&[("sec-fetch-site", "none")]) && admits(&[("sec-fetch-site", "same-origin")]));
        assert!(!admits(&[("sec-fetch-site", "cross-site")]) && !admits(&[("sec-fetch-site", "same-site")]));
        assert!(admits(&[("origin", "https://bridge.example"), ("sec-fetch-site", "cross-site")]));
        assert!(!admits(&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")]));
    }

    #[test]
    fn other_sites_do_not_pass() {
        let rule = OriginRule::new(&["https://app.example".to_owned()], TrustedProxies::default());
        for (origin, host) in [
            ("https://evil.example", "bridge.example"),
            ("http://localhost:3000", "localhost:8081"),
            ("http://app.example", "bridge.example"),
            ("https://app.example:444", "bridge.example"),
            ("https://bridge.example.evil", "bridge.example"),
            ("null", "bridge.example"),
            ("null", "null"),
            ("file://", ""),
            ("http://", ""),
            ("", ""),
        ] {
            assert!(!rule.allows(origin, site(host, None)), "{origin} {host}");
        }
        assert!(!rule.allows("http://localhost", site("", None)));
    }
}
