//! The decision itself.

use common::{
    address::Scope,
    id::{AgentId, SessionId, TopicName, UserId},
};

use super::{
    Ability, Action, Denied, Policy, Principal, Resource,
    owned::{Owner, owner, segment, user_of},
};
use crate::agent_keys::Scopes;

type Verdict = Result<(), Denied>;

fn allow_if(is_allowed: bool, otherwise: Denied) -> Verdict {
    if is_allowed { Ok(()) } else { Err(otherwise) }
}

impl Policy {
    /// Whether a principal may perform an action.
    ///
    /// # Errors
    /// The reason for the denial.
    pub fn may(&self, principal: Principal<'_>, action: Action<'_>) -> Verdict {
        match principal {
            Principal::Session { id, user, scopes } => {
                // Checked first, so that the answer does not depend on what is at the place.
                let ability = Ability::for_action(&action);
                allow_if(ability.is_none_or(|ability| ability.is_in(scopes)), Denied::ScopeRequired)?;
                self.session_may(id, user, action)
            }
            Principal::Agent { id, scopes } => agent_may(id, scopes, action),
        }
    }

    fn session_may(&self, id: SessionId, user: Option<&UserId>, action: Action<'_>) -> Verdict {
        match action {
            Action::Send(Resource::Agent { id: agent, scopes }) | Action::See(Resource::Agent { id: agent, scopes }) => {
                self.session_reaches_agent(user, agent, scopes)
            }
            Action::Send(Resource::Topic(topic))
            | Action::Subscribe(Resource::Topic(topic))
            | Action::ReadHistory(Resource::Topic(topic))
            | Action::See(Resource::Topic(topic)) => self.session_uses_topic(id, user, topic),
            Action::Send(Resource::Bridge) | Action::See(Resource::Bridge) => Ok(()),
            Action::Subscribe(Resource::Session { id: other, user: owner })
            | Action::ReadHistory(Resource::Session { id: other, user: owner }) => {
                // Its own channel, unless the messages in it are for a user that the session does
                // not have, or no longer has.
                allow_if(other == id && (owner.is_none() || owner == user), Denied::NotAllowed)
            }
            Action::See(Resource::Session { id: other, user: owner }) => {
                allow_if(other == id || is_same_user(user, owner), Denied::NotAllowed)
            }
            Action::Subscribe(Resource::User(other))
            | Action::ReadHistory(Resource::User(other))
            | Action::See(Resource::User(other)) => allow_if(is_same_user(user, Some(other)), Denied::NotAllowed),
            // What agents send to all sessions is public.
            Action::Subscribe(Resource::Broadcast(Scope::Sessions | Scope::All))
            | Action::ReadHistory(Resource::Broadcast(Scope::Sessions | Scope::All)) => Ok(()),
            Action::SeeMember { topic, member } => self.session_sees_member(id, user, topic, member),
            Action::Send(_) | Action::Subscribe(_) | Action::ReadHistory(_) | Action::See(_) => Err(Denied::NotAllowed),
        }
    }

    /// If an agent's key does not reach the session's user, the session does not reach the agent:
    /// the agent could not answer, and should not learn of the session.
    fn session_reaches_agent(&self, user: Option<&UserId>, agent: &AgentId, scopes: Option<&Scopes>) -> Verdict {
        let rule = self.agent_rule(agent.as_str()).ok_or(Denied::NotAllowed)?;
        rule.requires.check(user)?;
        allow_if(scopes.is_none_or(|scopes| scopes.reach_user(user.map(UserId::as_str))), Denied::NotAllowed)
    }

    fn session_uses_topic(&self, id: SessionId, user: Option<&UserId>, topic: &TopicName) -> Verdict {
        match owner(topic) {
            Owner::User(name) => allow_if(user.is_some_and(|user| segment(user) == name), Denied::NotAllowed),
            Owner::Session(owner) => allow_if(owner == id, Denied::NotAllowed),
            Owner::Malformed => Err(Denied::NotAllowed),
            Owner::Open => self.topic_rule(topic.as_str()).ok_or(Denied::NotAllowed)?.requires.check(user),
        }
    }

    fn session_sees_member(&self, id: SessionId, user: Option<&UserId>, topic: &TopicName, member: Resource<'_>) -> Verdict {
        self.session_uses_topic(id, user, topic)?;
        let is_open = matches!(owner(topic), Owner::Open);
        if is_open
            && matches!(member, Resource::Session { .. })
            && self.visible_members.iter().any(|pattern| pattern.matches(topic.as_str()))
        {
            return Ok(());
        }
        self.session_may(id, user, Action::See(member))
    }
}

fn is_same_user(one: Option<&UserId>, other: Option<&UserId>) -> bool {
    one.is_some() && one == other
}

fn agent_may(own: &AgentId, scopes: &Scopes, action: Action<'_>) -> Verdict {
    let is_within = match action {
        Action::Send(Resource::Bridge) | Action::See(Resource::Bridge) => true,
        Action::Send(Resource::Broadcast(scope)) => {
            let (sessions, agents) = (scopes.reach_all_sessions(), scopes.reach_all_agents());
            match scope {
                Scope::Sessions => sessions,
                Scope::Agents => agents,
                Scope::All => sessions && agents,
            }
        }
        Action::Subscribe(Resource::Broadcast(Scope::Agents | Scope::All))
        | Action::ReadHistory(Resource::Broadcast(Scope::Agents | Scope::All)) => true,
        Action::Subscribe(Resource::Agent { id, .. }) | Action::ReadHistory(Resource::Agent { id, .. }) => {
            // Another agent's channel holds what all its users sent to it.
            return allow_if(id == own, Denied::NotAllowed);
        }
        Action::Subscribe(Resource::Session { .. } | Resource::User(_))
        | Action::ReadHistory(Resource::Session { .. } | Resource::User(_)) => {
            // They hold what other agents sent.
            return Err(Denied::NotAllowed);
        }
        Action::Send(resource) | Action::See(resource) => agent_reaches(own, scopes, resource),
        Action::Subscribe(resource @ Resource::Topic(_)) | Action::ReadHistory(resource @ Resource::Topic(_)) => {
            agent_reaches(own, scopes, resource)
        }
        Action::SeeMember { topic, member } => {
            agent_reaches(own, scopes, Resource::Topic(topic)) && agent_reaches(own, scopes, member)
        }
        Action::Subscribe(_) | Action::ReadHistory(_) => return Err(Denied::NotAllowed),
    };
    allow_if(is_within, Denied::NotAllowed)
}

fn agent_reaches(own: &AgentId, scopes: &Scopes, resource: Resource<'_>) -> bool {
    match resource {
        Resource::Agent { id, .. } => id == own || scopes.reach_agent(id.as_str()),
        Resource::Session { user, .. } => scopes.reach_user(user.map(UserId::as_str)),
        Resource::User(user) => scopes.reach_user(Some(user.as_str())),
        Resource::Topic(topic) => {
            scopes.reach_topic(topic.as_str())
                && match owner(topic) {
                    Owner::Open => true,
                    // A shortened name tells no user: only principals that reach all users are
                    // allowed.
                    Owner::User(name) => match user_of(name) {
                        Some(user) => scopes.reach_user(Some(user.as_str())),
                        None => scopes.reach_all_sessions(),
                    },
                    // The topic's name does not tell the session's user.
                    Owner::Session(_) => scopes.reach_all_sessions(),
                    Owner::Malformed => false,
                }
        }
        Resource::Broadcast(_) | Resource::Bridge => false,
    }
}

#[cfg(test)]
#[path = "isolation_tests.rs"]
mod isolation;
#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
