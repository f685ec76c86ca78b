//! The envelope: parses its head, and stamps it without touching the rest.
//!
//! The parsed head borrows from the text; the payload stays a span of it. Stamping cuts and inserts
//! spans, so that the payload and unknown fields pass byte for byte.

mod delta;
mod depth;
mod family;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::value::RawValue;

pub use delta::merge_deltas;
use depth::check_depth;
pub use family::Family;

use crate::{
    address::Address,
    error::{ClientError, ErrorCode},
    id::MAX_NAME,
    timestamp,
};

/// The longest `timeout_ms` of a request: ten minutes.
pub const MAX_TIMEOUT_MS: u32 = 600_000;

/// The type whose messages [`Overflow::Merge`] can merge.
const MERGEABLE: &str = "message:delta";

/// The longest `ttl_ms` of a message: a year.
pub const MAX_TTL_MS: u64 = 365 * 24 * 60 * 60 * 1000;

/// The lane of a receiver's outbox. What waits in a lane goes before what waits in the lanes below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// With the bridge's own answers.
    Control,
    /// Before the others.
    High,
    /// The default.
    #[default]
    Normal,
    /// After the others. A bounded number of them may go before it.
    Low,
}

/// The class that the sender asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// Live only.
    Ephemeral,
    /// Stored before it is confirmed, kept for an absent receiver, delivered until acknowledged.
    Durable,
}

/// What a message does to its topic's retained value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Retain {
    /// Nothing.
    #[default]
    No,
    /// It becomes the value.
    Set,
    /// It removes the value: it has no payload.
    Clear,
}

/// What happens to an ephemeral message for a receiver that reads too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// What does not fit is dropped.
    #[default]
    DropNewest,
    /// While it waits, it gives way to newer messages.
    DropOldest,
    /// It takes the place of an older one of its stream that still waits.
    Latest,
    /// A text delta: it is merged with an older one of its stream that still waits.
    Merge,
}

/// A string that borrows from the text if it has no escapes (a bare `Option<Cow>` never borrows).
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Reads a value that counts as present even if it is `null`, for the keys that stamping adds if
/// they are absent.
fn present<'de, D, T>(input: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(input).map(Some)
}

#[derive(Deserialize)]
struct RawHead<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    timestamp: Option<Text<'a>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    source: Option<&'a RawValue>,
    #[serde(borrow, default)]
    target: Option<Text<'a>>,
    #[serde(borrow, default)]
    correlation_id: Option<Text<'a>>,
    #[serde(default)]
    priority: Option<Priority>,
    #[serde(default)]
    timeout_ms: Option<u32>,
    #[serde(default)]
    delivery: Option<Delivery>,
    #[serde(default)]
    ttl_ms: Option<u64>,
    #[serde(default)]
    retain: Option<bool>,
    #[serde(default)]
    receipt: Option<bool>,
    #[serde(default)]
    overflow: Option<Overflow>,
    #[serde(borrow, default)]
    conflation_key: Option<Text<'a>>,
    // Fields of the bridge: listed here so that a field that occurs twice is a fault.
    #[serde(default, deserialize_with = "present")]
    channel: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    epoch: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    seq: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    prev: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    redelivered: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    retained: Option<IgnoredAny>,
}

impl RawHead<'_> {
    /// Whether the sender wrote a field that only the bridge writes into durable messages.
    fn has_position(&self) -> bool {
        let of_bridge = [&self.channel, &self.epoch, &self.seq, &self.prev, &self.redelivered, &self.retained];
        of_bridge.into_iter().any(Option::is_some)
    }
}

