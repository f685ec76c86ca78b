//! `message:extend`: a receiver needs longer for a message than it has to acknowledge it.

use std::time::Duration;

use common::{
    error::ClientError,
    message::{SystemMessage, read_payload},
};
use serde::Deserialize;

use super::kind::{Kind, Senders, Target, invalid_payload};
use crate::shard::{Ask, Call, RouterActor};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "message:extend",
    senders: Senders::All,
    target: Target::Bridge,
    read: |envelope| Ok(Box::new(ExtendAsk::from_payload(envelope.payload)?)),
}];

/// Longest extension, in milliseconds. A receiver may ask again and again.
const LONGEST_MS: u64 = 60 * 60 * 1000;

/// How much longer a receiver needs for a message.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ExtendAsk {
    /// The inbox; any of the sender's own where absent.
    #[serde(default)]
    pub channel: Option<String>,
    /// The message.
    pub seq: u64,
    /// How long from now, in milliseconds: 1 to an hour.
    pub by_ms: u64,
}

impl ExtendAsk {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        if !(1..=LONGEST_MS).contains(&ask.by_ms) {
            return Err(invalid_payload("`by_ms` must be 1 to 3600000"));
        }
        Ok(ask)
    }
}

impl Ask for ExtendAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Self { channel, seq, by_ms } = *self;
        RouterActor::on_extend(call.peer, channel.as_deref(), seq, Duration::from_millis(by_ms)).map(|()| None)
    }
}
