//! A message as its receiver sees it.

use std::ops::Range;

use common::{
    envelope::{Envelope, EnvelopeError},
    message::KnownPosition,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// The nesting of JSON that [`Incoming::envelope`] reads: the broker has checked it against its own
/// limit before.
const MAX_DEPTH: usize = 1024;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    source: Option<String>,
    #[serde(default)]
    target: Option<String>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    epoch: Option<String>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(default)]
    redelivered: Option<u64>,
    #[serde(default)]
    retained: Option<bool>,
}

/// The position of a durable message in its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The channel, such as `topic:news` or `agent:planner`.
    pub channel: String,
    /// The epoch and the number.
    pub known: KnownPosition,
}

/// A message from the broker. It owns the frame's text. The payload is a part of that text, and is
/// read on request.
#[derive(Clone, Debug)]
pub struct Incoming {
    text: Utf8Bytes,
    payload: Range<usize>,
    /// `family:verb`.
    pub kind: String,
    /// The message's id.
    pub id: Option<String>,
    /// The sender, as the broker stamped it: an address, `bridge` or `edge`.
    pub source: Option<String>,
    /// The target.
    pub target: Option<String>,
    /// The id of the message that this one answers.
    pub correlation_id: Option<String>,
    /// Its position, if it is a durable message.
    pub position: Option<Position>,
    /// How often it may have been delivered before. If it is above zero, the receiver may have
    /// handled it already.
    pub redelivered: u64,
    /// Whether it is a topic's retained value, and not a new message.
    pub retained: bool,
}

impl Incoming {
    /// Reads a frame's text.
    ///
    /// # Errors
    /// The text is not an envelope.
    pub fn parse(text: impl Into<Utf8Bytes>) -> Result<Self, serde_json::Error> {
        let text = text.into();
        let head: Head<'_> = serde_json::from_str(&text)?;
        let payload = head.payload.map_or(0..0, |payload| {
            let start = payload.get().as_ptr().addr() - text.as_ptr().addr();
            start..start + payload.get().len()
        });
        let position = match (head.channel, head.epoch, head.seq) {
            (Some(channel), Some(epoch), Some(seq)) => Some(Position { channel, known: KnownPosition { epoch, seq } }),
            _ => None,
        };
        Ok(Self {
            payload,
            kind: head.kind,
            id: head.id,
            source: head.source,
            target: head.target,
            correlation_id: head.correlation_id,
            position,
            redelivered: head.redelivered.unwrap_or_default(),
            retained: head.retained.unwrap_or_default(),
            text,
        })
    }

    /// The whole frame.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The payload's JSON, byte for byte as it was sent; `null` if there is none.
    pub fn payload_text(&self) -> &str {
        self.text.get(self.payload.clone()).filter(|text| !text.is_empty()).unwrap_or("null")
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// The payload does not have this shape.
    pub fn payload<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload_text())
    }

    /// The envelope with every field that a sender may set.
    ///
    /// # Errors
    /// The broker sent what a peer may not send; routed messages always pass.
    pub fn envelope(&self) -> Result<Envelope<'_>, EnvelopeError> {
        Envelope::parse(&self.text, MAX_DEPTH)
    }

    /// Whether it is from the broker or the edge, and not from a peer.
    pub fn is_from_bridge(&self) -> bool {
        matches!(self.source.as_deref(), Some("bridge" | "edge"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_payload_are_found_and_the_payload_is_left_as_it_is() {
        let text = r#"{"type":"job:new","id":"1","source":"agent:a","payload":{ "n" : 1 },"channel":"agent:b","epoch":"e","seq":7,"redelivered":2}"#;
        let message = Incoming::parse(text).expect("an envelope");
        assert_eq!((message.kind.as_str(), message.payload_text()), ("job:new", r#"{ "n" : 1 }"#));
        let position = message.position.clone().expect("a durable message");
        assert_eq!((position.channel.as_str(), position.known.seq, message.redelivered), ("agent:b", 7, 2));
        assert_eq!(message.envelope().expect("routed").kind, "job:new");
        let bare = Incoming::parse(r#"{"type":"a:b"}"#).expect("an envelope");
        assert_eq!((bare.payload_text(), &bare.position), ("null", &None));
        assert!(Incoming::parse("[]").is_err() && Incoming::parse("{}").is_err());
    }
}
