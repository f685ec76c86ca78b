//! Where a door is in its life.

use std::time::Duration;

use super::error::Ending;

/// The state of a door's connection.
///
/// ```text
///               ack                     connection lost or closed
///  Connecting ──────▶ Open ──▶ Draining ─────────────────────────▶ Waiting
///      ▲ │             └──────────────────────────────────────────▶  │ │
///      │ └─────────────── not reached ───────────────────────────▶   │ │
///      └────────────────────── the wait is over ─────────────────────┘ │
///  any ── refused for good, closed for good, closed by this side ──▶ Closed
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorState {
    /// The broker is being dialled, or has not sent `connection:ack` yet.
    Connecting {
        /// Failures in a row before this attempt.
        attempt: u32,
    },
    /// Messages pass.
    Open,
    /// Messages pass, and the broker will close the connection soon. The door will come back.
    Draining,
    /// The broker was not reached, or the connection was lost. It is dialled again after a wait.
    Waiting {
        /// Failures in a row so far.
        attempt: u32,
        /// The wait.
        retry_in: Duration,
    },
    /// Closed for good.
    Closed(Ending),
}

impl DoorState {
    /// Whether messages pass.
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Open | Self::Draining)
    }
}
