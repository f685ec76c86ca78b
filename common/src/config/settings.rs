//! The typed settings for the crates, with their defaults.
//!
//! Owns only the shapes and the default values: [`super::table`] says where a value may come from
//! and what it may be. Durations are [`Duration`]s and sizes are bytes. Each field says what zero
//! means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::auth_settings::AuthSettings;
use super::dialect_settings::DialectsSettings;
use super::guards::{AccessSettings, ProxySettings, Rates};
use super::store_settings::{Backend, DefaultDelivery, StoreSettings};
use super::tls::{AcmeSettings, ClientCertificates, ListenerTls};
use crate::{network::Network, secret::Secret};

/// The agent key that ships with the project, for development on loopback only.
pub const DEV_AGENT_KEY: &str = "dev_token";

/// The development key of earlier releases. It is refused everywhere.
pub const RETIRED_DEV_AGENT_KEY: &str = "dev-agent-key";

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// All settings, validated.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The broker (websocket-server).
    pub broker: BrokerSettings,
    /// The edge (web-server).
    pub web: WebSettings,
    /// How people log in at the edge.
    pub auth: AuthSettings,
    /// Protocols of other systems.
    pub dialects: DialectsSettings,
    /// Bounds on what peers may use.
    pub limits: Limits,
    /// Rates per second.
    pub rates: Rates,
    /// Proxies in front.
    pub proxies: ProxySettings,
    /// What sessions may reach.
    pub access: AccessSettings,
    /// Liveness of connections.
    pub heartbeat: Heartbeat,
    /// What happens at shutdown.
    pub drain: Drain,
    /// The built-in demo agent.
    pub demo: DemoSettings,
    /// Logging.
    pub log: LogSettings,
    /// State that outlives the process.
    pub data: DataSettings,
    /// Durable messages.
    pub store: StoreSettings,
    /// Certificates by ACME.
    pub acme: AcmeSettings,
}

/// Settings of the broker.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// Where the broker listens. Port 0: the system picks one. Default 127.0.0.1:8080.
    pub addr: SocketAddr,
    /// Worker threads; 0: one per core. Default 0.
    pub workers: usize,
    /// The keys that agents may present: at least one, with unique names.
    pub agent_keys: Vec<AgentKey>,
    /// Whether the shipped development key may be used on an address that is not loopback. Default
    /// false.
    pub allow_dev_key: bool,
    /// Broker and edge sign and check assertions with it. Empty until
    /// [`super::Loaded::resolve_secrets`] has run.
    pub bridge_secret: Secret,
    /// Opens the operators' API, and `/stats` and `/metrics` to other machines. Empty: nobody may
    /// use the API, and only this machine gets those pages.
    pub operator_token: Secret,
    /// TLS of the broker's listener.
    pub tls: ListenerTls,
    /// Whether agents must show a certificate. Default [`ClientCertificates::Optional`].
    pub client_certificates: ClientCertificates,
    /// The authorities of agents' certificates, in PEM. `None`: agents are not asked for a
    /// certificate.
    pub client_ca_file: Option<PathBuf>,
    /// Whether an agent's certificate must name the agent's id. Default false.
    pub client_names: bool,
    /// Names under which the broker answers besides those of [`Settings::public_hosts`]. Default
    /// none.
    pub hosts: Vec<String>,
    /// The authorities of the broker's own certificate, in PEM, for those who dial it. `None`: the
    /// system's.
    pub ca_file: Option<PathBuf>,
}

/// One pre-shared key of agents.
#[derive(Clone, Debug)]
pub struct AgentKey {
    /// The key's name, for logs and rotation; not secret.
    pub name: String,
    /// The key itself.
    pub key: Secret,
}

