//! Selects the certificate for each handshake.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{
    acme::ACME_TLS_ALPN,
    certificate::{Facts, Identity, read_answer},
};

/// The current certificate, and the pending ACME challenge responses.
pub(crate) struct Resolver {
    identity: RwLock<Option<Identity>>,
    /// The folder of pending challenge responses; `None` if ACME is off.
    challenges: Option<PathBuf>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver").field("facts", &self.facts()).finish_non_exhaustive()
    }
}

impl Resolver {
    pub fn new(identity: Option<Identity>, challenges: Option<PathBuf>) -> Self {
        Self { identity: RwLock::new(identity), challenges }
    }

    /// Sets the certificate for new handshakes.
    pub fn replace(&self, identity: Identity) {
        *self.identity.write() = Some(identity);
    }

    pub fn facts(&self) -> Option<Facts> {
        self.identity.read().as_ref().map(|identity| identity.facts.clone())
    }

    /// The answer for a domain (RFC 8737). A file is looked for only when an authority asks, or
    /// somebody who plays one.
    fn challenge(&self, domain: &str) -> Option<Arc<CertifiedKey>> {
        let path = challenge_file(self.challenges.as_deref()?, domain)?;
        read_answer(&path).ok()
    }
}

/// The challenge response file of a domain; `None` if it is not a plain DNS name.
pub(crate) fn challenge_file(folder: &Path, domain: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let good = !domain.is_empty() && domain.len() <= 253 && !domain.starts_with('.') && domain.bytes().all(plain);
    good.then(|| folder.join(format!("challenge-{}.pem", domain.to_ascii_lowercase())))
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asks = hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS_ALPN));
        if asks && self.challenges.is_some() {
            return self.challenge(hello.server_name()?);
        }
        self.identity.read().as_ref().map(|identity| Arc::clone(&identity.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_files() {
        let folder = Path::new("/f");
        assert_eq!(challenge_file(folder, "A.example"), Some("/f/challenge-a.example.pem".into()));
        for bad in ["", "../x", "a/b", ".hidden", "a\0b", "*.example"] {
            assert_eq!(challenge_file(folder, bad), None, "{bad}");
        }
    }
}
