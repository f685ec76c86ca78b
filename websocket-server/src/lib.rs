//! The broker: agents and client sessions, routing, state, and HTTP for operators.
//!
//! ```text
//!   http ──accept──▶ AgentActor / ClientSessionActor ──Dispatch──▶ RouterActor (one per worker thread) ──▶ links of the receivers
//!                          └──────────────── Opened, Changed ──▶ StateManagerActor (one) ◀── /stats, drain
//! ```
//!
//! [`start`] runs it. Nothing here handles WebSocket frames: the transport does.

pub mod actors;
mod admissions;
mod answers;
mod audit;
mod authentication;
mod broker;
pub mod durable;
mod hashing;
mod holders;
mod http;
mod http_rules;
mod keys;
mod lifecycle;
mod links;
pub mod peers;
mod process;
mod refused_edges;
mod revocations;
pub mod routing;
mod server;
pub mod services;
pub mod shard;
mod side;
mod snapshot;
mod state;
mod statistics;
mod validation;

pub use broker::Broker;
pub use http::{
    calls::{Call, CallKind},
    metrics::METRICS,
    sockets::LocalBroker,
};
pub use server::{BrokerHandle, StartError, start};
pub use side::Side;
pub use validation::faults;
