//! Certificates by ACME (RFC 8555): ordered, proved by tls-alpn-01 (RFC 8737), kept in the data folder, renewed in time.
//!
//! What is ordered is a file in the end, and a listener takes files up when they change: an orderer and its listeners know nothing of
//! each other but a folder. Answers to the authority's questions are files there as well, so that every listener on the folder can give
//! them, whichever process ordered; a lock on the folder sees to it that one orders at a time.
//!
//! ```text
//!   DATA_DIR/acme/<host of the directory>/account.json          the account's key
//!                                         failure.json          the last order's, if it came to nothing
//!                                         certificate.pem       the chain and its key, for listeners
//!                                         challenge-<name>.pem  while an authority asks
//! ```

mod exchange;
mod http;
mod keeper;
mod place;
mod schedule;

pub(crate) use keeper::keep;
pub use place::Place;

use crate::client::Trust;

/// The protocol that an authority names in the handshake with which it asks.
pub(crate) const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// What is ordered, where, and where it is put.
#[derive(Clone, Debug)]
pub struct Order {
    /// The names, in small letters.
    pub domains: Vec<String>,
    /// The directory of the authority.
    pub directory_url: String,
    /// Whom to trust when the directory is asked.
    pub trust: Trust,
    /// Where the authority may write to.
    pub contact: Option<String>,
    /// Where everything is kept.
    pub place: Place,
}

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The authority refused, or could not be reached.
    #[error("the certificate authority: {0}")]
    Authority(#[from] instant_acme::Error),
    /// The authority knows no way to prove a name that we do.
    #[error("the certificate authority does not offer tls-alpn-01 for {0}")]
    NoWay(String),
    /// It was not proved that the names are ours.
    #[error("the certificate authority could not be shown that {0} is served here: {1}")]
    NotProved(String, String),
    /// What came is not what was ordered.
    #[error("the certificate authority sent no certificate for what was ordered")]
    NotAsOrdered,
    /// Keys cannot be made.
    #[error("no key could be made: {0}")]
    Crypto(#[from] rcgen::Error),
    /// Something cannot be kept.
    #[error(transparent)]
    Kept(#[from] crate::error::TlsError),
    /// The account's file is not what was written.
    #[error("{0} is no account: remove it, and a new account is made")]
    Account(String),
    /// It took too long.
    #[error("the order took longer than {0:?}")]
    TimedOut(std::time::Duration),
}
