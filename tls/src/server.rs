//! The listener's side: a certificate that may change while the process runs, and handshakes within
//! bounds.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use common::timestamp;
use parking_lot::{Mutex, RwLock};
use rustls::{ServerConfig, server::WebPkiClientVerifier};
use serde::Serialize;
use tokio::{
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    TlsStream,
    acme::ACME_TLS_ALPN,
    certificate::{ClientCertificate, Facts, Identity},
    client::roots,
    error::{HandshakeError, TlsError},
    file::{Stamp, stamp},
    provider,
    resolver::Resolver,
};

/// How often the files are checked for changes.
const TICK: Duration = Duration::from_secs(1);
/// What a TLS connection begins with: a handshake record.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Where a listener's certificate comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The chain, in PEM, the listener's own certificate first.
    pub cert_file: PathBuf,
    /// Its key, in PEM; may be the same file.
    pub key_file: PathBuf,
    /// Where answers to certificate authorities are put while a certificate is ordered. With it the
    /// files may be absent at first.
    pub challenges: Option<PathBuf>,
    /// Authorities of clients' certificates, in PEM; `None`: clients are not asked for one.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS of one listener.
#[derive(Debug)]
pub struct ServerTls {
    source: Source,
    resolver: Arc<Resolver>,
    config: RwLock<Arc<ServerConfig>>,
    /// The files as they were last read. Held while they are read, so that no older content
    /// replaces a newer.
    read: Mutex<[Stamp; 3]>,
    fault: Mutex<Option<Fault>>,
    order_fault: Mutex<Option<Fault>>,
    counts: Counts,
}

/// What is wrong with a listener's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A permanent code, which tells a stranger nothing.
    pub code: &'static str,
    /// The whole story, for the operator.
    pub message: String,
}

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    not_tls: AtomicU64,
    reloads: AtomicU64,
}

/// How a listener's TLS is, as statistics show it.
#[derive(Debug, Serialize)]
pub struct TlsStatus {
    /// Until when the certificate is good, RFC 3339; null while there is none.
    pub not_after: Option<String>,
    /// Whom it is for.
    pub names: Vec<String>,
    /// What is wrong: with files that changed, with an order, or with the certificate's dates.
    /// Null: nothing.
    pub fault: Option<String>,
    /// Handshakes that succeeded.
    pub handshakes: u64,
    /// Handshakes that failed.
    pub failed: u64,
    /// Handshakes that took too long.
    pub timed_out: u64,
    /// Connections that spoke something else.
    pub not_tls: u64,
    /// How often changed files were taken up.
    pub reloads: u64,
}

impl TlsStatus {
    /// Handshakes by result.
    pub fn handshakes_by_result(&self) -> [(&'static str, u64); 4] {
        [("done", self.handshakes), ("failed", self.failed), ("timed_out", self.timed_out), ("not_tls", self.not_tls)]
    }
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// They cannot be read or do not fit; an absent certificate is none where one is being ordered.
    pub fn open(source: Source) -> Result<Arc<Self>, TlsError> {
        let read = Mutex::new(source.stamps());
        let identity = match Identity::read(&source.cert_file, &source.key_file) {
            Ok(identity) => Some(identity),
            Err(error) if source.challenges.is_some() => {
                tracing::info!(%error, "there is no certificate yet: handshakes fail until one was ordered");
                None
            }
            Err(error) => return Err(error),
        };
        let resolver = Arc::new(Resolver::new(identity, source.challenges.clone()));
        let config = RwLock::new(source.config(&resolver)?);
        let (fault, order_fault, counts) = Default::default();
        let tls = Self { source, resolver, config, read, fault, order_fault, counts };
        if let Some(fault) = tls.date_fault() {
            tracing::warn!(cert_file = %tls.source.cert_file.display(), fault = fault.message, "clients will refuse this certificate");
        }
        Ok(Arc::new(tls))
    }

    /// Makes a fresh connection a TLS connection within `limit`. Those established before a change
    /// of certificate stay as they are.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn accept(&self, socket: TcpStream, limit: Duration) -> Result<TlsStream, HandshakeError> {
        let outcome = timeout(limit, self.handshake(socket)).await.unwrap_or(Err(HandshakeError::TimedOut));
        let counter = match &outcome {
            Ok(_) => &self.counts.done,
            Err(HandshakeError::TimedOut) => &self.counts.timed_out,
            Err(HandshakeError::NotTls(_)) => &self.counts.not_tls,
            Err(HandshakeError::Failed(_)) => &self.counts.failed,
            Err(HandshakeError::Left | HandshakeError::Challenge) => return outcome,
        };
        counter.fetch_add(1, Relaxed);
        outcome
    }

