//! A listener that echoes under TLS.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tls::{HandshakeError, ServerTls, Source};
use tokio::{io::copy, net::TcpListener, sync::mpsc, task::JoinHandle};

/// How long anything may take before a test fails.
pub const LIMIT: Duration = Duration::from_secs(20);
/// How long a client of the listener may take for its handshake.
pub const HANDSHAKE: Duration = Duration::from_millis(500);

pub struct Listener {
    pub addr: SocketAddr,
    pub server: Arc<ServerTls>,
    /// How handshakes failed.
    pub failures: mpsc::UnboundedReceiver<HandshakeError>,
    accepting: JoinHandle<()>,
}

impl Listener {
    pub async fn start(source: Source) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        Self::on(listener, ServerTls::open(source).expect("the files are good"))
    }

    pub fn on(listener: TcpListener, server: Arc<ServerTls>) -> Self {
        let addr = listener.local_addr().expect("bound");
        let (report, failures) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(accept_all(listener, Arc::clone(&server), report));
        Self { addr, server, failures, accepting }
    }

    pub async fn failure(&mut self) -> HandshakeError {
        in_time("a handshake fails", self.failures.recv()).await.expect("it listens")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept_all(listener: TcpListener, server: Arc<ServerTls>, report: mpsc::UnboundedSender<HandshakeError>) {
    while let Ok((socket, _)) = listener.accept().await {
        let (server, report) = (Arc::clone(&server), report.clone());
        tokio::spawn(async move {
            match server.accept(socket, HANDSHAKE).await {
                Ok(stream) => {
                    let (mut read, mut write) = tokio::io::split(stream);
                    let _ = copy(&mut read, &mut write).await;
                }
                Err(error) => drop(report.send(error)),
            }
        });
    }
}

/// A source from one file with key and chain.
pub fn from_file(path: &Path) -> Source {
    Source { cert_file: path.to_owned(), key_file: path.to_owned(), challenges: None, client_ca_file: None }
}

pub fn with_clients_of(path: &Path, client_ca_file: PathBuf) -> Source {
    Source { client_ca_file: Some(client_ca_file), ..from_file(path) }
}

pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}

pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !check() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
