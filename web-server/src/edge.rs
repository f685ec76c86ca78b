//! The running edge: binds, serves, does housekeeping, drains.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_web::{
    App, HttpResponse,
    dev::ServerHandle,
    middleware::{Condition, from_fn},
    web,
};
use common::{
    assertion::Signer,
    close::CloseCode,
    config::{CookieSecure, Settings, WebSettings, ws_authority},
    dialect::Dialect,
    error::ErrorCode,
    files::{FolderLock, FolderLockError, secure_folder},
    network::is_loopback,
    timestamp::millis,
};
use gateway::doors::{SessionEntrance, SessionPipe};
use tls::{Listener, TlsError};
use transport::{
    Gate, GateRules, HostRule, HttpFaults, OriginRule, ServeOptions, client_address::TrustedProxies, listen, operator::Operators,
    serve,
};

use crate::{
    assets::{self, AssetError, Library},
    calls,
    dialects::{
        self, DialectError, Dialects, Surroundings,
        host::{DialectHost, Judges},
    },
    history,
    http::{
        BrokerApi, CallPipe, Hsts, InFlight, Refusal, Throttle, allow_origins, count_in_flight, keep_reporting, note_refusals,
        refuse_ambiguous, refuse_forged, require_own_host, security_headers,
    },
    logins::{self, Logins},
    metrics,
    proxy::{self, ProxyEnvironment},
    sessions::{self, CookiePolicy, Credentials, OpenSockets, Order, SessionAuthority, SocketLimits, sharing::Sharing},
    status::{self, EdgeStatus, Phase},
};

/// How often sockets are checked for tokens that expire; more often if tokens live for minutes
/// only.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Sockets are closed this long before their token expires, so that it can still be renewed.
const RENEWAL_MARGIN: Duration = Duration::from_secs(60);
/// How often a batch of sockets is closed while draining, and how often completion is checked.
const DRAIN_TICK: Duration = Duration::from_millis(20);
/// How long the last report to the audit log may take, even after the drain's time is over.
const LAST_REPORT: Duration = Duration::from_secs(1);
/// The lock's file in the data folder.
const LOCK: &str = "edge.lock";
/// The part of the drain's time that is reserved for sockets to finish closing.
const CLOSING_SHARE: u32 = 4;

