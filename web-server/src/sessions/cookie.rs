//! The session cookie.

use std::{net::IpAddr, time::SystemTime};

use actix_web::{
    HttpRequest,
    cookie::{Cookie, SameSite, time::Duration},
};
use common::config::CookieSecure;

/// The cookie's name.
pub const COOKIE: &str = "agent_bridge_session";

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

    /// The cookie that removes the one before.
    pub fn clear(self, request: &HttpRequest) -> Cookie<'static> {
        self.cookie(request, String::new(), Duration::ZERO)
    }

    fn cookie(self, request: &HttpRequest, value: String, max_age: Duration) -> Cookie<'static> {
        let secure = match self.secure {
            CookieSecure::Always => true,
            CookieSecure::Never => false,
            // Off only on loopback, where nobody listens in: everywhere else a cookie in the clear would be anybody's.
            CookieSecure::Auto => {
                let site = request.connection_info();
                self.tls || site.scheme() == "https" || !is_loopback(site.host())
            }
        };
        Cookie::build(COOKIE, value)
            .path("/")
            .max_age(max_age)
            .http_only(true)
            .same_site(SameSite::Strict)
            .secure(secure)
            .finish()
    }
}

/// Whether a site's `host[:port]` is this machine's own.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn cookies_are_secure_but_on_this_machine() {
        let policy = CookiePolicy { secure: CookieSecure::Auto, tls: false };
        let is_secure = |host: &str| {
            let request = TestRequest::get().insert_header(("host", host)).to_http_request();
            policy.clear(&request).secure() == Some(true)
        };
        for host in ["localhost", "localhost:8081", "127.0.0.1:8081", "[::1]:8081", "[::1]", "127.9.9.9"] {
            assert!(!is_secure(host), "{host}");
        }
        for host in ["example.org", "10.0.0.1:8081", "127.evil.example", "localhost.evil.example:80", "[2001:db8::1]:8081", "::"]
        {
            assert!(is_secure(host), "{host}");
        }
    }
}
