//! TLS of a listener, with the tasks that reload and renew its certificate.

use std::{path::PathBuf, sync::Arc};

use common::config::{ListenerTls, Settings};
use tokio::{sync::Notify, task::JoinHandle};

use crate::{acme, error::TlsError, server::ServerTls, settings};

/// The TLS side of a listener. Dropping it ends its tasks.
#[derive(Debug)]
pub struct Listener {
    server: Arc<ServerTls>,
    hurry: Arc<Notify>,
    tasks: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Starts TLS as configured; `None` if TLS is off. `client_ca_file` is the setting of that
    /// name. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// A [`TlsError`] if a file is missing or invalid.
    pub fn start(tls: &ListenerTls, all: &Settings, client_ca_file: Option<PathBuf>) -> Result<Option<Self>, TlsError> {
        let Some(source) = settings::listener(tls, all, client_ca_file) else { return Ok(None) };
        let server = ServerTls::open(source)?;
        let hurry = Arc::new(Notify::new());
        let mut tasks = vec![tokio::spawn(Arc::clone(&server).keep())];
        if let Some(order) = settings::order(tls, all) {
            tasks.push(tokio::spawn(acme::keep(order, Arc::clone(&server), Arc::clone(&hurry))));
        }
        Ok(Some(Self { server, hurry, tasks }))
    }

    /// Checks the files that [`Self::start`] would use. Starts nothing.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn check(tls: &ListenerTls, all: &Settings, client_ca_file: Option<PathBuf>) -> Result<(), TlsError> {
        settings::listener(tls, all, client_ca_file).map_or(Ok(()), |source| source.check())
    }

    /// The TLS configuration that handshakes use.
    pub fn server(&self) -> Arc<ServerTls> {
        Arc::clone(&self.server)
    }

    /// Reloads the files and logs the result. An order that waits after a failure starts at once.
    pub async fn reload(&self) {
        let server = Arc::clone(&self.server);
        let reading = move || match server.reload() {
            Ok(()) => tracing::info!(cert_file = %server.cert_file().display(), "the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate could not be read again; the one in force stays"),
        };
        if tokio::task::spawn_blocking(reading).await.is_err() {
            tracing::error!("reading the certificate failed");
        }
        self.hurry.notify_one();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
