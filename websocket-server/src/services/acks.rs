//! `message:ack` and `message:nack`: receivers acknowledge durable messages, or refuse them.

use common::{
    error::ClientError,
    message::{SystemMessage, read_payload},
};
use serde::Deserialize;
use store::Ack;

use super::kind::{Kind, Senders, Target, invalid_payload};
use crate::shard::{Ask, Call, NotUsable};

/// The most `seqs` in one acknowledgement.
const MAX_SEQS: usize = 1000;
/// The longest wait for a refused message, in milliseconds: a day.
const MAX_DELAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "message:ack",
        senders: Senders::All,
        target: Target::Ignored,
        read: |envelope| Ok(Box::new(AckAsk::from_payload(envelope.payload)?)),
    },
    Kind {
        name: "message:nack",
        senders: Senders::All,
        target: Target::Ignored,
        read: |envelope| Ok(Box::new(NackAsk::from_payload(envelope.payload)?)),
    },
];

/// Which durable messages are acknowledged: either `through` or `seqs`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AckAsk {
    /// The inbox. If absent: the sender's inbox that has the message.
    #[serde(default)]
    pub channel: Option<String>,
    /// Everything up to this number.
    #[serde(default)]
    pub through: Option<u64>,
    /// These numbers, 1000 at most.
    #[serde(default)]
    pub seqs: Vec<u64>,
}

impl AckAsk {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        if ask.through.is_none() == ask.seqs.is_empty() || ask.seqs.len() > MAX_SEQS {
            return Err(invalid_payload("`message:ack` needs either `through` or up to 1000 `seqs`"));
        }
        Ok(ask)
    }
}

/// Which durable message could not be used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NackAsk {
    /// The inbox. If absent: the sender's inbox that has the message.
    #[serde(default)]
    pub channel: Option<String>,
    /// The message.
    pub seq: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// How long to wait before it is delivered again, in milliseconds: 0 to a day.
    #[serde(default)]
    pub delay_ms: u64,
}

impl NackAsk {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        if ask.delay_ms > MAX_DELAY_MS {
            return Err(invalid_payload("`delay_ms` must be 0 to 86400000"));
        }
        Ok(ask)
    }
}

impl Ask for AckAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        let Self { channel, through, seqs } = *self;
        let ack = through.map_or(Ack::Each(seqs), Ack::Through);
        router.on_ack(peer, channel.as_deref(), ack, id, ctx).map(|()| None)
    }
}

impl Ask for NackAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        let Self { channel, seq, reason, delay_ms } = *self;
        router.on_nack(peer, channel.as_deref(), NotUsable { seq, reason, delay_ms }, id, ctx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_waits_a_day_at_most() {
        let delay = |ms: u64| {
            NackAsk::from_payload(Some(&format!(r#"{{"seq":1,"delay_ms":{ms}}}"#)))
                .map(|ask| ask.delay_ms)
                .map_err(|error| error.code)
        };
        assert_eq!(delay(MAX_DELAY_MS), Ok(MAX_DELAY_MS));
        for ms in [MAX_DELAY_MS + 1, u64::MAX] {
            assert_eq!(delay(ms), Err(common::error::ErrorCode::InvalidPayload));
        }
        assert_eq!(NackAsk::from_payload(Some(r#"{"seq":1}"#)).expect("valid").delay_ms, 0);
    }
}
