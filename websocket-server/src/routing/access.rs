//! Who may send to what, subscribe to what, and see whom: the only place in the router that decides
//! this.
//!
//! The identity crate's policy decides, before anything is delivered or told; this module gathers
//! the facts. An agent is checked by the scopes of its key; an agent whose key reaches everything
//! is not checked at all. Agents see each other, whatever their keys are.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use common::{
    address::Address,
    assertion::Login,
    error::ErrorCode,
    id::{AgentId, SessionId, TopicName, UserId},
};
use identity::{
    agent_keys::Scopes,
    policy::{Action, Policy, Principal, Resource},
};
use store::{ChannelFamily, ChannelName};

use super::Router;
use crate::peers::{Pass, Peer, PeerKind};

/// There are no rules for agents: what an agent may do follows from its key alone.
static NO_RULES: Policy = Policy { agents: Vec::new(), topics: Vec::new(), visible_members: Vec::new() };
/// The scopes of an anonymous session.
static NO_SCOPES: LazyLock<BTreeSet<String>> = LazyLock::new(BTreeSet::new);

/// The user of a session.
enum SessionUser<'a> {
    /// The session is not connected, and nobody calls for it over HTTP.
    NotHere,
    /// It has not logged in.
    Nobody,
    /// It is logged in as this user.
    User(Cow<'a, UserId>),
}

impl Peer {
    /// The scopes of its key, if it is an agent whose key has any.
    pub(super) fn bounds(&self) -> Option<&Scopes> {
        self.pass.as_ref().and_then(Pass::bounds)
    }

    fn resource(&self) -> Resource<'_> {
        resource(&self.kind, self.bounds(), self.user_id())
    }

    /// With its present login.
    pub(crate) fn as_caller<'a>(&'a self, login: Option<&'a Login>) -> Caller<'a> {
        Caller::new(&self.kind, self.bounds(), login)
    }
}

/// Who asks for something: a connection, or a request over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    kind: &'a PeerKind,
    bounds: Option<&'a Scopes>,
    user: Option<&'a UserId>,
    scopes: &'a BTreeSet<String>,
}

impl<'a> Caller<'a> {
    /// An agent with the scopes of its key (`None`: nothing is out of its reach), or a session with
    /// its login.
    pub fn new(kind: &'a PeerKind, bounds: Option<&'a Scopes>, login: Option<&'a Login>) -> Self {
        let scopes = login.map_or(&*NO_SCOPES, |login| &login.scopes);
        Self { kind, bounds, user: login.map(|login| &login.user), scopes }
    }

    fn resource(&self) -> Resource<'a> {
        resource(self.kind, self.bounds, self.user)
    }
}

fn resource<'a>(kind: &'a PeerKind, bounds: Option<&'a Scopes>, user: Option<&'a UserId>) -> Resource<'a> {
    match kind {
        PeerKind::Agent(id) => Resource::Agent { id, scopes: bounds },
        PeerKind::Session(identity) => Resource::Session { id: identity.session_id, user },
    }
}

/// Whether only the bridge may send to this topic.
fn is_system(topic: &TopicName) -> bool {
    topic.as_str().starts_with("system.")
}

impl Router {
    fn may(&self, peer: &Peer, action: Action<'_>) -> bool {
        self.judge(peer, action).is_ok()
    }

    /// No code tells whether the target exists: `login_required` and `scope_required` follow from
    /// rules, names and the login alone, and everything else is `not_allowed`.
    fn judge(&self, peer: &Peer, action: Action<'_>) -> Result<(), ErrorCode> {
        self.judge_caller(&peer.as_caller(peer.login().as_deref()), action)
    }

    fn judge_caller(&self, caller: &Caller<'_>, action: Action<'_>) -> Result<(), ErrorCode> {
        let verdict = match (caller.kind, caller.bounds) {
            (PeerKind::Agent(_), None) => Ok(()),
            (PeerKind::Agent(id), Some(scopes)) => NO_RULES.may(Principal::Agent { id, scopes }, action),
            (PeerKind::Session(identity), _) => {
                let session = Principal::Session { id: identity.session_id, user: caller.user, scopes: caller.scopes };
                self.policy.may(session, action)
            }
        };
        Ok(verdict?)
    }

