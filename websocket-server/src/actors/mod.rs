//! The actors: thin shells over the routing core and the transport.

mod agent;
mod connection;
mod durable;
mod login;
mod overload;
mod pace;
mod router;
mod session;
mod state;
mod waiting;

pub use agent::{AgentActor, AgentHandshake};
pub(crate) use durable::{ChannelAsk, Subscription};
pub use router::{Asked, Attach, Detach, Dispatch, RouterActor, Shard};
pub use session::ClientSessionActor;
pub use state::{Changed, Drain, GetStats, KeepSnapshot, Opened, Side, StateManagerActor, UseBroker};
