//! The faults of a server that a run can find.
//!
//! A fault ends the run that finds it. The other runs go on, and the bench as a whole fails at its
//! end.

use crate::net::FrameError;

/// Longest piece of an unexpected frame that is shown, in characters.
const SHOWN: usize = 240;

/// An error of a server.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Bytes differ from those that were sent.
    #[error("connection {conn}: message {expected} arrived damaged: {shown}")]
    Damaged {
        /// Which connection.
        conn: usize,
        /// The message that was due.
        expected: u32,
        /// The start of what arrived.
        shown: String,
    },
    /// A message came twice, too early or from another sender.
    #[error("connection {conn}: message {expected} was due, {got} came")]
    OutOfOrder {
        /// Which connection.
        conn: usize,
        /// The message that was due.
        expected: u32,
        /// The message that came.
        got: u32,
    },
    /// A message from a publisher that does not send to this connection.
    #[error("connection {conn}: a message of publisher {got} came, only those of {expected} may")]
    WrongPublisher {
        /// Which connection.
        conn: usize,
        /// The only publisher whose messages may come.
        expected: u16,
        /// Who sent this one.
        got: u16,
    },
    /// A reply that does not name its request.
    #[error("connection {conn}: the reply does not name its request: {shown}")]
    WrongReply {
        /// Which connection.
        conn: usize,
        /// The start of what arrived.
        shown: String,
    },
    /// Messages never arrived.
    #[error("{missing} messages had not arrived {seconds} s after the last was sent")]
    Missing {
        /// How many.
        missing: u64,
        /// How long was waited.
        seconds: u64,
    },
    /// Two messages were given one position.
    #[error("two messages were confirmed with the position {seq}")]
    SamePosition {
        /// The position.
        seq: u64,
    },
    /// A frame that the scenario does not expect.
    #[error("connection {conn}: unexpected: {shown}")]
    Unexpected {
        /// Which connection.
        conn: usize,
        /// The start of the frame.
        shown: String,
    },
    /// The server closed a connection that it should keep open.
    #[error("connection {conn} was closed: {ending}")]
    Closed {
        /// Which connection.
        conn: usize,
        /// How.
        ending: crate::net::Ending,
    },
    /// The upgrade was refused.
    #[error("connection {conn} was refused: {answer}")]
    Refused {
        /// Which connection.
        conn: usize,
        /// The start of the answer.
        answer: String,
    },
    /// The bytes are not a WebSocket frame.
    #[error("connection {conn}: {error}")]
    Frame {
        /// Which connection.
        conn: usize,
        /// What is wrong.
        error: FrameError,
    },
    /// Nothing happened for too long.
    #[error("only {done} of {wanted} {what} after {seconds} s")]
    Stalled {
        /// The event that was waited for.
        what: &'static str,
        /// How many of these events happened.
        done: usize,
        /// How many were expected.
        wanted: usize,
        /// How long was waited.
        seconds: u64,
    },
    /// The generator's own sockets failed.
    #[error("generator: {0}")]
    Io(#[from] std::io::Error),
}

/// The start of `frame`, for an error message.
pub fn shown(frame: &[u8]) -> String {
    let text = String::from_utf8_lossy(frame.get(..frame.len().min(4 * SHOWN)).unwrap_or_default());
    text.chars().take(SHOWN).collect()
}
