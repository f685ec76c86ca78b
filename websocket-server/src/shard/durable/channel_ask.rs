//! What connections ask about channels: to start reading them, or to stop.

use std::sync::Arc;

use common::{
    id::TopicName,
    message::{KnownPosition, Start},
};
use store::ChannelName;

use crate::peers::Peer;

/// `topic:subscribe`.
#[derive(Debug)]
pub struct Subscription {
    /// The topic.
    pub topic: TopicName,
    /// Whether the subscriber gets presence.
    pub presence: bool,
    /// Where to begin in its log.
    pub from: Option<Start>,
}

/// A connection's request about channels.
#[derive(Debug)]
pub enum ChannelAsk {
    /// `topic:subscribe`.
    Subscribe(Subscription),
    /// `topic:unsubscribe`.
    Unsubscribe(TopicName),
    /// `connection:resume`: the positions up to which the peer has everything.
    Resume(Vec<(ChannelName, KnownPosition)>),
}

/// A request that waits for its turn, or has it.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) peer: Arc<Peer>,
    pub(super) ask: ChannelAsk,
    /// The id of the frame.
    pub(super) id: Option<String>,
}

impl ChannelAsk {
    /// The channels that the request is about.
    pub(super) fn channels(&self) -> Vec<ChannelName> {
        match self {
            Self::Subscribe(Subscription { topic, .. }) | Self::Unsubscribe(topic) => vec![ChannelName::topic(topic)],
            Self::Resume(positions) => positions.iter().map(|(channel, _)| channel.clone()).collect(),
        }
    }
}
