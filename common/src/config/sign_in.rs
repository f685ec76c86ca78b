//! For which site a wallet is asked to sign, where the settings leave it open.

use super::settings::Settings;

impl Settings {
    /// The site that asks a wallet to sign: `auth.siwe_domain`, or the edge's own address if that
    /// is loopback.
    ///
    /// It is never taken from a request: a site in between could then ask in its own name, and the
    /// edge would accept that.
    pub fn siwe_domain(&self) -> Option<String> {
        let own = self.web.addr.ip().to_canonical().is_loopback().then(|| self.web.addr.to_string());
        self.auth.siwe_domain.clone().or(own)
    }

    /// The URI that a wallet signs in to: `auth.siwe_uri`, or the domain's page (`http` if the edge
    /// is on loopback without TLS).
    pub fn siwe_uri(&self) -> Option<String> {
        let is_clear = self.web.addr.ip().to_canonical().is_loopback() && !self.web.tls.is_on();
        let scheme = if is_clear { "http" } else { "https" };
        self.auth.siwe_uri.clone().or_else(|| self.siwe_domain().map(|domain| format!("{scheme}://{domain}")))
    }
}
