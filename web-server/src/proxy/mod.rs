//! The proxy: one [`ProxyActor`] for each client, which keeps the client's session at the broker,
//! and a [`Face`], which serves the client.
//!
//! The actor dials the broker, dials again when the broker goes away, and carries out logins,
//! logouts, expiry and drain. While the broker is away the client's connection stays and the client
//! is told. Its messages wait within a bound. The face decides how the client sees this. The face
//! for browsers is [`WebSocketFace`]; [`events`] is the face for readers over HTTP.
//! [`WebSocketFace`] passes frames in both directions whole, in order and unchanged. It reads only
//! their headers; pings, pongs and closes pass end to end.
//!
//! ```text
//!            WebSocketFace
//!  browser ─▶ Pump ─▶ Inbound ──┬─▶ Uplink ──▶ Link ─▶ Pump ─▶ broker
//!  browser ◀─ Pump ◀─ Link ◀────┴──────────── BrokerSide ◀─ Pump ◀─ broker
//!                               ProxyActor ── ProxyMachine
//! ```
//! Backpressure: a side is not read while the other side's outbox is over its high mark. Both pumps
//! live in the actor's context, so that both connections of a client stay on one thread. The proxy
//! does not parse payloads, does not keep frames for a client that is away, and does not check who
//! a client is.

mod actor;
mod broker_side;
mod counters;
mod edge_name;
mod environment;
pub mod events;
mod frame_runs;
mod login;
mod machine;
pub mod routes;
mod uplink;
mod websocket;

pub use actor::{Face, ProxyActor};
pub use common::backoff::Backoff;
pub use counters::ProxyCounters;
pub use environment::ProxyEnvironment;
pub use frame_runs::Verdict;
pub use machine::{Effect, Event, Moment, ProxyMachine, State};
pub use uplink::{Batch, Dropped, Uplink, UplinkLimits};
pub use websocket::WebSocketFace;
