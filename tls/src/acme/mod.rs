//! Certificates by ACME (RFC 8555), validated with tls-alpn-01 (RFC 8737).
//!
//! The process that orders a certificate and the listeners that serve it share only a folder. The
//! order writes the certificate to a file; listeners reload the file when it changes. Challenge
//! responses are files too, so every listener on the folder can answer the authority, whichever
//! process ordered. A lock on the folder allows one order at a time.
//!
//! ```text
//!   DATA_DIR/acme/<host of the directory>/account.json          the account's key
//!                                         failure.json          the last failed order
//!                                         certificate.pem       the chain and its key, for listeners
//!                                         challenge-<name>.pem  while a challenge is pending
//! ```

mod exchange;
mod folder;
mod http;
mod keeper;
mod schedule;

pub use folder::AuthorityFolder;
pub(crate) use keeper::keep;

use crate::client::Trust;

/// The ALPN protocol of the authority's validation handshake.
pub(crate) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// The names, authority and folder of a certificate order.
#[derive(Clone, Debug)]
pub struct Order {
    /// The DNS names of the certificate, in lower case.
    pub domains: Vec<String>,
    /// The URL of the ACME directory.
    pub directory_url: String,
    /// Trust anchors for requests to the ACME directory.
    pub trust: Trust,
    /// The contact e-mail address for the ACME account.
    pub contact: Option<String>,
    /// The folder for the account, certificate and challenges.
    pub place: AuthorityFolder,
}

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The authority refused a request or cannot be reached.
    #[error("the certificate authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// The authority does not offer tls-alpn-01 for a name.
    #[error("the certificate authority does not offer tls-alpn-01 for {0}")]
    NoWay(String),
    /// The authority could not validate a name. Holds the name and the reason.
    #[error("the certificate authority could not be shown that {0} is served here: {1}")]
    NotProved(String, String),
    /// The certificate does not match the order.
    #[error("the certificate authority sent no certificate for what was ordered")]
    NotAsOrdered,
    /// A key could not be generated.
    #[error("no key could be made: {0}")]
    Crypto(#[from] rcgen::Error),
    /// A file could not be written.
    #[error(transparent)]
    Kept(#[from] crate::error::TlsError),
    /// The account file is not valid. Holds its path.
    #[error("{0} is not an account: remove it, so that a new account is made")]
    Account(String),
    /// The order exceeded its time limit.
    #[error("the order took longer than {0:?}")]
    TimedOut(std::time::Duration),
}
