//! The broker: agents and client sessions, routing, state, and HTTP for operators.
//!
//! ```text
//!   http ──accept──▶ AgentActor / ClientSessionActor ──Dispatch──▶ RouterActor (one per worker thread) ──▶ links of the receivers
//!                          └──────────────── Opened, Changed ──▶ StateManagerActor (one) ◀── /stats, drain
//! ```
//!
//! [`start`] runs it. Nothing here handles WebSocket frames: the transport does.

pub mod actors;
mod audit;
mod broker;
pub mod durable;
mod holders;
mod http;
mod keys;
mod process;
mod revocations;
pub mod routing;
mod server;
pub mod services;
mod snapshot;
mod validation;

pub use broker::Broker;
pub use http::sockets::LocalBroker;
pub use server::{BrokerHandle, StartError, start};
pub use validation::faults;