/// Why the edge does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address.
    #[error("the edge cannot listen on {addr}: {source}")]
    Bind {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The app.
    #[error(transparent)]
    Assets(#[from] AssetError),
    /// The certificate or its key is invalid, or the authorities for dialling the broker are.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The ways to log in.
    #[error("the settings of logins are invalid: {}", .0.iter().map(|(key, fault)| format!("{key}: {fault}")).collect::<Vec<_>>().join("; "))]
    Logins(Vec<(&'static str, String)>),
    /// The data folder.
    #[error("the data folder {} cannot be used: {source}; name another with data.dir (DATA_DIR)", folder.display())]
    Folder {
        /// Which.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another edge uses the data folder.
    #[error("{0}: two edges cannot share a data folder; give each its own with data.dir (DATA_DIR)")]
    Shared(#[from] FolderLockError),
    /// The sessions that were ended.
    #[error("the stored revocations in {folder} cannot be read: {source}")]
    Revocations {
        /// The data folder.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A dialect.
    #[error(transparent)]
    Dialect(#[from] DialectError),
    /// The worker threads.
    #[error("cannot start the edge's server: {0}")]
    Serve(io::Error),
}

/// A running edge.
pub struct EdgeHandle {
    addr: SocketAddr,
    server: ServerHandle,
    parts: Parts,
    drain: common::config::Drain,
    housekeeping: tokio::task::JoinHandle<()>,
    key_keeping: tokio::task::JoinHandle<()>,
    reporting: tokio::task::JoinHandle<()>,
    sharing: tokio::task::JoinHandle<()>,
    tls: Option<Listener>,
    dialects: Arc<Dialects>,
    /// Client names and revocations belong to this edge alone.
    _lock: FolderLock,
}

/// What the worker threads share.
#[derive(Clone)]
struct Parts {
    library: Arc<Library>,
    authority: Arc<SessionAuthority>,
    credentials: Arc<Credentials>,
    logins: Arc<Logins>,
    sockets: Arc<OpenSockets>,
    environment: Arc<ProxyEnvironment>,
    status: Arc<EdgeStatus>,
    cookies: CookiePolicy,
    origins: OriginRule,
    hosts: HostRule,
    hsts: Option<Hsts>,
    gate: Arc<Gate>,
    faults: Arc<HttpFaults>,
    proxies: TrustedProxies,
    throttle: Arc<Throttle>,
    operators: Operators,
    requests: Arc<InFlight>,
    broker: Arc<BrokerApi>,
    sharing: Arc<Sharing>,
    /// Known once their listeners are open.
    dialects: Option<Arc<Dialects>>,
    body_limit: calls::BodyLimit,
}

/// Starts the edge. Needs a running actix system; the server ends with it.
///
/// # Errors
/// The folder of the app cannot be opened, a TLS file is invalid, or the address cannot be bound.
pub fn start(settings: &Settings) -> Result<EdgeHandle, StartError> {
    start_with(settings, None, SystemTime::now())
}

/// Starts the edge on a machine whose clock says `now` when it signs for the broker.
///
/// # Errors
/// See [`start`].
pub fn start_by_clock(settings: &Settings, now: SystemTime) -> Result<EdgeHandle, StartError> {
    start_with(settings, None, now)
}

/// A broker in the same process.
#[derive(Clone)]
pub struct Beside {
    /// Connects sessions.
    pub sessions: SessionPipe,
    /// Makes calls over HTTP. `None`: the broker is asked over its own HTTP.
    pub calls: Option<CallPipe>,
}

impl From<SessionPipe> for Beside {
    fn from(sessions: SessionPipe) -> Self {
        Self { sessions, calls: None }
    }
}

/// Starts the edge beside a broker in the same process. Sessions are connected to it without a
/// socket.
///
/// # Errors
/// See [`start`].
pub fn start_beside(settings: &Settings, broker: impl Into<Beside>) -> Result<EdgeHandle, StartError> {
    start_with(settings, Some(broker.into()), SystemTime::now())
}

fn start_with(settings: &Settings, broker: Option<Beside>, now: SystemTime) -> Result<EdgeHandle, StartError> {
    let folder = &settings.data.dir;
    secure_folder(folder).map_err(|source| StartError::Folder { folder: folder.clone(), source })?;
    let lock = FolderLock::take(folder, LOCK)?;
    let tls = Listener::start(&settings.web.tls, settings, None)?;
    let bind = |source| StartError::Bind { addr: settings.web.addr, source };
    let listener = listen(settings.web.addr).map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    // The text that a wallet signs may name the address that was bound.
    let settings = &Settings { web: WebSettings { addr, ..settings.web.clone() }, ..settings.clone() };
    let parts = Parts::new(settings, broker.clone(), tls.as_ref(), now)?;

    let options = ServeOptions {
        gate: Arc::clone(&parts.gate),
        workers: transport::serve::workers(settings.web.workers),
        tls: tls.as_ref().map(Listener::server),
        handshake_timeout: settings.limits.handshake_timeout,
        request_timeout: settings.limits.request_timeout,
        faults: Arc::clone(&parts.faults),
        max_in_flight: settings.limits.max_handshakes,
        shutdown_timeout: settings.drain.timeout,
    };
    let dialects = Arc::new(dialects::start(settings, parts.host(settings, broker), &options, &parts.surroundings(settings))?);
    let shared = Parts { dialects: Some(Arc::clone(&dialects)), ..parts.clone() };
    let allowed_origins = settings.web.allowed_origins.clone();
    let server = serve(listener, &options, move || {
        let parts = shared.clone();
        App::new()
            .app_data(web::Data::from(Arc::clone(&parts.requests)))
            .wrap(from_fn(refuse_ambiguous))
            .wrap(from_fn(refuse_forged))
            .wrap(from_fn(note_refusals))
            .wrap(Condition::new(!allowed_origins.is_empty(), allow_origins(&allowed_origins)))
            .wrap(from_fn(require_own_host))
            .wrap(from_fn(security_headers))
            .wrap(from_fn(count_in_flight))
            .configure(move |routes| parts.configure(routes))
    })
    .map_err(StartError::Serve)?;
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "the edge's server ended");
        }
    });

    warn_of_clear_text(settings, addr, tls.is_some());
    let every = HOUSEKEEPING.min(settings.web.session_ttl / 20);
    let housekeeping = actix_rt::spawn(keep_house(Arc::clone(&parts.sockets), every));
    let credentials = Arc::clone(&parts.credentials);
    let key_keeping = actix_rt::spawn(async move { credentials.keep_keys().await });
    let reporting = actix_rt::spawn(keep_reporting(Arc::clone(&parts.broker)));
    let sharer = Arc::clone(&parts.sharing);
    let sharing = actix_rt::spawn(async move { sharer.keep().await });
    parts.status.enter(Phase::Ready);
    tracing::info!(%addr, broker = parts.environment.broker(), tls = tls.is_some(), "edge listens");
    Ok(EdgeHandle {
        addr,
        server: handle,
        parts,
        drain: settings.drain.clone(),
        housekeeping,
        key_keeping,
        reporting,
        sharing,
        tls,
        dialects,
        _lock: lock,
    })
}

/// Warns if others on the network can read the traffic.
fn warn_of_clear_text(settings: &Settings, addr: SocketAddr, under_tls: bool) {
    let proxied = settings.web.cookie_secure == CookieSecure::Always || !settings.proxies.trusted.is_empty();
    if !under_tls && !proxied && !addr.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %addr,
            "session cookies and all messages cross the network without TLS: set web.tls_cert_file or web.tls_acme, or name the proxy that speaks TLS in proxies.trusted"
        );
    }
    let url = settings.web.broker_url.as_deref().unwrap_or_default();
    if url.starts_with("ws://") && !is_loopback(&ws_authority(url)) {
        tracing::warn!(url, "all messages to the broker cross the network without TLS: dial it by wss://");
    }
}

impl EdgeHandle {
    /// The address that was bound.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The dialects that are on, each with the address that was bound.
    pub fn dialects(&self) -> Vec<(Dialect, SocketAddr)> {
        self.dialects.addresses()
    }

    /// Reads the certificate again, as the operator asked. If it cannot be read, the one in force
    /// stays.
    pub async fn reload_certificate(&self) {
        if let Some(tls) = &self.tls {
            tls.reload().await;
        }
    }

    /// Ends the edge in an orderly way: it becomes not ready, tells browsers, closes their sockets
    /// with 1012 at the configured pace, and answers the requests in progress. What is left after
    /// `drain.timeout` is cut.
    pub async fn drain(&self) {
        let started = Instant::now();
        let Parts { status, sockets, .. } = &self.parts;
        status.enter(Phase::Draining);
        sockets.shut();
        self.dialects.shut();
        self.housekeeping.abort();
        self.key_keeping.abort();
        self.reporting.abort();
        self.sharing.abort();
        sockets.order_all(Order::AnnounceDrain { close_within_ms: millis(self.drain.timeout) });
        self.close_sockets(started).await;
        let is_busy = || sockets.count() + self.dialects.strangers() + self.parts.requests.count() > 0;
        while is_busy() && started.elapsed() < self.drain.timeout {
            tokio::time::sleep(DRAIN_TICK).await;
        }
        let cut = sockets.count();
        // The last answers are on their way to the kernel. A graceful stop would also wait for idle
        // connections.
        tokio::time::sleep(DRAIN_TICK).await;
        self.server.stop(false).await;
        self.dialects.stop().await;
        self.parts.sharing.finish().await;
        self.parts.broker.report_last(self.drain.timeout.saturating_sub(started.elapsed()).max(LAST_REPORT)).await;
        tracing::info!(cut, "edge drained");
    }

    /// Closes every socket, at the configured pace, or faster if the time would otherwise not
    /// suffice.
    async fn close_sockets(&self, started: Instant) {
        let open = self.parts.sockets.numbers();
        let time = self.drain.timeout.saturating_sub(self.drain.timeout / CLOSING_SHARE).saturating_sub(started.elapsed());
        let ticks = (time.as_millis() / DRAIN_TICK.as_millis()).max(1);
        let needed = open.len().div_ceil(usize::try_from(ticks).unwrap_or(usize::MAX));
        let by_pace = self.drain.pace * DRAIN_TICK.subsec_millis() as usize / 1000;
        let order = Order::Close { code: CloseCode::SERVICE_RESTART, reason: "the server restarts" };
        for batch in open.chunks(by_pace.max(needed).max(1)) {
            for socket in batch {
                self.parts.sockets.order_one(*socket, order.clone());
            }
            tokio::time::sleep(DRAIN_TICK).await;
        }
    }
}

impl Parts {
    fn new(settings: &Settings, broker: Option<Beside>, tls: Option<&Listener>, now: SystemTime) -> Result<Self, StartError> {
        let folder = &settings.data.dir;
        let authority = SessionAuthority::open(&settings.web.session_secret, settings.web.session_ttl, folder);
        let authority = Arc::new(authority.map_err(|source| StartError::Revocations { folder: folder.clone(), source })?);
        let (logins, issuers) = Logins::new(settings).map_err(StartError::Logins)?;
        let credentials = Arc::new(Credentials::new(Arc::clone(&authority), issuers));
        let sockets = OpenSockets::new(SocketLimits {
            max_sockets: settings.limits.max_connections,
            max_of_session: settings.limits.max_session_connections,
            margin: RENEWAL_MARGIN,
        });
        let signer = Arc::new(Signer::by_clock(settings.broker.bridge_secret.clone(), now));
        let (pipe, calls) = broker.map(|broker| (broker.sessions, broker.calls)).unzip();
        let api = Arc::new(BrokerApi::new(settings, Arc::clone(&signer), calls.flatten()));
        let sharing = Arc::new(Sharing::new(Arc::clone(&authority), Arc::clone(&sockets), Arc::clone(&api)));
        let certified = tls.map(|tls| tls.server().certified_names()).unwrap_or_default();
        let throttle = Arc::new(Throttle::new(settings, credentials.renewals()));
        let judges = (signer, Arc::clone(&throttle));
        let environment = ProxyEnvironment::new(settings, Arc::clone(&credentials), Arc::clone(&sharing), judges, pipe)?;
        Ok(Self {
            library: Arc::new(Library::open(settings.web.static_path.as_ref())?),
            authority,
            credentials,
            logins: Arc::new(logins),
            sockets,
            status: EdgeStatus::new(environment.broker().to_owned(), tls.map(Listener::server)),
            cookies: CookiePolicy { secure: settings.web.cookie_secure, tls: tls.is_some() },
            hsts: tls.and_then(|_| Hsts::new(settings.web.hsts)),
            origins: OriginRule::new(&settings.web.allowed_origins, TrustedProxies::of(&settings.proxies)),
            hosts: HostRule::new(settings.web.hosts.iter().chain(&certified).map(String::as_str).chain(settings.public_hosts())),
            gate: Gate::new(GateRules::of(settings, settings.proxies.web_protocol)),
            faults: Arc::default(),
            proxies: TrustedProxies::of(&settings.proxies),
            throttle,
            operators: Operators::new(
                &settings.broker.operator_token,
                settings.web.addr,
                &settings.proxies,
                settings.proxies.web_protocol,
            ),
            requests: Arc::default(),
            broker: api,
            body_limit: calls::BodyLimit(settings.limits.client_frame_bytes()),
            sharing,
            environment,
            dialects: None,
        })
    }

    /// The edge as the host of dialects. With `broker`, that is in this process.
    fn host(&self, settings: &Settings, broker: Option<Beside>) -> DialectHost {
        let entrance = match broker {
            Some(broker) => SessionEntrance::Pipe(broker.sessions),
            None => SessionEntrance::Socket {
                address: self.environment.broker_address().clone(),
                secret: settings.broker.bridge_secret.clone(),
            },
        };
        let judges = Judges {
            credentials: Arc::clone(&self.credentials),
            authority: Arc::clone(&self.authority),
            sockets: Arc::clone(&self.sockets),
            throttle: Arc::clone(&self.throttle),
            broker: Arc::clone(&self.broker),
            operators: self.operators.clone(),
        };
        DialectHost::new(settings, entrance, judges)
    }

    fn surroundings(&self, settings: &Settings) -> Surroundings {
        Surroundings {
            origins: self.origins.clone(),
            allowed_origins: settings.web.allowed_origins.clone(),
            hosts: self.hosts.clone(),
            hsts: self.hsts.clone(),
            proxies: self.proxies.clone(),
            throttle: Arc::clone(&self.throttle),
            broker: Arc::clone(&self.broker),
            requests: Arc::clone(&self.requests),
        }
    }

    fn configure(self, routes: &mut web::ServiceConfig) {
        sessions::routes::share(routes, &self.authority, &self.credentials, &self.sockets, self.cookies);
        routes
            .app_data(web::Data::new(self.origins))
            .app_data(web::Data::new(self.hosts))
            .app_data(web::Data::new(self.hsts))
            .app_data(web::Data::from(self.gate))
            .app_data(web::Data::from(self.faults))
            .app_data(web::Data::new(self.proxies))
            .app_data(web::Data::from(self.throttle))
            .app_data(web::Data::new(self.operators))
            .app_data(web::Data::from(self.library))
            .app_data(web::Data::from(self.status))
            .app_data(web::Data::from(self.logins))
            .app_data(web::Data::from(Arc::clone(&self.environment.counters)))
            .configure(status::configure)
            .configure(metrics::configure)
            .app_data(web::Data::new(self.body_limit))
            .app_data(web::Data::from(self.broker))
            .app_data(web::Data::from(self.sharing))
            .app_data(web::Data::new(self.dialects))
            .configure(|routes| proxy::routes::configure(routes, &self.environment))
            .service(
                web::scope("/api")
                    .service(web::resource(["", "/"]).route(web::get().to(status::about)))
                    .configure(sessions::routes::configure)
                    .configure(history::configure)
                    .configure(proxy::events::configure)
                    .configure(calls::configure)
                    .default_service(web::route().to(nothing_here)),
            )
            .service(web::scope("/auth").configure(logins::routes::configure).default_service(web::route().to(nothing_here)))
            .default_service(web::route().to(assets::serve));
    }
}

async fn nothing_here() -> Result<HttpResponse, Refusal> {
    Err(ErrorCode::NotFound.into())
}

/// Tells clients whose token expires soon, and closes the sockets of those that do not renew it.
async fn keep_house(sockets: Arc<OpenSockets>, every: Duration) {
    let order = Order::Close { code: CloseCode::CREDENTIALS_EXPIRED, reason: "the session token is about to expire: renew it" };
    let mut ticks = tokio::time::interval(every);
    loop {
        ticks.tick().await;
        sockets.keep_house(SystemTime::now(), &order);
    }
}
