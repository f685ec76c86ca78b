//! `topic:*`: subscriptions.

use std::borrow::Cow;

use common::{
    error::{ClientError, ErrorCode},
    id::TopicName,
    message::{Start, SystemMessage, read_payload},
};
use serde::Deserialize;

use super::kind::{Kind, Senders, Target};
use crate::shard::{Ask, Call, ChannelAsk, Subscription};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "topic:subscribe",
        senders: Senders::All,
        target: Target::Ignored,
        read: |envelope| {
            let ask = TopicAsk::from_payload(envelope.payload)?;
            Ok(Box::new(Subscription { topic: ask.topic()?, presence: ask.presence, from: ask.from }))
        },
    },
    Kind {
        name: "topic:unsubscribe",
        senders: Senders::All,
        target: Target::Ignored,
        read: |envelope| Ok(Box::new(Unsubscribe(TopicAsk::from_payload(envelope.payload)?.topic()?))),
    },
];

/// The payload of both types.
#[derive(Debug, Deserialize)]
pub struct TopicAsk<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default)]
    presence: bool,
    #[serde(default)]
    from: Option<Start>,
}

impl<'a> TopicAsk<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&'a str>) -> Result<Self, ClientError> {
        read_payload(payload)
    }

    /// The topic, with or without the `topic:` prefix.
    ///
    /// # Errors
    /// `invalid_topic`.
    pub fn topic(&self) -> Result<TopicName, ClientError> {
        let name = self.topic.strip_prefix("topic:").unwrap_or(&self.topic);
        TopicName::new(name)
            .map_err(|error| ClientError::with_message(ErrorCode::InvalidTopic, format!("the topic's name {error}")))
    }
}

impl Ask for Subscription {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        router.ask_in_turn(peer, ChannelAsk::Subscribe(*self), id, ctx).map(|()| None)
    }
}

#[derive(Debug)]
struct Unsubscribe(TopicName);

impl Ask for Unsubscribe {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Call { router, peer, id, ctx } = call;
        router.ask_in_turn(peer, ChannelAsk::Unsubscribe(self.0), id, ctx).map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_named_with_or_without_prefix() {
        let topic = |payload: &str| TopicAsk::from_payload(Some(payload)).and_then(|ask| ask.topic());
        let code = |payload: &str| topic(payload).err().map(|error| error.code);
        assert_eq!(topic(r#"{"topic":"t"}"#).expect("valid").as_str(), "t");
        assert_eq!(topic(r#"{"topic":"topic:t"}"#).expect("valid").as_str(), "t");
        assert_eq!(code(r#"{"topic":""}"#), Some(ErrorCode::InvalidTopic));
        assert_eq!(code("{}"), Some(ErrorCode::InvalidPayload));
    }
}