/// Settings of the edge.
#[derive(Clone, Debug)]
pub struct WebSettings {
    /// Where the edge listens. Port 0: the system picks one. Default 127.0.0.1:8081.
    pub addr: SocketAddr,
    /// Worker threads; 0: one per core. Default 0.
    pub workers: usize,
    /// Where the edge dials the broker, `ws://host:port` or `wss://host:port`. `None`: at
    /// `broker.addr`. Read it through [`Settings::broker_url`].
    pub broker_url: Option<String>,
    /// The folder of the app. `None`: the copy built into the binary.
    pub static_path: Option<PathBuf>,
    /// Signs session tokens. Empty until [`super::Loaded::resolve_secrets`] has run.
    pub session_secret: Secret,
    /// How long a session's token is valid. Default 30 days.
    pub session_ttl: Duration,
    /// Whether session cookies carry `Secure`. Default [`CookieSecure::Auto`].
    pub cookie_secure: CookieSecure,
    /// Origins besides its own from which browsers may connect, `scheme://host[:port]`. Default
    /// none.
    pub allowed_origins: Vec<String>,
    /// Names under which the edge answers besides those of [`Settings::public_hosts`]. Default
    /// none.
    pub hosts: Vec<String>,
    /// The first bound of the wait before the broker is dialled again. Default 1 s.
    pub reconnect_min: Duration,
    /// The largest bound of the wait before the broker is dialled again. Default 60 s.
    pub reconnect_max: Duration,
    /// Bytes of a browser's frames that are kept while the broker is away; 0: none. Default 64 KiB.
    pub upstream_queue_bytes: usize,
    /// TLS of the edge's listener.
    pub tls: ListenerTls,
    /// How long browsers remember to use https only; zero: they are not told. Default 180 days.
    pub hsts: Duration,
}

/// Whether session cookies carry the `Secure` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieSecure {
    /// Yes, unless the site is opened without TLS on this machine.
    Auto,
    /// Always: only https sites get a session.
    Always,
    /// Never.
    Never,
}

/// Bounds on what peers may use. docs/protocol/overload.md says what happens beyond each.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections in all. Default 20,000.
    pub max_connections: usize,
    /// HTTP connections and handshakes at once, without the WebSockets; at the edge, of each worker
    /// thread. Default 1024.
    pub max_handshakes: usize,
    /// Time for the HTTP request head. Default 5 s.
    pub handshake_timeout: Duration,
    /// Time for a whole HTTP request, and the grace of a client that reads its answer slowly.
    /// Default 30 s.
    pub request_timeout: Duration,
    /// Bytes of a frame, and of a message of several fragments. Default 1 MiB.
    pub max_frame_bytes: usize,
    /// The same for sessions; 0 = as `max_frame_bytes`. Read it through
    /// [`Limits::client_frame_bytes`]. Default 0.
    pub max_client_frame_bytes: usize,
    /// Fragments in a message. Default 256.
    pub max_fragments: usize,
    /// Nesting of JSON. Default 64.
    pub max_depth: usize,
    /// Invalid envelopes in a row. Default 16.
    pub max_bad_frames: usize,
    /// Bytes that wait for a peer that does not read. Default 4 MiB.
    pub outbox_bytes: usize,
    /// How long a peer may take hardly anything of what waits for it before it is closed. Default
    /// 10 s.
    pub slow_consumer_timeout: Duration,
    /// How long the senders to a slow peer may be paused at once; zero: never. Default 250 ms.
    pub flow_control_burst: Duration,
    /// The share of time for which the senders to a slow peer may be paused in the long run, 0 to
    /// 1; 0: none. Default 0.05.
    pub flow_control_share: f64,
    /// Subscriptions of a connection. Default 1024.
    pub max_subscriptions: usize,
    /// Subscriptions of all connections of a session. Default 4096.
    pub max_session_subscriptions: usize,
    /// Subscriptions of all sessions of a user. Default 16,384.
    pub max_user_subscriptions: usize,
    /// Subscriptions of all agents with one key; 0 = as `key_share` says. Default 0.
    pub max_key_subscriptions: usize,
    /// Open requests of a connection. Default 1024.
    pub max_pending_requests: usize,
    /// Connections of a session. Default 16.
    pub max_session_connections: usize,
    /// Topics in all. Default 100,000.
    pub max_topics: usize,
    /// Connections of one address to one listener that have not become a WebSocket. Default 256.
    pub max_address_handshakes: usize,
    /// Sockets of one address. Default 2048.
    pub max_address_connections: usize,
    /// Sockets of one user. Default 128.
    pub max_user_connections: usize,
    /// Sockets of agents with one key; 0 = no bound. Default 0.
    pub max_key_connections: usize,
    /// The part of each shared table that one session may have; 1: no share of its own. Default
    /// 0.02.
    pub session_share: f64,
    /// The same for one user, over all sessions. Default 0.05.
    pub user_share: f64,
    /// The same for all sessions of one address. Default 0.1.
    pub address_share: f64,
    /// The same for all agents with one key. Default 0.5.
    pub key_share: f64,
    /// The part of each shared table, and of the connections, that only agents may have. Default
    /// 0.1.
    pub agents_reserve: f64,
    /// Wrong credentials of one address without a wait. Default 5.
    pub free_failures: usize,
    /// The wait after one more failure; it doubles with each. Default 1 s.
    pub first_failure_wait: Duration,
    /// The longest such wait. Default 15 min.
    pub longest_failure_wait: Duration,
    /// The time in which the count of an address's failures halves. Default 10 min.
    pub failure_half_life: Duration,
    /// Addresses that have no limits and no waits after failures. Default this machine.
    pub exempt_networks: Vec<Network>,
}

