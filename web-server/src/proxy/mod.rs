//! The proxy: one [`ProxyActor`] per browser socket, paired with a socket to the broker.
//!
//! Frames pass both ways whole, in order and as the bytes they came in; only their headers are read. Control frames
//! (pings, pongs, closes) pass end to end. When the broker goes away the browser's socket stays, is told, and the
//! broker is dialled again; what the browser sends meanwhile waits within a bound.
//!
//! ```text
//!  browser ─▶ Pump ─▶ BrowserSide ─▶ Uplink ──▶ Link ─▶ Pump ─▶ broker
//!  browser ◀─ Pump ◀─ Link ◀─ Downlink ◀─ BrokerSide ◀─ Pump ◀─ broker
//!                         ProxyActor ── ProxyMachine
//! ```
//! Backpressure is that a side is not read while the other side's outbox is over its high mark. Both pumps live in the
//! actor's context, so that a pair never leaves its thread.
//! Does not parse a payload, does not keep frames for a browser that is away, does not check who a browser is.

mod actor;
mod broker_side;
mod browser_side;
mod close_frame;
mod counters;
mod downlink;
mod edge_name;
mod environment;
mod frame_runs;
mod login;
mod machine;
pub mod routes;
mod uplink;

pub use actor::ProxyActor;
pub use common::backoff::Backoff;
pub use counters::ProxyCounters;
pub use environment::ProxyEnvironment;
pub use machine::{Effect, Event, Moment, ProxyMachine, STABLE_AFTER, State};
pub use uplink::{Dropped, Uplink, UplinkLimits};
