//! The routing core: who is connected, who subscribes to what, and where a message goes.
//!
//! Tables and rules: no sockets, no actix. A receiver is a [`transport::Link`], whose queue takes
//! frames without waiting. One lock protects the tables: a dispatch reads them, so that all shards
//! dispatch at once; a connection that comes, goes or subscribes writes them. Only
//! [`crate::actors::RouterActor`]s write the routing tables; others read them. One exception:
//! reloading the keys removes remembered agents.

mod access;
mod agent_news;
mod chains;
mod contests;
mod counters;
mod destination;
mod dispatch;
mod logins;
mod members;
mod pass;
mod peer;
mod requests;
mod router;
mod seen;
mod takeover_pace;
mod topics;

pub use chains::{Trace, hash};
pub use contests::TakeoverStats;
pub use counters::{Counters, ErrorCounts, Route, RouteCounts};
pub use destination::Destination;
pub use dispatch::{Outgoing, Routed, cancel_request};
pub use logins::{LoginOutcome, STRANGER};
pub use members::{Attached, NAME_TAKEN_OVER, TAKEN_OVER};
pub use pass::Pass;
pub use peer::{ConnectionId, Peer, PeerKind, ReadPlace};
pub use requests::{OpenError, Requests};
pub use router::{Members, Router, RouterLimits};
pub use seen::SeenAgent;

#[cfg(test)]
mod contest_tests;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod takeover_tests;
