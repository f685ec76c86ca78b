//! A message as its sender writes it.

use std::borrow::Cow;

use common::{
    address::Address,
    envelope::{Delivery, Overflow, Priority},
    id::TopicName,
    message::Start,
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{incoming::Incoming, reading::start_json};

/// The payload of a message.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Payload {
    /// JSON that was built here.
    Value(Value),
    /// JSON that is passed on byte for byte.
    Raw(Box<RawValue>),
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Box<RawValue>> for Payload {
    fn from(raw: Box<RawValue>) -> Self {
        Self::Raw(raw)
    }
}

/// A message to be sent. Every field of the envelope that a sender may set has a method.
///
/// ```
/// use common::{address::Address, envelope::Delivery};
/// use gateway::doors::Outgoing;
/// use serde_json::json;
///
/// let target = Address::parse("agent:planner")?;
/// let job = Outgoing::new("job:new").to(&target).delivery(Delivery::Durable).payload(json!({"n": 1}));
/// # Ok::<(), common::address::AddressError>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Outgoing {
    id: String,
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overflow: Option<Overflow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflation_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<Delivery>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retain: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    receipt: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
}

impl Outgoing {
    /// A message of this type with a fresh id, without a target or a payload.
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id: Uuid::new_v4().to_string(),
            kind: kind.into(),
            target: None,
            correlation_id: None,
            priority: None,
            overflow: None,
            conflation_key: None,
            timeout_ms: None,
            delivery: None,
            retain: false,
            receipt: false,
            ttl_ms: None,
            payload: None,
        }
    }

    /// An answer: it goes to the sender of the question, and names the question. The answer to a
    /// question without an id names none.
    pub fn answer(kind: impl Into<Cow<'static, str>>, question: &Incoming) -> Self {
        Self { target: question.source.clone(), correlation_id: question.id.clone(), ..Self::new(kind) }
    }

    /// A `topic:subscribe`; `from` names a position in the topic's log, if there is one to start
    /// at.
    pub fn subscription(topic: &TopicName, presence: bool, from: Option<&Start>) -> Self {
        let mut payload = json!({ "topic": topic, "presence": presence });
        if let Some(from) = from {
            payload["from"] = start_json(from);
        }
        Self::new("topic:subscribe").payload(payload)
    }

    /// With the caller's id, 1 to 128 characters. A durable message that is sent again under the
    /// same id is stored once.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// To an address.
    pub fn to(mut self, target: &Address) -> Self {
        self.target = Some(target.to_string());
        self
    }

    /// As an answer to the message with this id.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// In this lane of the receiver's outbox.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// What happens to it, if it is ephemeral and a receiver reads too slowly.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = Some(overflow);
        self
    }

    /// With [`Overflow::Latest`]: the stream that it belongs to, 1 to 128 characters.
    pub fn conflation_key(mut self, key: impl Into<String>) -> Self {
        self.conflation_key = Some(key.into());
        self
    }

    /// Its class; without this, the broker decides by the target and the type.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Makes it the topic's retained value.
    pub fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Asks for `message:delivered` and `message:acknowledged`.
    pub fn receipt(mut self) -> Self {
        self.receipt = true;
        self
    }

    /// How long a durable message is of use, in milliseconds.
    pub fn ttl_ms(mut self, ttl: u64) -> Self {
        self.ttl_ms = Some(ttl);
        self
    }

    /// Its payload.
    pub fn payload(mut self, payload: impl Into<Payload>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Its id.
    pub fn message_id(&self) -> &str {
        &self.id
    }

    /// Its target, as it is written.
    pub fn target(&self) -> Option<&str> {
        self.target.as_deref()
    }

    /// Its type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The id of the message that it answers.
    pub fn answers(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// Makes it a request: the broker answers with an error if no answer came within so many
    /// milliseconds.
    pub(super) fn timeout_ms(mut self, timeout: u32) -> Self {
        self.timeout_ms = Some(timeout);
        self
    }

    /// The frame's text.
    pub fn encode(&self) -> String {
        // Strings, numbers and JSON: serialisation cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_no_empty_fields_and_an_answer_goes_back() {
        let question = Incoming::parse(r#"{"type":"message:send","id":"q","source":"session:s"}"#).expect("an envelope");
        let answer = Outgoing::answer("message:done", &question).id("a").payload(json!({"text": "hi"}));
        let text: Value = serde_json::from_str(&answer.encode()).expect("JSON");
        assert_eq!(
            text,
            json!({"id": "a", "type": "message:done", "target": "session:s", "correlation_id": "q", "payload": {"text": "hi"}})
        );
    }

    #[test]
    fn options_of_the_sender_are_written_as_in_the_protocol() {
        let message = Outgoing::new("a:b").priority(Priority::Low).overflow(Overflow::DropOldest).delivery(Delivery::Durable);
        let text: Value = serde_json::from_str(&message.encode()).expect("JSON");
        assert_eq!(
            (&text["priority"], &text["overflow"], &text["delivery"]),
            (&json!("low"), &json!("drop_oldest"), &json!("durable"))
        );
    }
}
