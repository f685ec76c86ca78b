//! WebSocket connections for actix actors.
//!
//! This crate owns everything between a TCP socket and an actor's handler: the server that hands
//! over upgraded sockets ([`serve()`], [`accept()`]), who is admitted and which address a request
//! has ([`gate`], [`client_address`]), frames ([`frame`], [`scanner`], [`message`]), the bounded
//! outbox of each connection ([`link`]), the future that moves bytes for an actor ([`pump`]), the
//! heartbeat and the detection of slow readers ([`sweeper`]), and the client's side of the
//! handshake ([`dial()`]), all with or without TLS ([`stream`]). It does not know agents and
//! sessions, and reads envelopes only to merge text deltas.
//!
//! **How it uses actix.** An ordinary actix-web `App` answers requests, one at a time on each
//! connection (`http1`). A handler that wants the socket answers with [`accept()`]. That 101 is
//! sent, and the bare socket is given to the handler's closure, which starts an actor with an
//! ordinary [`actix::Context`] and spawns a [`pump::Pump`] into it. HTTP has ended by then, so a
//! peer that stops reading cannot freeze its actor: only the write half of the pump waits. Bytes
//! are read into one buffer per thread, so that an idle connection holds none.
//!
//! ```text
//!   accept ──▶ Upgraded{io} ──▶ Actor + Pump ──reads──▶ Inbound::on_bytes ──▶ actor
//!                                      └─────writes──◀ Link (outbox) ◀── anyone, any thread
//!                                                        ▲ sweeper: pings, silence, slowness
//! ```

pub mod accept;
pub mod accounts;
mod bearer;
pub mod client_address;
pub mod clock;
pub mod dial;
pub mod event_stream;
pub mod flow;
pub mod fragments;
pub mod frame;
pub mod gate;
pub mod handshake;
pub mod hosts;
mod http1;
pub mod http_rates;
mod later_answer;
pub mod link;
pub mod liveness;
pub mod long_answer;
pub mod message;
pub mod metrics;
pub mod operator;
pub mod origin;
pub mod process;
pub mod pump;
pub mod queue;
pub mod scanner;
mod secure;
pub mod serve;
pub mod shares;
pub mod site;
pub mod stream;
pub mod sweeper;

pub use accept::{UPGRADE_REQUIRED, Upgraded, accept};
pub use accounts::{Account, Accounts, Allowance, Tab};
pub use bearer::bearer;
pub use dial::{DialError, connect, dial};
pub use frame::{Frame, FrameError};
pub use gate::{Gate, GateRules};
pub use hosts::HostRule;
pub use http_rates::{HttpRates, Payer, RouteFamily};
pub use http1::{HttpFault, HttpFaults};
pub use later_answer::answer_later;
pub use link::{CloseMode, Lane, Link, LinkPolicy, Overflow, Sent};
pub use long_answer::{AnswerWriter, lasts_long, long_answer};
pub use message::{Message, MessageReader};
pub use origin::OriginRule;
pub use pump::{End, Inbound, Pump, Socket, Step};
pub use queue::{Source, StreamKey};
pub use scanner::{FrameScanner, RawFrame};
pub use serve::{ServeOptions, listen, serve};
pub use shares::{Payers, Reservation, ShareUsed};
pub use site::Site;
pub use stream::Stream;
