//! What can be wrong with certificates and handshakes.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why there is no usable TLS configuration. Each has a permanent code, which its message ends
/// with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source} ({})", path.display(), self.code())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has no certificate in it, or one that is no X.509.
    #[error("{} contains no usable certificate: {why} ({})", path.display(), self.code())]
    Certificate {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file has no private key in it, or one of a kind that is not supported.
    #[error("{} contains no usable private key: {why} ({})", path.display(), self.code())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why; never what is in the file.
        why: String,
    },
    /// The key is not that of the certificate.
    #[error("the private key in {} does not belong to the certificate in {} ({})", key.display(), cert.display(), self.code())]
    Mismatch {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// There is nothing to trust.
    #[error("no certificate authority can be read from {from}: {why} ({})", self.code())]
    Roots {
        /// A file, or the system.
        from: String,
        /// Why.
        why: String,
    },
    /// The cryptographic library refused the configuration.
    #[error("TLS cannot be configured: {0} ({code})", code = self.code())]
    Config(String),
    /// A file or folder of ours cannot be written.
    #[error("cannot write {}: {source} ({})", path.display(), self.code())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl TlsError {
    /// The file that it is about.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreadable { path, .. }
            | Self::Certificate { path, .. }
            | Self::Key { path, .. }
            | Self::Unwritable { path, .. } => Some(path),
            Self::Mismatch { key, .. } => Some(key),
            Self::Roots { from, .. } => Some(Path::new(from)),
            Self::Config(_) => None,
        }
    }

    /// The permanent code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "tls_file_unreadable",
            Self::Certificate { .. } => "tls_certificate_invalid",
            Self::Key { .. } => "tls_key_invalid",
            Self::Mismatch { .. } => "tls_key_mismatch",
            Self::Roots { .. } => "tls_roots_invalid",
            Self::Config(_) => "tls_config_invalid",
            Self::Unwritable { .. } => "tls_file_unwritable",
        }
    }
}

/// Why a connection did not become a TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It went away without a word, as probes do.
    #[error("the peer left before it sent anything")]
    Left,
    /// It took too long.
    #[error("the peer did not finish the handshake in time")]
    TimedOut,
    /// It speaks something else; the socket is still good for an answer in the clear.
    #[error("the peer does not speak TLS")]
    NotTls(tokio::net::TcpStream),
    /// A certificate authority asked its question, and has its answer.
    #[error("a certificate authority checked the domain")]
    Challenge,
    /// The handshake failed.
    #[error("{0}")]
    Failed(io::Error),
}
