//! Starting and stopping the broker.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix::Arbiter;
use actix_web::{App, dev::ServerHandle, middleware};
use common::{
    config::Settings,
    timestamp::{millis, unix_ms},
};
use identity::agent_keys::KeyFileError;
use tls::{Listener, TlsError};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep, timeout},
};
use transport::ServeOptions;

use crate::{
    audit::Event,
    broker::Broker,
    durable::{self, Channels, OpenError},
    http::{self, sockets::LocalBroker},
    keys::Keys,
    lifecycle::Readiness,
    revocations::SharedRevocations,
    snapshot,
    state::{Drain, KeepSnapshot},
};

/// On every answer: it is not a page, and must not be cached.
const HEADERS: [(&str, &str); 4] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
];
/// How often retention is applied, and to how many records in one step.
const RETENTION_TICK: Duration = Duration::from_secs(2);
const RETENTION_STEP: u32 = 1000;
/// Of so many ticks, retention is applied once to a store without messages; also when sessions are
/// checked.
const IDLE_TICKS: u32 = 30;
/// How often sessions are checked; more often if they are kept for less than [`LOOKS`] times as
/// long.
const FORGET_EVERY: Duration = Duration::from_secs(600);
const LOOKS: u32 = 4;
/// How often a drain checks whether all have gone.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The file of agent keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The stored revocations cannot be read.
    #[error("the stored revocations in {folder} cannot be read: {source}")]
    Revocations {
        /// The data folder.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The certificate or its key is invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server's threads cannot be started.
    #[error("cannot start the server: {0}")]
    Serve(io::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct BrokerHandle {
    addr: SocketAddr,
    broker: Arc<Broker>,
    server: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
    housekeeping: [JoinHandle<()>; 3],
    tls: Option<Listener>,
    state_thread: Arbiter,
}

/// Starts the broker. Needs an actix system.
///
/// # Errors
/// The address is in use or not local; a file is invalid.
pub async fn start(settings: &Settings) -> Result<BrokerHandle, StartError> {
    let wanted = settings.broker.addr;
    let listener = transport::listen(wanted).map_err(|source| StartError::Listen { addr: wanted, source })?;
    let addr = listener.local_addr().map_err(StartError::Serve)?;
    let tls = Listener::start(&settings.broker.tls, settings, settings.broker.client_ca_file.clone())?;
    let keys = Keys::open(settings)?;
    let folder = &settings.data.dir;
    let revocations =
        SharedRevocations::open(folder).map_err(|source| StartError::Revocations { folder: folder.clone(), source })?;
    let store = durable::open_store(settings).await?;
    let opening =
        Channels::open(store, settings.store.ack_timeout, u32::try_from(settings.store.max_deliveries).unwrap_or(u32::MAX));
    let channels = opening.await.map_err(|error| OpenError::of(error, folder))?;
    let before = snapshot::load(channels.store().as_ref()).await;
    let state_thread = Arbiter::new();
    let server_tls = tls.as_ref().map(Listener::server);
    let broker = Broker::new(settings, keys, revocations, channels, before, &state_thread.handle(), server_tls);

    let workers = transport::serve::workers(settings.broker.workers);
    let options = ServeOptions {
        gate: Arc::clone(&broker.http.gate),
        workers,
        tls: tls.as_ref().map(Listener::server),
        handshake_timeout: settings.limits.handshake_timeout,
        request_timeout: settings.limits.request_timeout,
        faults: Arc::clone(&broker.http.faults),
        max_in_flight: settings.limits.max_handshakes.div_ceil(workers),
        shutdown_timeout: settings.drain.timeout,
    };
    let shared = Arc::clone(&broker);
    let server = transport::serve(listener, &options, move || {
        App::new()
            .wrap(HEADERS.iter().fold(middleware::DefaultHeaders::new(), |headers, header| headers.add(*header)))
            .configure(|config| http::routes(config, &shared))
    })
    .map_err(StartError::Serve)?;
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    let housekeeping = [
        actix_rt::spawn(keep_store(Arc::clone(&broker))),
        actix_rt::spawn(Arc::clone(&broker.authentication.keys).keep(Arc::clone(&broker.router), Arc::clone(&broker.audit))),
        actix_rt::spawn(Arc::clone(&broker.audit).keep(Arc::clone(broker.channels.store()))),
    ];
    broker.audit.note(Event::Admin, "bridge", "started", "");
    if let Some(why) = broker.channels.store().health().new_epoch {
        broker.audit.note(Event::Admin, "bridge", &format!("began a new epoch of the store: {why}"), "");
    }
    broker.lifecycle.set_readiness(Readiness::Ready);
    if tls.is_none() && !addr.ip().to_canonical().is_loopback() {
        tracing::warn!(%addr, "agent keys and all messages cross the network without TLS, unless a proxy in front speaks TLS: set broker.tls_cert_file or broker.tls_acme");
    }
    tracing::info!(%addr, workers, tls = tls.is_some(), "broker listens");
    Ok(BrokerHandle { addr, broker, server: handle, serving, housekeeping, tls, state_thread })
}

/// Applies retention, and tells the senders of messages that become dead letters.
async fn keep_store(broker: Arc<Broker>) {
    let mut ticks = tokio::time::interval(RETENTION_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let forget_every = FORGET_EVERY.min(broker.settings.store.forget_sessions / LOOKS);
    let mut forget_at = Instant::now();
    for tick in (0..IDLE_TICKS).cycle() {
        ticks.tick().await;
        let is_due = Instant::now() >= forget_at;
        if is_due {
            forget_sessions(&broker).await;
            forget_at = Instant::now() + forget_every;
        }
        if tick != 0 && !is_due && broker.channels.store().health().records == 0 {
            // There is hardly anything to remove, and live traffic should not share its core with
            // an idle store. What is kept of channels, positions and the audit log is removed once
            // in a while.
            continue;
        }
        let now = unix_ms();
        let age = millis(broker.settings.store.dead_letters.age);
        if age > 0 {
            broker.channels.forget_deaths(now.saturating_sub(age));
        }
        loop {
            match broker.channels.store().trim(now, RETENTION_STEP).await {
                Ok(trimmed) => {
                    broker.on_dead_letters(&trimmed.dead_lettered);
                    if !trimmed.more {
                        break;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "retention could not be applied");
                    break;
                }
            }
        }
    }
}

/// Records which sessions are connected, and forgets those that were not for long.
async fn forget_sessions(broker: &Arc<Broker>) {
    let store = broker.channels.store();
    let mut forgetting = broker.channels.begin_forgetting();
    let here = broker.router.read().session_ids();
    let now = unix_ms();
    let forgotten = async {
        for some in here.chunks(RETENTION_STEP as usize) {
            store.touch_sessions(some.to_vec(), now).await?;
        }
        let before = now.saturating_sub(millis(broker.settings.store.forget_sessions));
        loop {
            let step = forgetting.step(before, now, RETENTION_STEP).await?;
            broker.on_dead_letters(&step.dead_lettered);
            forgetting.forget(&step.sessions, now);
            if !step.more {
                return Ok::<_, store::StoreError>(());
            }
        }
    };
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "sessions could not be forgotten");
    }
}

impl BrokerHandle {
    /// The address on which it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The state shared by its threads.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// A connection for an edge in the same process.
    pub fn local(&self) -> LocalBroker {
        LocalBroker(Arc::clone(&self.broker))
    }

    /// Resolves when a router has died: the broker is useless then, and the process should end.
    pub async fn failed(&self) {
        let mut died = self.broker.lifecycle.watch_routers();
        if died.wait_for(|died| *died).await.is_err() {
            std::future::pending().await
        }
    }

    /// Reads the certificate again, as the operator asked. If it cannot be read, the one in force
    /// stays.
    pub async fn reload_certificate(&self) {
        if let Some(tls) = &self.tls {
            tls.reload().await;
        }
    }

    /// Reads the file of agent keys again, as the operator asked, and closes the connections of
    /// those that ended. If it cannot be read, the keys in force stay.
    pub async fn reload_keys(&self) {
        let broker = Arc::clone(&self.broker);
        match spawn_blocking(move || broker.reload_keys()).await {
            Ok(Ok(())) => tracing::info!("the agent keys were read again"),
            Ok(Err(error)) => tracing::error!(%error, "the agent keys could not be read again; those in force stay"),
            Err(_) => tracing::error!("reading the agent keys failed"),
        }
    }

    /// Accepts no new connections from now on, and tells probes: the first step of a drain.
    pub fn refuse_new(&self) {
        self.broker.lifecycle.set_readiness(Readiness::Draining);
    }

    /// Stops in an orderly way: not ready, everyone told, connections closed at a bounded pace,
    /// within the configured limit. Returns how many connections had to be cut.
    pub async fn drain(self) -> usize {
        let limit = self.broker.settings.drain.timeout;
        let deadline = Instant::now() + limit;
        self.refuse_new();
        self.broker.state.do_send(Drain);
        while self.broker.connections() > 0 && Instant::now() < deadline {
            sleep(DRAIN_POLL).await;
        }
        let left = self.broker.connections();
        tracing::info!(left, "broker drained");
        let stopping = async {
            self.server.stop(left == 0).await;
            drop(self.serving.await);
        };
        if timeout(Duration::from_secs(2), stopping).await.is_err() {
            tracing::warn!("the server's threads did not stop in time");
        }
        self.housekeeping.iter().for_each(JoinHandle::abort);
        let broker = Arc::clone(&self.broker);
        drop(spawn_blocking(move || broker.authentication.keys.save_uses()).await);
        self.broker.audit.note(Event::Admin, "bridge", "stopped in order", "");
        self.broker.audit.write(self.broker.channels.store().as_ref()).await;
        let _ = self.broker.state.send(KeepSnapshot).await;
        self.state_thread.stop();
        if let Err(error) = self.broker.channels.store().close().await {
            tracing::warn!(%error, "the store did not close properly");
        }
        left
    }
}
