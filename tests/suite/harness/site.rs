//! An installation: a folder, two addresses, settings. They stay the same when processes are killed
//! and started again.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use serde_json::Value;
use tempfile::TempDir;

use super::{DialError, Peer, Process, eventually, program, request};

/// The key that agents present.
pub const AGENT_KEY: &str = "suite-agent-key-for-tests";

/// See the module. Clones are the same installation.
#[derive(Clone)]
pub struct Site {
    folder: Arc<TempDir>,
    pub broker: SocketAddr,
    pub edge: SocketAddr,
    settings: Vec<String>,
}

/// What a client stores of its session.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub id: String,
    pub token: String,
}

impl Site {
    /// A new installation with the default settings.
    pub fn new() -> Self {
        common::open_files::raise_limit();
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let site = Self { folder, broker: free_addr(), edge: free_addr(), settings: Vec::new() };
        // Tests wait for reconnects; people need not.
        site.with("web.reconnect_min", "50ms").with("web.reconnect_max", "500ms")
    }

    /// The same installation with a setting.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.settings.push(format!("--set={key}={value}"));
        self
    }

    /// Starts broker and edge in one process; ready when both are.
    pub async fn daemon(&self) -> Process {
        self.started("daemon", &[], &[self.broker, self.edge]).await
    }

    /// The same with the demo agent inside; ready when that one is connected.
    pub async fn daemon_with_demo(&self) -> Process {
        let daemon = self.started("daemon", &["--demo"], &[self.broker, self.edge]).await;
        self.wait_for_agent("demo").await;
        daemon
    }

    /// Starts the broker alone.
    pub async fn broker_alone(&self) -> Process {
        self.started("broker", &["broker"], &[self.broker]).await
    }

    /// Starts the edge alone.
    pub async fn edge_alone(&self) -> Process {
        self.started("edge", &["web"], &[self.edge]).await
    }

    /// Starts a demo agent alone.
    pub async fn demo(&self) -> Process {
        self.started("demo", &["demo"], &[]).await
    }

    async fn started(&self, name: &str, arguments: &[&str], listeners: &[SocketAddr]) -> Process {
        let mut process = self.spawned(name, arguments);
        process
            .wait_until(async || futures_util::future::join_all(listeners.iter().map(is_ready)).await.iter().all(|ready| *ready))
            .await;
        process
    }

    /// Starts a process and does not wait for anything.
    pub fn spawned(&self, name: &str, arguments: &[&str]) -> Process {
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).chain(self.settings.clone()).collect();
        let mut environment = self.environment();
        if name == "edge" && !self.settings.iter().any(|setting| setting.starts_with("--set=web.broker_url")) {
            // An edge in the broker's process needs no address.
            environment.push(("BROKER_URL".to_owned(), format!("ws://{}", self.broker)));
        }
        Process::start(name, self.folder.path(), &arguments, &environment)
    }

    fn environment(&self) -> Vec<(String, String)> {
        let environment = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("WEBSOCKET_SERVER_ADDR", self.broker.to_string()),
            ("WEB_SERVER_ADDR", self.edge.to_string()),
            ("AGENT_TOKEN", AGENT_KEY.to_owned()),
            // What is about durable messages says so in each.
            ("AGENT_BRIDGE_STORE__DEFAULT_DELIVERY", "ephemeral".to_owned()),
            ("DATA_DIR", self.data().display().to_string()),
            // Whatever goes wrong is told in full.
            ("RUST_BACKTRACE", "full".to_owned()),
            ("RUST_LOG", std::env::var("BRIDGE_TEST_LOG").unwrap_or_else(|_| "info".to_owned())),
        ];
        environment.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Whether `agent-bridge healthcheck` finds this part ready.
    pub fn is_healthy(&self, part: &str) -> bool {
        let mut command = program();
        command.args(["healthcheck", "--part", part]).args(&self.settings).envs(self.environment());
        command.current_dir(self.folder.path()).output().expect("runs").status.success()
    }

    /// The folder everything is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the daemon keeps what outlives it.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Runs a command of the program that ends by itself, with the data folder of this place.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).current_dir(self.folder.path()).env("DATA_DIR", self.data());
        command.output().expect("runs")
    }

    /// What the broker counts.
    pub async fn stats(&self) -> Value {
        request(self.broker, "GET", "/stats", None).await.expect("the broker answers").json
    }

    /// Waits until an agent is connected.
    pub async fn wait_for_agent(&self, agent_id: &str) {
        eventually("the agent is connected", async || {
            let stats = self.stats().await;
            stats["agents"]["list"].as_array().is_some_and(|list| list.iter().any(|agent| agent["agent_id"] == agent_id))
        })
        .await;
    }

    /// Registers an anonymous session at the edge.
    pub async fn register(&self) -> Credentials {
        let answer = request(self.edge, "POST", "/api/client", None).await.expect("the edge answers");
        assert_eq!(answer.status, 201, "{}", answer.json);
        let text = |field: &str| answer.json[field].as_str().expect("a string").to_owned();
        Credentials { id: text("client_id"), token: text("token") }
    }

    /// Opens a session's socket at the edge; `query` is `""` or like `?agent=a`.
    ///
    /// # Errors
    /// The edge is not there, or refused.
    pub async fn dial_session(&self, credentials: &Credentials, query: &str) -> Result<Peer, DialError> {
        Peer::dial(self.edge, &format!("/ws/{}{query}", credentials.id), &credentials.token).await
    }

    /// A session that has its `connection:ack`.
    pub async fn session(&self, query: &str) -> Peer {
        let credentials = self.register().await;
        let mut peer = self.dial_session(&credentials, query).await.expect("upgraded");
        peer.expect_ack(&credentials.id).await;
        peer
    }

    /// Opens an agent's socket at the broker.
    ///
    /// # Errors
    /// The broker is not there, or refused.
    pub async fn dial_agent(&self, agent_id: &str) -> Result<Peer, DialError> {
        Peer::dial(self.broker, &format!("/ws/agent?agent_id={agent_id}"), AGENT_KEY).await
    }

    /// An agent that is registered.
    pub async fn agent(&self, agent_id: &str) -> Peer {
        let mut peer = self.dial_agent(agent_id).await.expect("upgraded");
        assert_eq!(peer.next().await["type"], "connection:ack");
        peer.settle().await;
        peer
    }
}

async fn is_ready(addr: &SocketAddr) -> bool {
    request(*addr, "GET", "/health/ready", None).await.is_ok_and(|answer| answer.status == 200)
}

/// An address nobody listens on, and that no other test gets. Below the ports that outgoing
/// connections are given, so that it is still free when a process that was killed is started again.
fn free_addr() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    // Two runs at the same time begin at different places.
    let next = NEXT.get_or_init(|| AtomicU16::new(u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0)));
    loop {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + next.fetch_add(1, Relaxed) % COUNT));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}
