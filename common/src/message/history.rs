//! Where a reader of a log begins, and what it is told about messages that are gone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::payload::read_payload;
use crate::{
    error::{ClientError, ErrorCode},
    timestamp,
};

/// The most messages in one answer to `channel:history`.
pub const MAX_HISTORY: u32 = 256;
/// The most channels in one `connection:resume`.
pub const MAX_RESUMED: usize = 1100;

/// Where a read begins: `{"seq", "epoch"}`, `{"last"}` or `{"since"}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawStart")]
pub enum Start {
    /// After a number. If the epoch is named and is not the present one, the number means nothing.
    After {
        /// The epoch of the number. `None`: the present one.
        epoch: Option<String>,
        /// The last number that the reader has.
        seq: u64,
    },
    /// With the newest messages, so many.
    Last(u32),
    /// With the first message stored at or after a time, in milliseconds since 1970.
    Since(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStart {
    epoch: Option<String>,
    seq: Option<u64>,
    last: Option<u32>,
    since: Option<String>,
}

impl TryFrom<RawStart> for Start {
    type Error = &'static str;

    fn try_from(raw: RawStart) -> Result<Self, Self::Error> {
        let RawStart { epoch, seq, last, since } = raw;
        if epoch.is_some() && seq.is_none() {
            return Err("an epoch belongs to a `seq`");
        }
        let after = seq.map(|seq| Self::After { epoch, seq });
        Self::one_of(after, last, since.as_deref())?.ok_or("a start is one of {seq, epoch}, {last} and {since}")
    }
}

impl Start {
    /// The start that a request names in one of three ways: a position, `last`, or `since` as an
    /// RFC 3339 time. `None`: it names none.
    ///
    /// # Errors
    /// It names more than one, or the time cannot be read.
    pub fn one_of(position: Option<Self>, last: Option<u32>, since: Option<&str>) -> Result<Option<Self>, &'static str> {
        match (position, last, since) {
            (position, None, None) => Ok(position),
            (None, Some(last), None) => Ok(Some(Self::Last(last))),
            (None, None, Some(since)) => {
                timestamp::parse_ms(since).map(|since| Some(Self::Since(since))).ok_or("`since` must be an RFC 3339 time")
            }
            _ => Err("name only one start: a position, `last` or `since`"),
        }
    }
}

/// `channel:history`: reads a part of a log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct HistoryAsk {
    /// The channel.
    pub channel: String,
    /// Where to begin. By default at the oldest message that still exists.
    #[serde(default = "HistoryAsk::beginning")]
    pub from: Start,
    /// The most messages. 0 asks for the position only.
    #[serde(default = "HistoryAsk::usual_limit")]
    pub limit: u32,
}

impl HistoryAsk {
    /// Before the first message.
    pub const fn beginning() -> Start {
        Start::After { epoch: None, seq: 0 }
    }

    /// The limit where none is asked for.
    pub const fn usual_limit() -> u32 {
        100
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        ask.check()?;
        Ok(ask)
    }

    /// Checks the limit.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn check(&self) -> Result<(), ClientError> {
        if self.limit > MAX_HISTORY {
            return Err(ClientError::with_message(ErrorCode::InvalidPayload, "`limit` must be 0 to 256"));
        }
        Ok(())
    }
}

/// The last message that a reader has of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct KnownPosition {
    /// Which history.
    pub epoch: String,
    /// The number.
    pub seq: u64,
}

/// `connection:resume`: go on from these positions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ResumeAsk {
    /// The last message that the receiver has, by channel: its inboxes, topics, broadcasts.
    pub channels: BTreeMap<String, KnownPosition>,
}

impl ResumeAsk {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        if ask.channels.len() > MAX_RESUMED {
            return Err(ClientError::with_message(ErrorCode::InvalidPayload, "`channels` must be at most 1100"));
        }
        Ok(ask)
    }
}

/// What a reader that went on from a position is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Whether everything after the position follows. `false`: see `lost`.
    pub recovered: bool,
    /// What follows comes after this number.
    pub from: u64,
    /// What cannot be read any more; `null` where nothing is lost or nothing is known.
    pub lost: Option<LostRecords>,
}

/// Messages that a log does not hold any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostRecords {
    /// How many, or `null` where that is not known.
    pub count: Option<u64>,
    /// Whether `count` is the number itself, and not just a bound.
    pub exact: bool,
    /// How many of those were moved to the dead letters, the others having passed the bounds of
    /// retention.
    pub dead_lettered: u64,
    /// The highest number that is gone, where that is known.
    pub through: Option<u64>,
}

/// A stretch of a log, as `channel:records` and the HTTP API show it.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryPage {
    /// The channel.
    pub channel: String,
    /// Which history.
    pub epoch: String,
    /// The newest number; 0 where there never was one.
    pub head: u64,
    /// The oldest number that is still there.
    pub first_available: Option<u64>,
    /// Read on after this number.
    pub next: u64,
    /// Whether there is more.
    pub has_more: bool,
    /// What was between the position asked for and the first message.
    pub lost: Option<LostRecords>,
    /// The messages, in order, as they were delivered.
    pub messages: Vec<Box<RawValue>>,
}
