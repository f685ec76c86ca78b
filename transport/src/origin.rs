//! The origin rule: pages of other sites may not act with what a browser knows, nor open sockets.
//!
//! A request that says no `Origin` does not come from a page, or is same-origin by its kind. One that does must come
//! from the host it went to, or from an origin that is allowed by configuration. `Origin: null` is no origin.

use actix_web::{HttpRequest, http::header};

use crate::site::host;

/// The origins allowed besides the server's own.
#[derive(Clone, Debug, Default)]
pub struct OriginRule {
    allowed: Vec<String>,
}

impl OriginRule {
    /// The rule with these origins, `scheme://host[:port]`.
    pub fn new(allowed: &[String]) -> Self {
        Self { allowed: allowed.iter().map(|origin| origin.to_ascii_lowercase()).collect() }
    }

    /// Whether a page of `origin` may act on the host that a request went to.
    pub fn allows(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.allowed.contains(&origin) || host.is_some_and(|host| is_same(&origin, host))
    }

    /// Whether a request may be answered: it names an origin that is allowed, or none and no browser says that a page of another
    /// site sent it.
    pub fn admits(&self, request: &HttpRequest) -> bool {
        let headers = request.headers();
        match headers.get(header::ORIGIN) {
            Some(origin) => origin.to_str().is_ok_and(|origin| self.allows(origin, host(request))),
            None => headers.get("sec-fetch-site").is_none_or(|site| ["same-origin", "none"].iter().any(|own| site == own)),
        }
    }
}

/// Whether an origin is that of the host. A host without a port is at the default port of whatever scheme the browser
/// used, which a proxy in front may hide: then the origin's default port is taken for the host's.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let host = host.to_ascii_lowercase();
    let (origin_name, origin_port) = split(authority);
    let (host_name, host_port) = split(&host);
    !origin_name.is_empty() && origin_name == host_name && origin_port.unwrap_or(default) == host_port.unwrap_or(default)
}

/// Name and port; the colons inside the brackets of an IPv6 address are not a port's.
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

    #[test]
    fn the_host_itself_and_allowed_origins_pass() {
        let rule = OriginRule::new(&["https://app.example".to_owned()]);
        for (origin, host) in [
            ("http://localhost:8081", "localhost:8081"),
            ("https://bridge.example", "bridge.example"),
            ("https://bridge.example", "bridge.example:443"),
            ("http://Bridge.example:80", "bridge.example"),
            ("http://[::1]:8081", "[::1]:8081"),
            ("http://[::1]", "[::1]"),
            ("https://app.example", "bridge.example"),
        ] {
            assert!(rule.allows(origin, Some(host)), "{origin} {host}");
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
        let rule = OriginRule::new(&["https://app.example".to_owned()]);
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
            assert!(!rule.allows(origin, Some(host)), "{origin} {host}");
        }
        assert!(!rule.allows("http://localhost", None));
    }
}
