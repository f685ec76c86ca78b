//! The settings of TLS: listeners, certificates of clients, certificates by ACME.

use std::path::PathBuf;

/// TLS of a listener. Off unless a certificate comes from files or by ACME.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    /// The certificate chain in PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key in PEM. `None`: in the same file.
    pub key_file: Option<PathBuf>,
    /// Whether the certificate is ordered by ACME. Default false.
    pub acme: bool,
}

impl ListenerTls {
    /// Whether the listener speaks TLS.
    pub fn is_on(&self) -> bool {
        self.acme || self.cert_file.is_some()
    }
}

/// Whether agents must show a certificate, if authorities are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// A certificate that is shown is checked.
    Optional,
    /// An agent without one is refused.
    Required,
}

/// Certificates by ACME (RFC 8555), proved by tls-alpn-01 (RFC 8737).
#[derive(Clone, Debug)]
pub struct AcmeSettings {
    /// The names to order a certificate for. Default none.
    pub domains: Vec<String>,
    /// The directory of the certificate authority. Default Let's Encrypt.
    pub directory_url: String,
    /// The authorities of the directory's own certificate, in PEM. `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// An e-mail address that the authority may write to.
    pub contact: Option<String>,
    /// Whether the operator agrees to the authority's terms of service. Default false.
    pub agree_terms: bool,
}

impl Default for AcmeSettings {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            directory_url: "https://acme-v02.api.letsencrypt.org/directory".into(),
            ca_file: None,
            contact: None,
            agree_terms: false,
        }
    }
}
