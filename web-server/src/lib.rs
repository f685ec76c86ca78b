//! The edge: serves the app, owns browser sessions, and proxies their sockets to the broker.
//!
//! [`start`] binds, serves and returns an [`EdgeHandle`]; what runs behind it:
//! - [`assets`]: the app's files, from a folder or built in;
//! - [`sessions`]: sessions, their tokens and cookies, and which sockets are open;
//! - [`logins`]: how a session becomes a user's: by wallet or by an issuer's token;
//! - [`proxy`]: one [`proxy::ProxyActor`] per browser socket, paired with a socket to the broker;
//! - `broker_reach`: whether the broker answers, and since when;
//! - `history`: the past of channels, for sessions;
//! - [`status`]: health and statistics for operators;
//! - [`http`]: refusals, security headers, the origin rule.
//!
//! The edge never parses a payload, routes nothing, and stores nothing beyond the process but which sessions were revoked.

pub mod assets;
mod broker_reach;
mod edge;
mod history;
pub mod http;
pub mod logins;
mod process;
pub mod proxy;
pub mod sessions;
pub mod status;
mod validation;

pub use edge::{EdgeHandle, StartError, start, start_beside, start_by_clock};
pub use gateway::doors::SessionPipe;
pub use validation::faults;
