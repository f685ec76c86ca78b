//! How far the key of an agent reaches. Judged by the identity crate's policy; asked in the router, before anything is delivered.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use common::{
    address::Address,
    close::CloseCode,
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, TopicName, UserId},
};
use identity::{
    agent_keys::{Grant, Scopes},
    policy::{Action, Place, Policy, Principal},
};

use super::{Peer, PeerKind, Router};

/// There are no rules for sessions here: what an agent may do follows from its key alone.
static RULES: Policy = Policy { agents: Vec::new(), topics: Vec::new() };

/// What an agent's key opens, as it was when the connection came.
#[derive(Clone, Debug)]
pub struct Pass {
    grant: Grant,
    checked_at: Instant,
    /// `None` where nothing is out of reach.
    bounds: Option<Arc<Scopes>>,
    /// The names of its certificate, where those say under which ids it may come.
    names: Option<Arc<[String]>>,
}

impl Pass {
    /// Of a key that was found good.
    pub fn new(grant: Grant, checked_at: Instant) -> Self {
        let bounds = (!grant.scopes.reach_everything()).then(|| Arc::clone(&grant.scopes));
        Self { grant, checked_at, bounds, names: None }
    }

    /// The same, of an agent whose certificate has these names, and that may come under no other id.
    pub fn named(self, names: Arc<[String]>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.grant.key
    }

    /// When it was checked.
    pub fn checked_at(&self) -> Instant {
        self.checked_at
    }

    /// Whether the key's time is up.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.grant.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether the key, and the certificate where it has a say, is for an agent of this id.
    ///
    /// # Errors
    /// `not_allowed`.
    pub fn check_id(&self, agent_id: &AgentId) -> Result<(), ClientError> {
        let names = self.names.as_deref();
        let message = if !self.grant.scopes.may_connect_as(agent_id.as_str()) {
            "The agent key is not for an agent of this id. Register under one that it is for."
        } else if names.is_some_and(|names| !names.iter().any(|name| name == agent_id.as_str())) {
            "The agent's certificate does not name this id. Register under one of its names."
        } else {
            return Ok(());
        };
        Err(ClientError::with_message(ErrorCode::NotAllowed, message).about(format!("agent:{agent_id}")))
    }

    /// How a connection is closed that names no id the key is for.
    pub const UNNAMED: (CloseCode, &'static str) = (CloseCode::SESSION_ENDED, "the agent key is for other agent ids");
}

impl Peer {
    /// The bounds of its key, if it has any.
    fn bounds(&self) -> Option<(&AgentId, &Scopes)> {
        match (&self.kind, &self.pass) {
            (PeerKind::Agent(id), Some(Pass { bounds: Some(scopes), .. })) => Some((id, scopes)),
            _ => None,
        }
    }

    /// Whether its key has bounds.
    pub(super) fn is_bounded(&self) -> bool {
        self.bounds().is_some()
    }

    /// Whether it may do something, so far as its key has a say in it.
    fn may(&self, action: Action<'_>) -> Result<(), ErrorCode> {
        let Some((id, scopes)) = self.bounds() else { return Ok(()) };
        RULES.may(Principal::Agent { id, scopes }, action).map_err(|_| ErrorCode::NotAllowed)
    }

    /// Whether it may subscribe to a topic.
    ///
    /// # Errors
    /// `not_allowed`.
    pub(crate) fn check_subscription(&self, topic: &TopicName) -> Result<(), ErrorCode> {
        self.may(Action::Subscribe(Place::Topic(topic)))
    }

    /// Whether it may hear of and from the sessions of a user, or of nobody.
    pub(super) fn may_hear_user(&self, user: Option<&UserId>) -> bool {
        self.bounds().is_none_or(|(_, scopes)| scopes.reach_user(user.map(UserId::as_str)))
    }

    /// Whether it may hear of and from a peer. Agents hear of each other.
    pub(crate) fn may_hear(&self, other: &Peer) -> bool {
        match &other.kind {
            PeerKind::Agent(_) => true,
            PeerKind::Session(identity) => self.may_hear_user(identity.user_id.as_ref()),
        }
    }
}

impl Router {
    /// Whether the key of an agent lets it send to an address. `is_kept`: what is sent waits for whoever comes.
    ///
    /// # Errors
    /// `not_allowed`.
    pub(crate) fn check_reach(&self, from: &Peer, target: &Address, is_kept: bool) -> Result<(), ErrorCode> {
        let Some((_, scopes)) = from.bounds() else { return Ok(()) };
        let place = match target {
            Address::Agent(id) => Place::Agent { id, scopes: None },
            Address::Session(id) => match self.user_of(*id) {
                Some(user) => Place::Session { id: *id, user },
                // Whose session it was is not known: only who reaches all may leave something for it.
                None if is_kept && !scopes.reach_all_sessions() => return Err(ErrorCode::NotAllowed),
                None => return Ok(()),
            },
            Address::User(user) => Place::User(user),
            Address::Topic(name) => Place::Topic(name),
            Address::Broadcast(scope) => Place::Broadcast(*scope),
            Address::Bridge => Place::Bridge,
        };
        from.may(Action::Send(place))
    }

    /// The user of a session that is here.
    fn user_of(&self, session: SessionId) -> Option<Option<&UserId>> {
        self.sessions.get(&session).map(|entry| entry.info.user_id.as_ref())
    }
}