    async fn handshake(&self, socket: TcpStream) -> Result<TlsStream, HandshakeError> {
        let mut first = [0];
        match socket.peek(&mut first).await {
            Ok(0) => return Err(HandshakeError::Left),
            Ok(_) if first != [HANDSHAKE_RECORD] => return Err(HandshakeError::NotTls(socket)),
            Ok(_) => {}
            Err(_) => return Err(HandshakeError::Left),
        }
        let config = Arc::clone(&self.config.read());
        let stream = TlsAcceptor::from(config).accept(socket).await.map_err(HandshakeError::Failed)?;
        if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS_ALPN) {
            return Err(HandshakeError::Challenge);
        }
        Ok(TlsStream::Server(stream))
    }

    /// What is known of the peer by its certificate; `None` if it showed none.
    pub fn client_certificate(stream: &TlsStream) -> Option<ClientCertificate> {
        let (_, connection) = stream.get_ref();
        connection.peer_certificates()?.first().and_then(ClientCertificate::of)
    }

    /// Reads the files again. What is wrong with them is remembered for [`Self::status`].
    ///
    /// # Errors
    /// They cannot be read or do not fit; what was in force stays so.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut read = self.read.lock();
        *read = self.source.stamps();
        if self.source.challenges.is_some() && !self.source.cert_file.exists() {
            // It is still being ordered.
            return Ok(());
        }
        let outcome = Identity::read(&self.source.cert_file, &self.source.key_file).and_then(|identity| {
            if self.source.client_ca_file.is_some() {
                *self.config.write() = self.source.config(&self.resolver)?;
            }
            self.resolver.replace(identity);
            Ok(())
        });
        *self.fault.lock() = outcome.as_ref().err().map(|error| Fault { code: error.code(), message: error.to_string() });
        if outcome.is_ok() {
            self.counts.reloads.fetch_add(1, Relaxed);
        }
        outcome
    }

    /// Reads the files again if they have changed, and says in the log what came of it. Blocks on
    /// the disk.
    pub fn reload_if_changed(&self) {
        if *self.read.lock() == self.source.stamps() {
            return;
        }
        let cert_file = self.source.cert_file.display();
        match self.reload() {
            Ok(()) => tracing::info!(%cert_file, "the certificate was read again"),
            Err(error) => tracing::error!(%error, "the certificate could not be read again; the one in force stays"),
        }
    }

    /// Looks after the files for as long as it is polled.
    pub async fn keep(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            if tokio::task::spawn_blocking(move || tls.reload_if_changed()).await.is_err() {
                tracing::error!("the task that watches the certificate failed");
            }
        }
    }

    /// What became of the last order of a certificate; `None`: it went well.
    pub(crate) fn set_order_fault(&self, message: Option<String>) {
        *self.order_fault.lock() = message.map(|message| Fault { code: "tls_order_failed", message });
    }

    /// What the certificate in force says of itself.
    pub fn facts(&self) -> Option<Facts> {
        self.resolver.facts()
    }

    /// The names in the certificate in force; none while there is no certificate.
    pub fn certified_names(&self) -> Vec<String> {
        self.facts().map(|facts| facts.names).unwrap_or_default()
    }

    /// The file the certificate is read from.
    pub fn cert_file(&self) -> &Path {
        &self.source.cert_file
    }

    /// What is wrong just now.
    pub fn fault(&self) -> Option<Fault> {
        let told = self.fault.lock().clone().or_else(|| self.order_fault.lock().clone());
        told.or_else(|| self.date_fault())
    }

    /// How it is just now.
    pub fn status(&self) -> TlsStatus {
        let facts = self.facts();
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        TlsStatus {
            not_after: facts.as_ref().map(|facts| timestamp::text(facts.not_after)),
            names: facts.map(|facts| facts.names).unwrap_or_default(),
            fault: self.fault().map(|fault| fault.message),
            handshakes: load(&self.counts.done),
            failed: load(&self.counts.failed),
            timed_out: load(&self.counts.timed_out),
            not_tls: load(&self.counts.not_tls),
            reloads: load(&self.counts.reloads),
        }
    }

    fn date_fault(&self) -> Option<Fault> {
        let now = SystemTime::now();
        let (code, message) = match self.facts() {
            None => ("tls_no_certificate", "there is no certificate yet".to_owned()),
            Some(facts) if facts.not_after <= now => {
                ("tls_certificate_expired", format!("the certificate expired at {}", timestamp::text(facts.not_after)))
            }
            Some(facts) if facts.not_before > now => (
                "tls_certificate_not_yet_valid",
                format!("the certificate is not good before {}", timestamp::text(facts.not_before)),
            ),
            Some(_) => return None,
        };
        Some(Fault { code, message })
    }
}

impl Source {
    /// Whether the files are good; those that are being ordered may be absent.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        if self.challenges.is_none() {
            Identity::read(&self.cert_file, &self.key_file)?;
        }
        self.config(&Arc::new(Resolver::new(None, self.challenges.clone()))).map(drop)
    }

    fn stamps(&self) -> [Stamp; 3] {
        [stamp(&self.cert_file), stamp(&self.key_file), self.client_ca_file.as_deref().and_then(stamp)]
    }

    fn config(&self, resolver: &Arc<Resolver>) -> Result<Arc<ServerConfig>, TlsError> {
        let bad = |error: rustls::Error| TlsError::Config(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(bad)?;
        let builder = match &self.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                // Asked for, not insisted on: who needs one is decided by path, where it can be
                // said in words.
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider());
                let verifier = verifier.allow_unauthenticated().build();
                let why = |error: rustls::server::VerifierBuilderError| error.to_string();
                builder.with_client_cert_verifier(
                    verifier.map_err(|error| TlsError::Roots { from: path.display().to_string(), why: why(error) })?,
                )
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(resolver) as _);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if self.challenges.is_some() {
            config.alpn_protocols.push(ACME_TLS_ALPN.to_vec());
        }
        Ok(Arc::new(config))
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}
