//! The session cookie.
//!
//! If it carries `Secure`, its name begins with `__Host-`. Browsers accept a cookie with such a
//! name only from this very host, over TLS, for all paths and for no other host. Then a cookie
//! without the prefix is ignored, because a neighbouring host or a page without TLS can plant one.

use std::time::SystemTime;

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
};
use common::config::CookieSecure;

use crate::http::site_of;

/// The cookie's name without `Secure`.
pub const COOKIE: &str = "agent_bridge_session";
/// Its name with `Secure`.
pub const SECURE_COOKIE: &str = "__Host-agent_bridge_session";

/// When cookies carry `Secure`.
#[derive(Clone, Copy, Debug)]
pub struct CookiePolicy {
    /// By configuration.
    pub secure: CookieSecure,
    /// Whether the edge speaks TLS itself.
    pub tls: bool,
}

impl CookiePolicy {
    /// The cookie that holds a token until it expires.
    pub fn keep(self, request: &HttpRequest, token: String, expires_at: SystemTime) -> Cookie<'static> {
        let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        self.cookie(request, token, Duration::seconds(i64::try_from(left.as_secs()).unwrap_or(i64::MAX)))
    }

    /// The cookie that removes the former one.
    pub fn clear(self, request: &HttpRequest) -> Cookie<'static> {
        self.cookie(request, String::new(), Duration::ZERO)
    }

    /// The name of the cookie that counts for this request. Others are ignored.
    pub fn name(self, request: &HttpRequest) -> &'static str {
        if self.is_secure(request) { SECURE_COOKIE } else { COOKIE }
    }

    fn is_secure(self, request: &HttpRequest) -> bool {
        match self.secure {
            CookieSecure::Always => true,
            CookieSecure::Never => false,
            // Off only on loopback, where nobody listens in. Elsewhere anybody could read a cookie
            // without TLS.
            CookieSecure::Auto => {
                let site = site_of(request);
                self.tls || site.is_https == Some(true) || !site.is_loopback()
            }
        }
    }

    fn cookie(self, request: &HttpRequest, value: String, max_age: Duration) -> Cookie<'static> {
        Cookie::build(self.name(request), value)
            .path("/")
            .max_age(max_age)
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(self.is_secure(request))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{test::TestRequest, web};
    use transport::client_address::{AddressHeader, TrustedProxies};

    use super::*;

    #[test]
    fn cookies_are_secure_but_on_this_machine() {
        let policy = CookiePolicy { secure: CookieSecure::Auto, tls: false };
        let is_secure = |host: &str| {
            let request = TestRequest::get().insert_header(("host", host)).to_http_request();
            policy.clear(&request).secure() == Some(true)
        };
        assert!(!is_secure("localhost:8081") && !is_secure("[::1]:8081"));
        assert!(is_secure("example.org") && is_secure("127.evil.example") && is_secure(""));
    }

    #[test]
    fn a_secure_cookie_has_a_name_that_no_other_host_can_plant() {
        let policy = CookiePolicy { secure: CookieSecure::Auto, tls: false };
        let cookie = |host: &str| {
            let request = TestRequest::get().insert_header(("host", host)).to_http_request();
            policy.keep(&request, "token".into(), SystemTime::now())
        };
        let (secure, plain) = (cookie("bridge.example"), cookie("localhost"));
        assert_eq!((secure.name(), secure.path(), secure.domain()), ("__Host-agent_bridge_session", Some("/"), None));
        assert_eq!((plain.name(), plain.secure()), ("agent_bridge_session", Some(false)));
    }

    #[test]
    fn a_stranger_does_not_say_what_the_site_is() {
        let policy = CookiePolicy { secure: CookieSecure::Auto, tls: false };
        let is_secure = |peer: &str, host: &'static str, header: (&'static str, &'static str)| {
            let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().expect("a network")], AddressHeader::XForwardedFor);
            let request = TestRequest::get().peer_addr(format!("{peer}:4711").parse().expect("an address"));
            let request = request.app_data(web::Data::new(proxies)).insert_header(("host", host)).insert_header(header);
            policy.clear(&request.to_http_request()).secure() == Some(true)
        };
        assert!(is_secure("192.0.2.1", "bridge.example", ("x-forwarded-host", "localhost")));
        assert!(is_secure("192.0.2.1", "bridge.example", ("forwarded", "host=localhost;proto=http")));
        assert!(!is_secure("192.0.2.1", "localhost", ("x-forwarded-proto", "https")));
        assert!(is_secure("10.0.0.1", "localhost", ("x-forwarded-proto", "https")), "a trusted proxy does");
    }
}