/// The parsed head of one frame. Borrows from the frame's text.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// The whole frame.
    pub text: &'a str,
    /// `family:verb`.
    pub kind: Cow<'a, str>,
    /// The sender's id for the message.
    pub id: Option<Cow<'a, str>>,
    /// The payload as it stands in the frame; `None` if absent or `null`.
    pub payload: Option<&'a str>,
    /// The target; `None` if absent or `null`.
    pub target: Option<Address>,
    /// The message this one answers.
    pub correlation_id: Option<Cow<'a, str>>,
    /// Its lane.
    pub priority: Priority,
    /// How long the sender waits for an answer.
    pub timeout_ms: Option<u32>,
    /// The class that the sender asks for, if it names one.
    pub delivery: Option<Delivery>,
    /// How long the message is of use, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Whether it changes its topic's retained value, as [`Envelope::effect_on_retained`] says.
    pub retain: bool,
    /// Whether the sender wants receipts.
    pub receipt: bool,
    /// What happens to it if a receiver reads too slowly, if the sender says so.
    pub overflow: Option<Overflow>,
    /// With [`Overflow::Latest`]: the stream, among the sender's messages of this type and target.
    pub conflation_key: Option<Cow<'a, str>>,
    /// Whether the sender wrote a field that only the bridge writes into durable messages. In other
    /// messages such fields pass unchanged.
    pub has_position: bool,
    has_timestamp: bool,
    source: Option<Range<usize>>,
}

impl<'a> Envelope<'a> {
    /// Parses the head of a frame.
    ///
    /// # Errors
    /// `invalid_envelope` if it is not one well-formed envelope, `invalid_target` if the target is
    /// not an address. The message names the fault. The error contains the frame's `id` if that was
    /// read before the fault was found.
    pub fn parse(text: &'a str, max_depth: usize) -> Result<Self, EnvelopeError> {
        let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        check_depth(text.as_bytes(), max_depth)?;
        let head: RawHead<'a> =
            serde_json::from_str(text).map_err(|error| invalid(None, format!("not a valid envelope: {error}")))?;
        let has_position = head.has_position();
        let id = head.id.map(|id| id.0);
        let fault = |message: &str| Err(invalid(id.as_deref(), message));
        if !text.starts_with('{') {
            // This also excludes arrays, which serde accepts for structs.
            return fault("the frame must be one JSON object");
        }
        let kind = head.kind.0;
        if longer_than(&kind, MAX_NAME)
            || !kind.split_once(':').is_some_and(|(family, verb)| !family.is_empty() && !verb.is_empty())
        {
            return fault("`type` must be family:verb, at most 128 characters");
        }
        let too_long = |value: &str| value.is_empty() || longer_than(value, MAX_NAME);
        if id.as_deref().is_some_and(too_long) {
            return Err(invalid(None, "`id` must be 1 to 128 characters"));
        }
        let correlation_id = head.correlation_id.map(|id| id.0).filter(|id| !id.is_empty());
        if correlation_id.as_deref().is_some_and(too_long) {
            return fault("`correlation_id` must be at most 128 characters");
        }
        if head.timeout_ms.is_some_and(|timeout| timeout == 0 || timeout > MAX_TIMEOUT_MS) {
            return fault("`timeout_ms` must be 1 to 600000");
        }
        if head.ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > MAX_TTL_MS) {
            return fault("`ttl_ms` must be 1 to 31536000000");
        }
        if head.delivery == Some(Delivery::Ephemeral) && (head.retain == Some(true) || head.receipt == Some(true)) {
            return fault("`retain` and `receipt` are for durable messages");
        }
        if head.overflow.is_some()
            && (head.delivery == Some(Delivery::Durable) || head.retain == Some(true) || head.receipt == Some(true))
        {
            return fault("`overflow` is for ephemeral messages: durable ones wait in the log");
        }
        let conflation_key = head.conflation_key.map(|key| key.0);
        if conflation_key.is_some() && head.overflow != Some(Overflow::Latest) {
            return fault("`conflation_key` needs `\"overflow\":\"latest\"`");
        }
        if conflation_key.as_deref().is_some_and(too_long) {
            return fault("`conflation_key` must be 1 to 128 characters");
        }
        if matches!(head.overflow, Some(Overflow::Latest | Overflow::Merge)) && head.timeout_ms.is_some() {
            return fault(
                "with `timeout_ms`, `overflow` must be `drop_newest` or `drop_oldest`: a request cannot be replaced or merged",
            );
        }
        if head.overflow == Some(Overflow::Merge) && (kind != MERGEABLE || correlation_id.is_none()) {
            return fault("`\"overflow\":\"merge\"` is for `message:delta` with a `correlation_id`");
        }
        let target = match head.target {
            None => None,
            Some(target) => match Address::parse(&target.0) {
                Ok(address) => Some(address),
                Err(error) => {
                    let error = ClientError::with_message(ErrorCode::InvalidTarget, error.to_string());
                    return Err(EnvelopeError { id: id.map(Cow::into_owned), error });
                }
            },
        };
        Ok(Self {
            text,
            kind,
            id,
            payload: head.payload.map(RawValue::get).filter(|payload| *payload != "null"),
            target,
            correlation_id,
            priority: head.priority.unwrap_or_default(),
            timeout_ms: head.timeout_ms,
            delivery: head.delivery,
            ttl_ms: head.ttl_ms,
            retain: head.retain.unwrap_or_default(),
            receipt: head.receipt.unwrap_or_default(),
            overflow: head.overflow,
            conflation_key,
            has_position,
            has_timestamp: head.timestamp.is_some(),
            source: head.source.map(|raw| span_of(text, raw.get())),
        })
    }

    /// What the message does to its topic's retained value.
    pub fn effect_on_retained(&self) -> Retain {
        match (self.retain, self.payload) {
            (false, _) => Retain::No,
            (true, Some(_)) => Retain::Set,
            (true, None) => Retain::Clear,
        }
    }

    /// Whether the type is a step of something larger: `…:delta`, `…:progress`.
    pub fn is_step(&self) -> bool {
        matches!(self.kind.split_once(':'), Some((_, "delta" | "progress")))
    }

    /// The family of the type.
    pub fn family(&self) -> Family {
        Family::of(&self.kind)
    }

    /// Prepares the frame for its receivers: replaces or adds `source`, and adds `id` and
    /// `timestamp` if they are absent. `source_json` is the JSON string literal of the sender's
    /// address. `fresh_id` is used if the frame has no id; it must not need escapes in JSON.
    pub fn stamp<'b>(&'b self, source_json: &'b str, fresh_id: &str) -> Stamp<'b> {
        const MOST_ADDED: usize = r#""id":"","timestamp":"","source":,"#.len() + 36 + 24;
        let mut added = String::with_capacity(MOST_ADDED + source_json.len());
        if self.id.is_none() {
            added.push_str("\"id\":\"");
            added.push_str(fresh_id);
            added.push_str("\",");
        }
        if !self.has_timestamp {
            added.push_str("\"timestamp\":\"");
            added.push_str(std::str::from_utf8(&timestamp::now()).unwrap_or_default());
            added.push_str("\",");
        }
        let (before, source, after) = match &self.source {
            Some(span) => (&self.text[1..span.start], source_json, &self.text[span.end..]),
            None => {
                added.push_str("\"source\":");
                added.push_str(source_json);
                added.push(',');
                ("", "", &self.text[1..])
            }
        };
        Stamp { added, before, source, after }
    }
}

