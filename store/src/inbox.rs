//! Records that wait to be acknowledged.

use crate::{channel::ChannelName, dead::DeadLettered, record::Record};

/// Which records of an inbox are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// All up to and including this number.
    Through(u64),
    /// All up to and including this number, but for some.
    ThroughBut {
        /// The number.
        through: u64,
        /// Those that still wait, in rising order.
        kept: Vec<u64>,
    },
    /// All up to and including this number, but for those that a receiver has refused
    /// ([`crate::Store::nack`]).
    ThroughUnrefused(u64),
    /// These.
    Each(Vec<u64>),
}

impl Ack {
    /// All up to and including this number, but for those `kept`, which are in rising order.
    #[must_use]
    pub fn through_but(through: u64, kept: Vec<u64>) -> Self {
        if kept.is_empty() { Self::Through(through) } else { Self::ThroughBut { through, kept } }
    }
}

/// The receiver got a record and could not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The earliest time for the next attempt, in milliseconds since 1970.
    pub not_before: u64,
    /// Why, in the receiver's words.
    pub reason: String,
}

/// An attempted delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The inbox.
    pub channel: ChannelName,
    /// The record.
    pub seq: u64,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the next one is due, in milliseconds since 1970.
    pub next_due: u64,
}

/// Selects unacknowledged records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingQuery {
    /// Only those due at this time, in milliseconds since 1970; `u64::MAX` for all.
    pub due_before: u64,
    /// Only numbers after this one.
    pub after: u64,
    /// The size of the answer.
    pub limits: crate::Limits,
}

/// An unacknowledged record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The record.
    pub record: Record,
    /// How often it was delivered.
    pub attempts: u32,
    /// When it is due, in milliseconds since 1970.
    pub due_at: u64,
    /// The receiver's last reason, if it refused the record.
    pub reason: Option<String>,
}

/// What one step of [`crate::Store::trim`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Records removed by retention.
    pub records: u64,
    /// Unacknowledged records that expired or became too old.
    pub dead_lettered: Vec<DeadLettered>,
    /// Empty channels without use that were forgotten.
    pub channels: u64,
    /// Rows removed elsewhere: audit, cursors, ids of the window, retained values that have
    /// expired.
    pub rows: u64,
    /// Whether there is more to do now.
    pub more: bool,
}
