//! The facts of a decision: who acts, and on what.

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
        /// The scopes of its login.
        scopes: &'a BTreeSet<String>,
    },
    /// An agent.
    Agent {
        /// Its id.
        id: &'a AgentId,
        /// The scopes of its key.
        scopes: &'a Scopes,
    },
}

/// The target of an action: a channel, or who is behind it.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// An agent.
    Agent {
        /// Its id.
        id: &'a AgentId,
        /// The scopes of its key. `None` if no such agent is connected: then the rules decide as if
        /// it reached everybody.
        scopes: Option<&'a Scopes>,
    },
    /// A session.
    Session {
        /// Its id.
        id: SessionId,
        /// Its user; for a channel, the user for whom its messages are.
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

/// The action.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// Send a message there.
    Send(Resource<'a>),
    /// Hear what is sent there from now on.
    Subscribe(Resource<'a>),
    /// Read what was sent there.
    ReadHistory(Resource<'a>),
    /// Learn that it exists, its state, and when it comes and goes.
    See(Resource<'a>),
    /// Learn that someone is among the subscribers of a topic.
    SeeMember {
        /// The topic.
        topic: &'a TopicName,
        /// The subscriber.
        member: Resource<'a>,
    },
}
