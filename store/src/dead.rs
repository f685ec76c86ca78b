//! Records that are never acknowledged: why, and where they go.

use crate::channel::ChannelName;

/// The longest text stored with a `nack` or a dead letter, in bytes; longer ones are cut.
pub const MAX_REASON: usize = 512;

/// Why a record went to the dead-letter channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// Its `ttl_ms` has passed.
    Expired,
    /// It waited longer than an inbox keeps anything.
    Age,
    /// The inbox was full, and its sender had most there: its oldest of the lowest priority.
    InboxFull,
    /// It was delivered as often as allowed.
    MaxDeliveries,
    /// The receiver refused it for good.
    Rejected,
    /// Its session was forgotten.
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

/// A decision to give a record up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why.
    pub reason: DeadReason,
    /// Details, in the receiver's words.
    pub detail: Option<String>,
    /// Now, in milliseconds since 1970.
    pub at: u64,
}

impl Death {
    /// Without details.
    pub const fn of(reason: DeadReason, at: u64) -> Self {
        Self { reason, detail: None, at }
    }
}

/// The origin of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadOrigin {
    /// The channel it was in.
    pub channel: ChannelName,
    /// Its number there.
    pub seq: u64,
    /// Why it was moved.
    pub reason: DeadReason,
    /// Details.
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
    /// The sender, which may want to hear of it.
    pub source: String,
    /// Why it was moved.
    pub reason: DeadReason,
    /// Where it is now.
    pub dead_channel: ChannelName,
    /// Its number there.
    pub dead_seq: u64,
}

/// Cuts a text to [`MAX_REASON`] bytes, at a character boundary.
pub(crate) fn cut_reason(text: &str) -> String {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
}
