//! The names of channels.
//!
//! Owns the spelling of channels and their families. The broker maps addresses to channels;
//! this module does not know who may read or write one.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use common::{
    address::{Address, Scope},
    id::{AgentId, IdError, SessionId, TopicName, UserId, check_name},
};

/// The kind of a channel. Retention and bounds are set per family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChannelFamily {
    /// `agent:<id>`: the inbox of an agent.
    Agent,
    /// `session:<uuid>`: the inbox of a session.
    Session,
    /// `user:<id>`: the inbox of a user.
    User,
    /// `topic:<name>`: a log with subscribers.
    Topic,
    /// `dead:<channel>` or `dead:<name>`: what could not be delivered. Only the store writes there.
    Dead,
    /// `broadcast:sessions`, `broadcast:agents`, `broadcast:all`: a log that all members read.
    Broadcast,
}

impl ChannelFamily {
    /// Every family, in the order of the enum.
    pub const ALL: [Self; 6] = [Self::Agent, Self::Session, Self::User, Self::Topic, Self::Dead, Self::Broadcast];

    /// The prefix in names, without the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Session => "session",
            Self::User => "user",
            Self::Topic => "topic",
            Self::Dead => "dead",
            Self::Broadcast => "broadcast",
        }
    }

    /// The position in [`ChannelFamily::ALL`]. Permanent, because backends store it.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether channels of this family are inboxes.
    pub const fn is_inbox(self) -> bool {
        matches!(self, Self::Agent | Self::Session | Self::User)
    }
}

/// The string is not the name of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelNameError {
    /// No known family before the first colon.
    #[error("is not a channel: use agent:<id>, session:<uuid>, user:<id>, topic:<name>, broadcast:<scope> or dead:<channel>")]
    UnknownFamily,
    /// What follows the family is not a valid name.
    #[error("the channel's name {0}")]
    Name(#[from] IdError),
}

/// The name of a channel: `agent:<id>`, `session:<uuid>`, `user:<id>`, `topic:<name>`,
/// `broadcast:<scope>`, `dead:<channel or name>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    // Session ids are stored in lower case, so that one session has one channel.
    text: Arc<str>,
}

impl ChannelName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// The text is no name of a channel.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        let (family, rest) = text.split_once(':').ok_or(ChannelNameError::UnknownFamily)?;
        match family {
            "agent" => Ok(Self::agent(&AgentId::new(rest)?)),
            "session" => Ok(Self::session(rest.parse()?)),
            "user" => Ok(Self::user(&UserId::new(rest)?)),
            "topic" => Ok(Self::topic(&TopicName::new(rest)?)),
            "broadcast" => match Address::parse(text) {
                Ok(Address::Broadcast(scope)) => Ok(Self::broadcast(scope)),
                _ => Err(ChannelNameError::UnknownFamily),
            },
            // The name of a dead channel may contain a whole channel name, so its family does not
            // count for the length.
            "dead" => match Self::parse(rest) {
                Ok(origin) if origin.family() != ChannelFamily::Dead => Ok(origin.dead()),
                Ok(_) => Err(IdError::BadCharacter.into()),
                Err(_) => check_name(rest).map(|()| Self::dead_named(rest)).map_err(Into::into),
            },
            _ => Err(ChannelNameError::UnknownFamily),
        }
    }

    /// The inbox of an agent.
    pub fn agent(id: &AgentId) -> Self {
        Self::of(ChannelFamily::Agent, id.as_str())
    }

    /// The inbox of a session.
    pub fn session(id: SessionId) -> Self {
        Self::of(ChannelFamily::Session, &id.to_string())
    }

    /// The inbox of a user.
    pub fn user(id: &UserId) -> Self {
        Self::of(ChannelFamily::User, id.as_str())
    }

    /// The log of a topic.
    pub fn topic(name: &TopicName) -> Self {
        Self::of(ChannelFamily::Topic, name.as_str())
    }

    /// The log of a broadcast.
    pub fn broadcast(scope: Scope) -> Self {
        Self { text: Address::Broadcast(scope).to_string().into() }
    }

    /// The dead-letter channel of this channel: `dead:<this name>`. A dead-letter channel is its
    /// own.
    pub fn dead(&self) -> Self {
        if self.family() == ChannelFamily::Dead { self.clone() } else { Self::dead_named(&self.text) }
    }

    fn dead_named(rest: &str) -> Self {
        Self::of(ChannelFamily::Dead, rest)
    }

    fn of(family: ChannelFamily, rest: &str) -> Self {
        Self { text: format!("{}:{rest}", family.as_str()).into() }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its family.
    pub fn family(&self) -> ChannelFamily {
        let prefix = self.text.split_once(':').map_or("", |(prefix, _)| prefix);
        ChannelFamily::ALL.into_iter().find(|family| family.as_str() == prefix).unwrap_or(ChannelFamily::Dead)
    }

    /// The topic whose log this is.
    pub fn as_topic(&self) -> Option<TopicName> {
        self.text.strip_prefix("topic:").and_then(|name| TopicName::new(name).ok())
    }

    /// The session whose inbox this is.
    pub fn as_session(&self) -> Option<SessionId> {
        self.text.strip_prefix("session:").and_then(|id| id.parse().ok())
    }
}

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl FromStr for ChannelName {
    type Err = ChannelNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_round_trip() {
        let session = format!("session:{}", SessionId::fresh());
        for text in ["agent:a:b", &session, "user:u@x", "topic:room/1", "dead:agent:a", "dead:letters", "broadcast:all"] {
            let name = ChannelName::parse(text).expect("a channel");
            assert_eq!(name.as_str(), text);
            assert_eq!(name.family().as_str(), text.split(':').next().expect("a prefix"));
        }
    }

    #[test]
    fn the_longest_agent_has_a_dead_letter_channel() {
        let longest = ChannelName::parse(&format!("agent:{}", "x".repeat(128))).expect("a channel");
        assert_eq!(ChannelName::parse(longest.dead().as_str()), Ok(longest.dead()));
        assert_eq!(longest.dead().dead(), longest.dead());
    }

    #[test]
    fn one_session_has_one_spelling() {
        let id = SessionId::fresh();
        let shouted = format!("session:{}", id.to_string().to_uppercase());
        assert_eq!(ChannelName::parse(&shouted), Ok(ChannelName::session(id)));
        assert_eq!(ChannelName::session(id).as_session(), Some(id));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in
            ["", "agent", "agent:", "pool:x", "session:1", "topic:a b", "dead:", "dead:dead:agent:a", "broadcast:x", "bridge"]
        {
            assert!(ChannelName::parse(text).is_err(), "{text}");
        }
    }
}
