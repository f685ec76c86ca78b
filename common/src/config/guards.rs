//! The settings that bound what strangers, sessions and agents may do, with their defaults.

use std::time::Duration;

use crate::{network::Network, rate::Rate};

const MIB: u64 = 1024 * 1024;

/// Proxies in front of the listeners.
#[derive(Clone, Debug, Default)]
pub struct ProxySettings {
    /// Proxies that are believed about a client's address. Default none.
    pub trusted: Vec<Network>,
    /// The header in which they name the client.
    pub header: ProxyHeader,
    /// Whether their connections to the broker begin with the PROXY protocol. Default no.
    pub broker_protocol: bool,
    /// The same for the edge. Default no.
    pub web_protocol: bool,
}

/// The header in which trusted proxies name the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// Rates per second. The table of limits in docs/protocol/overload.md says what happens beyond
/// each.
#[derive(Clone, Debug)]
pub struct Rates {
    /// Connections of one address to one listener. Default 100 a second, 1000 at once.
    pub address_connections: Rate,
    /// New sessions of one address. Default 5 a second, 200 at once.
    pub registrations: Rate,
    /// Login requests of one session, and failed logins of one address. Default 2 a second, 20 at
    /// once.
    pub logins: Rate,
    /// Checks of signatures of issuers and wallets for one address. Default 500 a second, 2000 at
    /// once.
    pub checks: Rate,
    /// Requests of one session about itself, and of one address without a session. Default 50 a
    /// second, 500 at once.
    pub sessions: Rate,
    /// Requests of one address for statistics and the operators' API. Default 20 a second, 200 at
    /// once.
    pub operators: Rate,
    /// Messages and requests of one session or agent key over HTTP. Default 100 a second, 1000 at
    /// once.
    pub calls: Rate,
    /// Messages of one session. Default 2000 a second, 20,000 at once.
    pub session_messages: Rate,
    /// Bytes of those. Default 16 MiB a second, 128 MiB at once.
    pub session_bytes: Rate,
    /// Messages of all sessions of one user. Default 4000 a second, 40,000 at once.
    pub user_messages: Rate,
    /// Bytes of those. Default 32 MiB a second, 256 MiB at once.
    pub user_bytes: Rate,
    /// Messages of all sessions of one address. Default 20,000 a second, 200,000 at once.
    pub address_messages: Rate,
    /// Bytes of those. Default 64 MiB a second, 512 MiB at once.
    pub address_bytes: Rate,
    /// Messages of all agents with one key. Default no limit.
    pub key_messages: Rate,
    /// Bytes of those. Default no limit.
    pub key_bytes: Rate,
    /// How long a connection may stay over its rates before it is closed; zero: for ever, it is
    /// only slowed. Default 1 min.
    pub patience: Duration,
    /// Answers to answers in one chain of messages. Default 1 a second, 256 at once.
    pub answers: Rate,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            address_connections: Rate::new(100, 1000),
            registrations: Rate::new(5, 200),
            logins: Rate::new(2, 20),
            checks: Rate::new(500, 2000),
            sessions: Rate::new(50, 500),
            operators: Rate::new(20, 200),
            calls: Rate::new(100, 1000),
            session_messages: Rate::new(2000, 20_000),
            session_bytes: Rate::new(16 * MIB, 128 * MIB),
            user_messages: Rate::new(4000, 40_000),
            user_bytes: Rate::new(32 * MIB, 256 * MIB),
            address_messages: Rate::new(20_000, 200_000),
            address_bytes: Rate::new(64 * MIB, 512 * MIB),
            key_messages: Rate::UNLIMITED,
            key_bytes: Rate::UNLIMITED,
            patience: Duration::from_secs(60),
            answers: Rate::new(1, 256),
        }
    }
}

/// What sessions may reach. Patterns: `*` is any run of characters, `?` any one.
#[derive(Clone, Debug)]
pub struct AccessSettings {
    /// Agents that every session sees and may send to. Default all.
    pub public_agents: Vec<String>,
    /// Agents for sessions of logged-in users only. Default none.
    pub user_agents: Vec<String>,
    /// Topics that every session may use. Default all.
    pub public_topics: Vec<String>,
    /// Topics for sessions of logged-in users only. Default none.
    pub user_topics: Vec<String>,
    /// Topics whose subscribers see each other's sessions. Default all.
    pub visible_members: Vec<String>,
}

impl Default for AccessSettings {
    fn default() -> Self {
        let all = || vec!["*".to_owned()];
        Self {
            public_agents: all(),
            user_agents: Vec::new(),
            public_topics: all(),
            user_topics: Vec::new(),
            visible_members: all(),
        }
    }
}