    /// Checks that a peer may send to an address. `is_kept`: the message waits for its receiver.
    ///
    /// # Errors
    /// `not_allowed`, `login_required`, `scope_required`; `session_not_found` for a session that an
    /// agent may not know of.
    pub(crate) fn check_send(&self, from: &Peer, target: &Address, is_kept: bool) -> Result<(), ErrorCode> {
        if matches!(target, Address::Topic(name) if is_system(name)) {
            return Err(ErrorCode::NotAllowed);
        }
        if from.is_agent() && from.bounds().is_none() {
            return Ok(());
        }
        let user = match target {
            Address::Session(id) => self.user_of(*id),
            _ => SessionUser::NotHere,
        };
        let resource = match target {
            Address::Agent(id) => Resource::Agent { id, scopes: self.bounds_of(id) },
            Address::Session(id) => match &user {
                SessionUser::User(user) => Resource::Session { id: *id, user: Some(user.as_ref()) },
                // Nobody is reached. But the user of the session is not known, so only a sender
                // that reaches all sessions may leave a message for it.
                SessionUser::NotHere if from.is_agent() => {
                    let reaches_all = from.bounds().is_none_or(Scopes::reach_all_sessions);
                    return if is_kept && !reaches_all { Err(ErrorCode::NotAllowed) } else { Ok(()) };
                }
                SessionUser::Nobody | SessionUser::NotHere => Resource::Session { id: *id, user: None },
            },
            Address::User(user) => Resource::User(user),
            Address::Topic(name) => Resource::Topic(name),
            Address::Broadcast(scope) => Resource::Broadcast(*scope),
            Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => Resource::Bridge,
        };
        // Answered like a session that does not exist, so that the answer reveals nothing.
        let is_hidden = from.is_agent() && !is_kept && matches!(target, Address::Session(_));
        self.judge(from, Action::Send(resource)).map_err(|code| if is_hidden { ErrorCode::SessionNotFound } else { code })
    }

    /// Checks that a peer may subscribe to a topic.
    ///
    /// # Errors
    /// `not_allowed`, `login_required`, `scope_required`.
    pub(super) fn check_subscription(&self, peer: &Peer, topic: &TopicName) -> Result<(), ErrorCode> {
        self.check_subscription_of(&peer.as_caller(peer.login().as_deref()), topic)
    }

    fn check_subscription_of(&self, caller: &Caller<'_>, topic: &TopicName) -> Result<(), ErrorCode> {
        // They tell about everybody.
        let sees_all = matches!(caller.kind, PeerKind::Agent(_)) && caller.bounds.is_none();
        if is_system(topic) && !sees_all {
            return Err(ErrorCode::NotAllowed);
        }
        self.judge_caller(caller, Action::Subscribe(Resource::Topic(topic)))
    }

    /// Checks that a caller may read the history of a channel: its own inboxes and their dead
    /// letters, broadcasts that reach it, and topics that it may subscribe to.
    ///
    /// # Errors
    /// `not_allowed`, `login_required`, `scope_required`.
    pub(crate) fn check_read(&self, caller: &Caller<'_>, channel: &ChannelName) -> Result<(), ErrorCode> {
        // A caller may read its own channels, if it may read any.
        self.judge_caller(caller, Action::ReadHistory(caller.resource()))?;
        let may = match channel.family() {
            ChannelFamily::Topic => match channel.as_topic() {
                Some(topic) => {
                    self.judge_caller(caller, Action::ReadHistory(Resource::Topic(&topic)))?;
                    if matches!(caller.kind, PeerKind::Session(_)) {
                        self.check_subscription_of(caller, &topic)?;
                    }
                    true
                }
                None => false,
            },
            ChannelFamily::Broadcast => caller.kind.broadcasts().contains(channel),
            _ => caller.kind.inboxes(caller.user).any(|own| own == *channel || own.dead() == *channel),
        };
        if may { Ok(()) } else { Err(ErrorCode::NotAllowed) }
    }

    /// Whether a peer may know of an agent.
    pub(super) fn sees_agent(&self, peer: &Peer, id: &AgentId, bounds: Option<&Scopes>) -> bool {
        peer.is_agent() || self.may(peer, Action::See(Resource::Agent { id, scopes: bounds }))
    }

    /// Whether a peer may know of a session.
    pub(super) fn sees_session(&self, peer: &Peer, id: SessionId, user: Option<&UserId>) -> bool {
        self.may(peer, Action::See(Resource::Session { id, user }))
    }

    /// Whether a subscriber of a topic may know of another.
    pub(super) fn sees_member(&self, peer: &Peer, topic: &TopicName, member: &Peer) -> bool {
        (peer.is_agent() && member.is_agent()) || self.may(peer, Action::SeeMember { topic, member: member.resource() })
    }

    /// Whether a subscriber of a topic may know of all others, so that they need not be checked one
    /// by one.
    pub(super) fn sees_all_members(&self, peer: &Peer) -> bool {
        if peer.is_agent() { peer.bounds().is_none() } else { self.policy_is_open && self.bounded_agents == 0 }
    }

    /// The scopes of an agent that is connected, or was.
    fn bounds_of(&self, id: &AgentId) -> Option<&Scopes> {
        let here = if self.bounded_agents == 0 { None } else { self.agents.get(id) };
        here.map_or_else(|| self.seen_agents.bounds_of(id), |entry| entry.peer.bounds())
    }

    /// The user of a session that is connected, or for which somebody calls over HTTP.
    fn user_of(&self, session: SessionId) -> SessionUser<'_> {
        if let Some(entry) = self.sessions.get(&session) {
            let user = entry.info.user_id.as_ref();
            return user.map_or(SessionUser::Nobody, |user| SessionUser::User(Cow::Borrowed(user)));
        }
        let caller = if self.callers.count() == 0 { None } else { self.callers.user_at(&format!("session:{session}")) };
        match caller {
            None => SessionUser::NotHere,
            Some(None) => SessionUser::Nobody,
            Some(Some(user)) => SessionUser::User(Cow::Owned(user)),
        }
    }
}
