//! What all dialects share.
//!
//! A dialect is the protocol of another system, for clients that were written for that system. It
//! consists of a pure codec (frames in, envelopes out, and back) and a shell, which moves them
//! between the client's socket and a door ([`crate::doors`]). A dialect holds no truth: when it is
//! killed, nothing is lost but its sockets.
//!
//! - [`Host`]: what a dialect needs of the process that hosts it, which is the edge. It judges
//!   credentials, counts connections, and knows the way to the broker.
//! - [`ClientSocket`]: the WebSocket of a client, with the limits of every socket.
//! - [`Program`]: a dialect as its host sees it: a name and routes.
//! - [`HttpRefusal`]: a refusal before a socket opens.
//!
//! ```text
//!   request ─▶ Program's handler ─ Host::seat ─▶ 101 ─▶ ClientSocket ─▶ shell ─▶ codec ─▶ Door
//!                                  Guest::enter        (one task each)
//! ```
//!
//! To add a dialect: add its name to [`common::dialect::Dialect`] and its settings to
//! `common/src/config/dialect_settings.rs` and `table/dialects.rs`, write a folder beside
//! [`crate::supervisor`], and start it in `web-server/src/dialects/mod.rs`.

mod caller;
mod host;
mod refusal;
mod socket;

pub use caller::{Caller, require_own_origin};
pub use host::{Guest, Host, Program, Seat, SocketRules};
pub use refusal::HttpRefusal;
pub use socket::{ClientSocket, accept};