/// A stamped frame as the pieces that it is copied from: `{`, the additions, then the original
/// around the source.
#[derive(Debug)]
pub struct Stamp<'a> {
    added: String,
    before: &'a str,
    source: &'a str,
    after: &'a str,
}

impl Stamp<'_> {
    /// Length of the stamped frame in bytes.
    pub fn len(&self) -> usize {
        1 + self.added.len() + self.before.len() + self.source.len() + self.after.len()
    }

    /// Never: a frame has at least its braces.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Appends the stamped frame.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        for piece in ["{", &self.added, self.before, self.source, self.after] {
            out.extend_from_slice(piece.as_bytes());
        }
    }
}

/// A frame that is not an envelope, and its `id` if that could be read.
#[derive(Debug)]
pub struct EnvelopeError {
    /// The id to correlate the answer with.
    pub id: Option<String>,
    /// What is wrong.
    pub error: ClientError,
}

impl From<ClientError> for EnvelopeError {
    fn from(error: ClientError) -> Self {
        Self { id: None, error }
    }
}

/// Whether a text has more than `limit` characters.
pub fn longer_than(text: &str, limit: usize) -> bool {
    text.len() > limit && text.chars().nth(limit).is_some()
}

fn invalid(id: Option<&str>, message: impl Into<String>) -> EnvelopeError {
    EnvelopeError { id: id.map(str::to_owned), error: ClientError::with_message(ErrorCode::InvalidEnvelope, message) }
}

/// The position of `part` in `whole`, of which it is a slice.
fn span_of(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}
