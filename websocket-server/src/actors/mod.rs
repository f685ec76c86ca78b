//! The actors of connections: thin shells over the transport, which ask the router of their thread.

mod agent;
mod connection;
mod overload;
mod pace;
mod sending;
mod session;

pub use agent::{AgentActor, AgentHandshake};
pub use sending::outgoing;
pub use session::ClientSessionActor;
