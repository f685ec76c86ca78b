//! Where settings are read from, and for what kind of process.

use std::ffi::OsString;
use std::path::PathBuf;

/// The role of the process. It decides which rules apply and which secrets are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Broker and edge in one process.
    Daemon,
    /// The broker alone.
    Broker,
    /// The edge alone.
    Edge,
    /// An agent, or a command that opens no listener.
    Client,
}

/// One setting given on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// The setting's key, such as `broker.addr`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The name of the flag in faults and listings, such as `--broker-addr`.
    pub origin: String,
}

/// Where settings are read from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The file named by the caller; it must exist.
    pub file: Option<PathBuf>,
    /// The folder of `agent-bridge.toml` and `.env`; empty: the working directory.
    pub folder: PathBuf,
    /// Environment variables.
    pub env: Vec<(OsString, OsString)>,
    /// Command-line flags, in their order.
    pub flags: Vec<Flag>,
}

impl Inputs {
    /// The working directory and environment of this process.
    pub fn from_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        Self { file, folder: PathBuf::new(), env: std::env::vars_os().collect(), flags }
    }
}