impl Limits {
    /// Bytes of a session's frame.
    pub fn client_frame_bytes(&self) -> usize {
        if self.max_client_frame_bytes == 0 { self.max_frame_bytes } else { self.max_client_frame_bytes }
    }
}

/// Liveness of connections.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    /// The time between two pings to a peer. Default 5 s.
    pub interval: Duration,
    /// A peer that is silent for so long is closed. Must be longer than the interval. Default 30 s.
    pub timeout: Duration,
}

/// What happens at shutdown.
#[derive(Clone, Debug)]
pub struct Drain {
    /// Connections that are left after this time are cut. Default 10 s.
    pub timeout: Duration,
    /// Connections closed per second. Default 2000.
    pub pace: usize,
}

/// The built-in demo agent.
#[derive(Clone, Debug)]
pub struct DemoSettings {
    /// Whether the daemon runs one inside. Default false.
    pub enabled: bool,
    /// The broker that it dials, `ws://host:port` or `wss://host:port`. `None`: at `broker.addr`.
    pub url: Option<String>,
    /// Its id. Default `demo`.
    pub agent_id: String,
    /// Questions answered at the same time. Default 8.
    pub max_concurrency: usize,
    /// The time between two tokens of a streamed answer; zero: no wait. Default 30 ms.
    pub token_pace: Duration,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A tracing filter such as `info` or `info,transport=debug`. Default `info,actix_server=warn`.
    pub filter: String,
    /// The form of a log line. Default text.
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// State that outlives the process.
#[derive(Clone, Debug)]
pub struct DataSettings {
    /// The folder of that state. Default `./data`.
    pub dir: PathBuf,
}

impl Settings {
    /// Where the edge dials the broker: `web.broker_url`, or [`Settings::local_broker_url`].
    ///
    /// The daemon first puts the address that it has bound into `broker.addr`, so this is also
    /// right with port 0.
    pub fn broker_url(&self) -> String {
        self.web.broker_url.clone().unwrap_or_else(|| self.local_broker_url())
    }

    /// The broker at `broker.addr` (loopback instead of a wildcard address), by `wss://` if it
    /// speaks TLS.
    pub fn local_broker_url(&self) -> String {
        let scheme = if self.broker.tls.is_on() { "wss" } else { "ws" };
        format!("{scheme}://{}", dialable(self.broker.addr))
    }

    /// The names that the configuration gives to this site in other settings: those of
    /// certificates, of logins, and of allowed origins. They may have ports.
    pub fn public_hosts(&self) -> impl Iterator<Item = &str> {
        let origins = self.web.allowed_origins.iter().filter_map(|origin| origin.split_once("://")).map(|(_, host)| host);
        self.acme.domains.iter().map(String::as_str).chain(self.auth.siwe_domain.as_deref()).chain(origins)
    }

