//! What waits to be acknowledged, and what becomes of it when it never is.

use crate::{channel::ChannelName, record::Record};

/// Longest text kept with a `nack` or a dead letter, in bytes; longer ones are cut.
pub const MAX_REASON: usize = 512;

/// Which records of an inbox are acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// All up to and including this number.
    Through(u64),
    /// These.
    Each(Vec<u64>),
}

/// The receiver got it and could not use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The earliest time for another try, in milliseconds since 1970.
    pub not_before: u64,
    /// Why, in the receiver's words.
    pub reason: String,
}

/// A delivery that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The inbox.
    pub channel: ChannelName,
    /// The record.
    pub seq: u64,
    /// Which try it was, from 1.
    pub attempt: u32,
    /// When the next is due, in milliseconds since 1970.
    pub next_due: u64,
}

/// Which unacknowledged records are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingQuery {
    /// Only what is due at this time, in milliseconds since 1970; `u64::MAX` for all.
    pub due_before: u64,
    /// Only numbers after this.
    pub after: u64,
    /// How much.
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
    /// What the receiver said last, if it refused it.
    pub reason: Option<String>,
}

/// Why a record went to the dead-letter channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// Its `ttl_ms` is over.
    Expired,
    /// It waited longer than an inbox keeps anything.
    Age,
    /// The inbox was full and this was the oldest of the lowest priority.
    InboxFull,
    /// It was delivered as often as may be.
    MaxDeliveries,
    /// The receiver said that it will never take it.
    Rejected,
    /// The session it was for was forgotten.
    ReceiverForgotten,
}

impl DeadReason {
    const ALL: [Self; 6] =
        [Self::Expired, Self::Age, Self::InboxFull, Self::MaxDeliveries, Self::Rejected, Self::ReceiverForgotten];

    /// The permanent code, on the wire and in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Age => "age",
            Self::InboxFull => "inbox_full",
            Self::MaxDeliveries => "max_deliveries",
            Self::Rejected => "rejected",
            Self::ReceiverForgotten => "receiver_forgotten",
        }
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == code)
    }
}

/// That a record is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeadReason,
    /// More about that, in the receiver's words.
    pub detail: Option<String>,
    /// Now, in milliseconds since 1970.
    pub at: u64,
}

impl Death {
    /// A death without further words.
    pub const fn of(reason: DeadReason, at: u64) -> Self {
        Self { reason, detail: None, at }
    }
}

/// Where a dead letter came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadOrigin {
    /// The channel it was in.
    pub channel: ChannelName,
    /// Its number there.
    pub seq: u64,
    /// Why it was moved.
    pub reason: DeadReason,
    /// More about that.
    pub detail: Option<String>,
}

/// A record that was moved to a dead-letter channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLettered {
    /// Where it was.
    pub channel: ChannelName,
    /// Its number there.
    pub seq: u64,
    /// The sender's id of the message.
    pub message_id: String,
    /// The sender, who may want to hear of it.
    pub source: String,
    /// Why it was moved.
    pub reason: DeadReason,
    /// Where it is now.
    pub dead_channel: ChannelName,
    /// Its number there.
    pub dead_seq: u64,
}

/// What one step of [`crate::Store::trim`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Records removed by retention.
    pub records: u64,
    /// Records that expired or grew too old unacknowledged.
    pub dead_lettered: Vec<DeadLettered>,
    /// Empty, long unused channels that were forgotten.
    pub channels: u64,
    /// Rows removed elsewhere: audit, cursors, ids of the window.
    pub rows: u64,
    /// Whether there is more to do now.
    pub more: bool,
}

/// Cuts a text to [`MAX_REASON`] bytes, at a character.
pub(crate) fn cut_reason(text: &str) -> String {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
