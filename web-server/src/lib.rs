//! The edge: serves the app, issues sessions, and forwards their sockets to the broker.
//!
//! [`start`] binds, serves and returns an [`EdgeHandle`]. The parts:
//! - [`assets`]: the app's files, from a folder or built in;
//! - [`sessions`]: sessions, their tokens and cookies, and which sockets are open;
//! - [`logins`]: how a session gets a user: by wallet or by an issuer's token;
//! - [`proxy`]: one [`proxy::ProxyActor`] for each client's socket or event stream, with a
//!   connection to the broker;
//! - [`dialects`]: listeners for the clients of other systems;
//! - `broker_reach`: whether the broker answers, and since when;
//! - `history`: the history of channels, for sessions;
//! - `calls`: messages and requests over HTTP, for sessions;
//! - [`status`]: health, statistics and metrics for operators;
//! - [`http`]: refusals, security headers, the origin rule.
//!
//! The edge routes nothing. It parses payloads only of the topics that it turns into event streams.
//! Beyond the process it stores revocations and its own name.

pub mod assets;
mod broker_reach;
mod calls;
pub mod dialects;
mod edge;
mod history;
pub mod http;
pub mod logins;
mod metrics;
mod process;
pub mod proxy;
pub mod sessions;
pub mod status;
mod validation;

pub use edge::{Beside, EdgeHandle, StartError, start, start_beside, start_by_clock};
pub use gateway::doors::SessionPipe;
pub use http::{Call, CallKind, CallPipe};
pub use metrics::METRICS;
pub use validation::faults;