    /// Settings for tests: loopback and port 0 everywhere, one worker, fixed secrets, agent key
    /// `test-agent-key`, fast reconnects.
    pub fn for_tests() -> Self {
        let mut settings = Self::default();
        settings.broker.addr = loopback(0);
        settings.broker.workers = 1;
        settings.broker.agent_keys = vec![AgentKey { name: "default".into(), key: Secret::new("test-agent-key") }];
        settings.broker.bridge_secret = Secret::new("test-bridge-secret-of-at-least-32-bytes");
        settings.web.addr = loopback(0);
        settings.web.workers = 1;
        settings.web.session_secret = Secret::new("test-session-secret-of-at-least-32-bytes");
        settings.web.reconnect_min = Duration::from_millis(20);
        settings.web.reconnect_max = Duration::from_millis(200);
        settings.drain.timeout = Duration::from_secs(2);
        settings.store.backend = Backend::Memory;
        settings.store.default_delivery = DefaultDelivery::Ephemeral;
        settings.demo.token_pace = Duration::from_millis(1);
        settings
    }
}

/// The address that a local client dials to reach a listener at `addr`. A wildcard becomes loopback
/// of its family.
pub fn dialable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            addr: loopback(8080),
            workers: 0,
            agent_keys: vec![AgentKey { name: "default".into(), key: Secret::new(DEV_AGENT_KEY) }],
            allow_dev_key: false,
            bridge_secret: Secret::new(""),
            operator_token: Secret::new(""),
            tls: ListenerTls::default(),
            client_certificates: ClientCertificates::Optional,
            client_ca_file: None,
            client_names: false,
            hosts: Vec::new(),
            ca_file: None,
        }
    }
}

impl Default for WebSettings {
    fn default() -> Self {
        Self {
            addr: loopback(8081),
            workers: 0,
            broker_url: None,
            static_path: None,
            session_secret: Secret::new(""),
            session_ttl: 30 * DAY,
            cookie_secure: CookieSecure::Auto,
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(60),
            upstream_queue_bytes: 64 * KIB,
            tls: ListenerTls::default(),
            hsts: 180 * DAY,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            max_handshakes: 1024,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            max_frame_bytes: MIB,
            max_client_frame_bytes: 0,
            max_fragments: 256,
            max_depth: 64,
            max_bad_frames: 16,
            outbox_bytes: 4 * MIB,
            slow_consumer_timeout: Duration::from_secs(10),
            flow_control_burst: Duration::from_millis(250),
            flow_control_share: 0.05,
            max_subscriptions: 1024,
            max_session_subscriptions: 4096,
            max_user_subscriptions: 16_384,
            max_key_subscriptions: 0,
            max_pending_requests: 1024,
            max_session_connections: 16,
            max_topics: 100_000,
            max_address_handshakes: 256,
            max_address_connections: 2048,
            max_user_connections: 128,
            max_key_connections: 0,
            session_share: 0.02,
            user_share: 0.05,
            address_share: 0.1,
            key_share: 0.5,
            agents_reserve: 0.1,
            free_failures: 5,
            first_failure_wait: Duration::from_secs(1),
            longest_failure_wait: Duration::from_secs(900),
            failure_half_life: Duration::from_secs(600),
            exempt_networks: Network::this_machine(),
        }
    }
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), timeout: Duration::from_secs(30) }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), pace: 2000 }
    }
}

impl Default for DemoSettings {
    fn default() -> Self {
        Self { enabled: false, url: None, agent_id: "demo".into(), max_concurrency: 8, token_pace: Duration::from_millis(30) }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { filter: "info,actix_server=warn".into(), format: LogFormat::Text }
    }
}

impl Default for DataSettings {
    fn default() -> Self {
        Self { dir: PathBuf::from("./data") }
    }
}
