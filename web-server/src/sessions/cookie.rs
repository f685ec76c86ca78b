//! The session cookie.

use std::time::SystemTime;

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
            CookieSecure::Auto => self.tls || request.connection_info().scheme() == "https",
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
