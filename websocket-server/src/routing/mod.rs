//! The routing core: who is connected, who subscribes to what, and where a message goes.
//!
//! Pure tables and rules: no sockets, no actix. The clock is read in two places: where
//! answers to answers are paced (`destination.rs`), and notices of presence (`router.rs`). Other
//! times are given by the caller. A receiver is a
//! [`transport::Link`], whose queue takes frames without waiting. One lock protects the tables. A
//! dispatch takes it for reading, so that all shards can dispatch at once; a connection that comes,
//! goes or subscribes takes it for writing. Only [`crate::shard::RouterActor`]s dispatch, attach
//! and subscribe. Two others write: a reload of the agent keys removes remembered agents, and the
//! [`crate::state::StateManagerActor`] expires entries as time passes.

mod access;
mod agent_news;
mod callers;
mod chains;
mod contests;
mod counters;
mod destination;
mod dispatch;
mod logins;
mod members;
mod notice_pace;
mod notices;
mod presence_news;
mod router;
mod seen;
mod stamped;
mod takeover_pace;
mod topics;

pub use access::Caller;
pub use callers::{CallerAnswer, CallerOutcome, CallerTicket, Callers};
pub use chains::Trace;
pub use contests::TakeoverStats;
pub use counters::{Counters, ErrorCounts, Route, RouteCounts};
pub use destination::Destination;
pub use dispatch::{Routed, cancel_request};
pub use logins::{LoginOutcome, STRANGER};
pub use members::{Attached, NAME_TAKEN_OVER, TAKEN_OVER};
pub use router::{Members, Router, RouterLimits};
pub use seen::SeenAgent;
pub use stamped::StampedMessage;

#[cfg(test)]
mod contest_tests;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod takeover_tests;
