//! TLS for listeners and dialers.
//!
//! - [`Listener`]: the server side. It holds a [`ServerTls`] and the tasks that reload the
//!   certificate files when they change.
//! - [`ClientTls`]: the client side, with its trust anchors.
//! - [`acme`]: orders certificates and writes them to the files that listeners read.
//!
//! This crate does not depend on WebSockets or actors. Its only cryptography provider is aws-lc.

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

/// The cryptography provider. Each configuration names it, so none depends on the process default.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
