//! Starts each kind of server.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tls::testing::TestAuthority;
use tls::{ClientTls, Trust};

use super::{Cores, Server, StartError, free_addr};
use crate::plan::Durability;
use crate::protocol::{BridgeProtocol, NATS_TOKEN, NatsProtocol, RelayProtocol};

/// The key that the agents of a run present.
const AGENT_KEY: &str = "bench-agent-key";
/// The secret that broker, edge and generator share.
const BRIDGE_SECRET: &str = "bench-bridge-secret-of-more-than-32-bytes";

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The daemon.
    pub bridge: PathBuf,
    /// The raw relay.
    pub relay: PathBuf,
    /// nats-server.
    pub nats: PathBuf,
}

/// The part of the daemon that connections reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// The broker alone.
    Broker,
    /// The broker alone, under TLS.
    BrokerUnderTls,
    /// The edge, in the broker's process, for sessions.
    Edge,
}

/// Starts servers.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Where the programs are.
    pub programs: Programs,
    /// Where they run.
    pub cores: Cores,
    /// How long a peer may be slow before the bridge closes it; `None` for the default.
    pub slow_consumer_timeout: Option<Duration>,
}

impl Lab {
    /// Starts the daemon. It gets no setting from the caller's environment.
    pub fn bridge(
        &self,
        front: Front,
        payload_size: usize,
        durability: Option<Durability>,
    ) -> Result<(Server, BridgeProtocol), StartError> {
        let folder = TempDir::new()?;
        let with_edge = front == Front::Edge;
        let (broker, edge) = (free_addr()?, free_addr()?);
        let mut command = Command::new(&self.programs.bridge);
        if !with_edge {
            command.arg("broker");
        }
        command
            .env_clear()
            .current_dir(folder.path())
            .env("WEBSOCKET_SERVER_ADDR", broker.to_string())
            .env("WEB_SERVER_ADDR", edge.to_string())
            .env("AGENT_TOKEN", AGENT_KEY)
            .env("BRIDGE_SECRET", BRIDGE_SECRET)
            .env("DATA_DIR", folder.path().join("data"))
            .env("RUST_LOG", "warn")
            .env("AGENT_BRIDGE_DEMO__ENABLED", "false")
            .env("AGENT_BRIDGE_LIMITS__MAX_CONNECTIONS", "25000")
            // Rates are counted, but no limit is reached: sessions send requests as fast as they
            // can here.
            .env("AGENT_BRIDGE_RATES__SESSION_MESSAGES", "100000000:100000000")
            .env("AGENT_BRIDGE_RATES__SESSION_BYTES", "1TiB:1TiB");
        if let Some(timeout) = self.slow_consumer_timeout {
            command.env("AGENT_BRIDGE_LIMITS__SLOW_CONSUMER_TIMEOUT", format!("{}ms", timeout.as_millis()));
        }
        if let Some(durability) = durability {
            command.env("AGENT_BRIDGE_STORE__DURABILITY", durability.name());
        }
        let mut tls = None;
        if front == Front::BrokerUnderTls {
            let certificate = TestAuthority::new("bench").issue(&["localhost"]).save(folder.path(), "broker.pem");
            command.env("AGENT_BRIDGE_BROKER__TLS_CERT_FILE", certificate);
            // The certificate is not under test.
            tls = Some(ClientTls::new(Trust::Anybody).map_err(io::Error::other)?.config());
        }
        // A server under TLS also answers a request without TLS, and says that TLS is required.
        // That answer shows that it is up.
        let is_up = |addr| answers(addr, if tls.is_some() { " 400" } else { " 200" });
        let server = Server::spawn(command, folder, self.cores)?.wait(|| is_up(broker) && (!with_edge || is_up(edge)))?;
        let edge = with_edge.then_some(edge);
        Ok((server, BridgeProtocol::new(broker, edge, AGENT_KEY, BRIDGE_SECRET, payload_size).under(tls)))
    }

    /// Starts nats-server with a WebSocket listener, a token and nothing else; with JetStream if
    /// messages are to be stored. Without `sync_interval` JetStream writes without syncing, and
    /// syncs every two minutes.
    pub fn nats(&self, durability: Option<Durability>) -> Result<(Server, NatsProtocol), StartError> {
        let folder = TempDir::new()?;
        let addr = free_addr()?;
        let config = folder.path().join("nats.conf");
        let sync = if durability == Some(Durability::Fsync) { ", sync_interval: always" } else { "" };
        let jetstream = durability
            .map_or_else(String::new, |_| format!("jetstream {{ store_dir: {:?}{sync} }}\n", folder.path().join("jetstream")));
        fs::write(
            &config,
            format!(
                "host: \"127.0.0.1\"\nport: -1\nmax_payload: 2097152\nmax_connections: 25000\n\
                 authorization {{ token: \"{NATS_TOKEN}\" }}\n\
                 websocket {{ host: \"{}\", port: {}, no_tls: true, compression: false }}\n{jetstream}",
                addr.ip(),
                addr.port()
            ),
        )?;
        let mut command = Command::new(&self.programs.nats);
        command.arg("--config").arg(&config);
        let server = Server::spawn(command, folder, self.cores)?.wait(|| TcpStream::connect(addr).is_ok());
        let server = server.map_err(|error| match error {
            StartError::NotReady { log, .. } if log.contains(r#"unknown field "sync_interval""#) => {
                StartError::TooOld("this nats-server cannot sync every message (2.10 and later can)")
            }
            other => other,
        })?;
        Ok((server, NatsProtocol::new(addr, durability)))
    }

    /// Starts the raw relay.
    pub fn relay(&self) -> Result<(Server, RelayProtocol), StartError> {
        let addr = free_addr()?;
        let mut command = Command::new(&self.programs.relay);
        command.arg(addr.to_string());
        let server = Server::spawn(command, TempDir::new()?, self.cores)?.wait(|| TcpStream::connect(addr).is_ok())?;
        Ok((server, RelayProtocol::new(addr)))
    }
}

/// Whether `GET /health/ready` returns this status.
fn answers(addr: SocketAddr, status: &str) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        write!(stream, "GET /health/ready HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(answer.ends_with(status.as_bytes()))
    };
    ask().unwrap_or(false)
}

/// The program called `name`: beside `beside`, or else from the search path.
pub fn find(name: &str, beside: Option<&Path>) -> PathBuf {
    let sibling = beside.and_then(Path::parent).map(|folder| folder.join(name));
    let searched = env::var_os("PATH").unwrap_or_default();
    // Servers are often in folders that only an administrator's search path has.
    let folders = env::split_paths(&searched).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let installed = folders.map(|folder| folder.join(name));
    sibling.into_iter().chain(installed).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_on_the_search_path_are_found() {
        assert!(find("sh", None).is_file());
        assert_eq!(find("a-program-that-nobody-has", None), Path::new("a-program-that-nobody-has"));
    }
}
