//! Who acts, and on what: the facts that a judgement needs.

use std::collections::BTreeSet;

use common::{
    address::Scope,
    id::{AgentId, SessionId, TopicName, UserId},
};

use crate::agent_keys::Scopes;

/// Who acts.
#[derive(Clone, Copy, Debug)]
pub enum Principal<'a> {
    /// A client session.
    Session {
        /// Its id.
        id: SessionId,
        /// Its user, once logged in.
        user: Option<&'a UserId>,
        /// What its login carries.
        scopes: &'a BTreeSet<String>,
    },
    /// An agent.
    Agent {
        /// Its id.
        id: &'a AgentId,
        /// Those of its key.
        scopes: &'a Scopes,
    },
    /// A person who runs the bridge: sees who is there, never what is said.
    Operator,
}

/// What is acted on: a channel, or who is behind it.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// An agent.
    Agent {
        /// Its id.
        id: &'a AgentId,
        /// Those of its key; `None` if no such agent is connected: then the rules alone decide, as if it reached everybody.
        scopes: Option<&'a Scopes>,
    },
    /// A session.
    Session {
        /// Its id.
        id: SessionId,
        /// Its user; of a channel, the user for whom the messages in it were.
        user: Option<&'a UserId>,
    },
    /// All sessions of a user.
    User(&'a UserId),
    /// A topic.
    Topic(&'a TopicName),
    /// Everybody.
    Broadcast(Scope),
    /// The bridge itself.
    Bridge,
}

/// What is done.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Send a message there.
    Send(Place<'a>),
    /// Hear what is sent there from now on.
    Subscribe(Place<'a>),
    /// Read what was sent there.
    ReadHistory(Place<'a>),
    /// Learn that it is there, its state, its coming and going.
    See(Place<'a>),
    /// Learn that someone is among the subscribers of a topic.
    SeeMember {
        /// The topic.
        topic: &'a TopicName,
        /// The subscriber.
        member: Place<'a>,
    },
}
