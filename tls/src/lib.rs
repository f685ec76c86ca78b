//! TLS for listeners and dialers.
//!
//! [`Listener`] is what a server starts: a [`ServerTls`], whose certificate comes from files that are read again when they change, and
//! the tasks that look after it. [`ClientTls`] is a dialer's side: whom to trust. [`acme`] orders certificates and writes them where a listener
//! looks for them. Nothing here knows of HTTP servers, WebSockets or actors; there is one provider of cryptography, aws-lc.

pub mod acme;
mod certificate;
mod client;
mod error;
mod file;
mod listener;
mod resolver;
mod server;
mod settings;
pub mod testing;

pub use certificate::{ClientCertificate, Facts};
pub use client::{ClientTls, Trust};
pub use error::{HandshakeError, TlsError};
pub use listener::Listener;
pub use server::{Fault, ServerTls, Source, TlsStatus};
pub use settings::broker_trust;
/// A TLS connection over TCP, of either side.
pub type TlsStream = tokio_rustls::TlsStream<tokio::net::TcpStream>;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Named in each configuration, so that nothing depends on a default of the process.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
