//! HTTP/1.1 on one connection: one request at a time.
//!
//! actix's codec reads requests and writes answers. This module owns the order in which that
//! happens, and what a connection may cost. actix's own dispatcher decodes every request that a
//! client has sent ahead, and answers them into a buffer without asking whether the client reads.
//! So a client that only sends would take megabytes.
//!
//! - **One exchange at a time.** The next request is not read before the last answer has been
//!   handed to the kernel.
//! - **Bounded memory.** A connection holds at most [`head::MAX_HEAD`] bytes of input and some 50
//!   KiB of output, whatever the sizes of requests and answers.
//! - **Bounded time.** A head, a body, and an answer whose client does not read have limits
//!   ([`Limits`]). The time in which a handler works, or in which an answer has nothing to send
//!   yet, is not limited here.
//! - **Long answers.** An answer of [`crate::long_answer`] or [`crate::answer_later`] continues in
//!   a task of its own, without the connection's place among those that are served at once, and is
//!   the connection's last.
//! - **No ambiguous requests.** [`head`] refuses what two parties could read differently, before
//!   any handler sees it.

mod body;
mod exchange;
mod faults;
pub mod head;
mod patience;
mod wire;

use std::time::Duration;

pub(crate) use exchange::{Client, serve_connection};
pub use faults::{HttpFault, HttpFaults};

/// How long the parts of an exchange may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of a request.
    pub head: Duration,
    /// For a whole request, head and body; and for an answer that is read more slowly than
    /// [`patience::LEAST_RATE`].
    pub request: Duration,
}

/// How long a connection may be idle between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a client that is still sending may take to read a final answer.
const LINGER: Duration = Duration::from_secs(1);
