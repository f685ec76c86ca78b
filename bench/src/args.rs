//! The options of a bench run.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Options of the load generator.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(default)]
pub struct BenchArgs {
    /// Scenarios to run; all of them by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub scenario: Vec<Scenario>,
    /// Servers to measure; only the broker by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub peers: Vec<PeerKind>,
    /// Measure all peers that are installed, in turns, and show ratios and goals.
    #[arg(long)]
    pub compare: bool,
    /// How often each case is run. The figures are medians.
    #[arg(long, default_value_t = 1)]
    pub repeats: u32,
    /// Run every scenario in its smallest form, within seconds. This tests the servers; it does not
    /// measure them.
    #[arg(long, conflicts_with = "long")]
    pub quick: bool,
    /// Measure for longer, and deliver 10 GB past the reader that is stuck.
    #[arg(long)]
    pub long: bool,
    /// Write the report to this file as well, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The daemon to measure [default: `agent-bridge` beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
    /// The raw relay [default: `relay` beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub relay: Option<PathBuf>,
    /// nats-server [default: the installed one].
    #[arg(long, value_name = "PROGRAM")]
    pub nats: Option<PathBuf>,
    /// Core that the servers run on.
    #[arg(long, default_value_t = 0, value_name = "CORE")]
    pub server_core: usize,
    /// Core that the load generator runs on.
    #[arg(long, default_value_t = 1, value_name = "CORE")]
    pub generator_core: usize,
    /// Do not bind the programs to cores. The figures then mean little.
    #[arg(long)]
    pub no_pin: bool,
}

impl Default for BenchArgs {
    fn default() -> Self {
        Self {
            scenario: Vec::new(),
            peers: Vec::new(),
            compare: false,
            repeats: 1,
            quick: false,
            long: false,
            json: None,
            server: None,
            relay: None,
            nats: None,
            server_core: 0,
            generator_core: 1,
            no_pin: false,
        }
    }
}

/// A group of cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scenario {
    /// Bulk fan-out: one publisher to 100 and to 1000 subscribers, 200 B, as fast as possible.
    S1,
    /// The same at 500 messages a second to 100 subscribers.
    S1p,
    /// Request and reply: 1 and 100 pairs, as fast as possible and at 1,000 a second.
    S2,
    /// 200 agents that each stream 50 messages of 40 B a second to a viewer of their own.
    S3,
    /// Idle connections: the memory of each, and how fast they are accepted.
    S4,
    /// Fan-out to 100 subscribers, one of which never reads.
    S5,
    /// Fan-out of 1 MiB messages to 10 subscribers.
    S6,
    /// 64 senders of 300 B messages that are stored and confirmed, with one or 16 unconfirmed each,
    /// for each durability.
    D1,
}

impl Scenario {
    /// All of them, in their order.
    pub const ALL: [Self; 8] = [Self::S1, Self::S1p, Self::S2, Self::S3, Self::S4, Self::S5, Self::S6, Self::D1];
}

/// A server that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PeerKind {
    /// The broker alone.
    Bridge,
    /// The broker alone, under TLS 1.3.
    Tls,
    /// Broker and edge in one process, sessions through the edge.
    Edge,
    /// nats-server through its WebSocket listener.
    Nats,
    /// The raw relay: the physical limit.
    Relay,
}

impl PeerKind {
    /// All of them, in the order in which they are run and shown.
    pub const ALL: [Self; 5] = [Self::Bridge, Self::Tls, Self::Edge, Self::Nats, Self::Relay];

    /// The name in options and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Tls => "tls",
            Self::Edge => "edge",
            Self::Nats => "nats",
            Self::Relay => "relay",
        }
    }
}
