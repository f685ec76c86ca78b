//! The rules that the operator sets, and what each requires of a session.

use common::config::AccessSettings;
use serde::{Deserialize, Serialize};

use super::{Denied, principal::Principal};
use crate::agent_keys::Glob;

/// What a session must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// No session is allowed.
    Nobody,
    /// Nothing.
    Anyone,
    /// A user.
    LoggedIn,
    /// A login that carries this scope.
    Scope(String),
}

/// Which sessions may see, and send to, agents with matching ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRule {
    /// The ids.
    pub agents: Glob,
    /// What a session must have.
    pub requires: Requirement,
}

/// Which sessions may use topics with matching names. Owned topics are excepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// The names.
    pub topics: Glob,
    /// What a session must have to subscribe and to read history.
    pub read: Requirement,
    /// What a session must have to send.
    pub write: Requirement,
}

/// All rules. In each list the first match decides; without a match the action is denied. The
/// default has no rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// For agents.
    pub agents: Vec<AgentRule>,
    /// For topics.
    pub topics: Vec<TopicRule>,
    /// Topics whose subscribers see the sessions of other users among the members.
    pub visible_members: Vec<Glob>,
}

impl Policy {
    /// The rules of a default installation: every session may send to every agent, use every topic
    /// without an owner, and see its members.
    pub fn open() -> Self {
        let anyone = || Requirement::Anyone;
        Self {
            agents: vec![AgentRule { agents: Glob::everything(), requires: anyone() }],
            topics: vec![TopicRule { topics: Glob::everything(), read: anyone(), write: anyone() }],
            visible_members: vec![Glob::everything()],
        }
    }

    /// The rules of the settings.
    pub fn of(settings: &AccessSettings) -> Self {
        let globs = |patterns: &[String]| -> Vec<Glob> { patterns.iter().filter_map(|text| text.parse().ok()).collect() };
        let agents = |patterns: &[String], requires: Requirement| {
            globs(patterns).into_iter().map(move |agents| AgentRule { agents, requires: requires.clone() })
        };
        let topics = |patterns: &[String], both: Requirement| {
            globs(patterns).into_iter().map(move |topics| TopicRule { topics, read: both.clone(), write: both.clone() })
        };
        let (users, anyone) = (Requirement::LoggedIn, Requirement::Anyone);
        Self {
            agents: agents(&settings.user_agents, users.clone()).chain(agents(&settings.public_agents, anyone.clone())).collect(),
            topics: topics(&settings.user_topics, users).chain(topics(&settings.public_topics, anyone)).collect(),
            visible_members: globs(&settings.visible_members),
        }
    }

    /// Whether no rule keeps a session from anything without an owner.
    pub fn is_open(&self) -> bool {
        *self == Self::open()
    }

    pub(super) fn agent_rule(&self, agent: &str) -> Option<&AgentRule> {
        self.agents.iter().find(|rule| rule.agents.matches(agent))
    }

    pub(super) fn topic_rule(&self, topic: &str) -> Option<&TopicRule> {
        self.topics.iter().find(|rule| rule.topics.matches(topic))
    }
}

impl Requirement {
    /// Whether a session meets the requirement.
    pub(super) fn of(&self, principal: &Principal<'_>) -> Result<(), Denied> {
        let Principal::Session { user, scopes, .. } = principal else { return Err(Denied::NotAllowed) };
        match self {
            Self::Nobody => Err(Denied::NotAllowed),
            Self::Anyone => Ok(()),
            Self::LoggedIn | Self::Scope(_) if user.is_none() => Err(Denied::LoginRequired),
            Self::LoggedIn => Ok(()),
            Self::Scope(scope) if scopes.contains(scope) => Ok(()),
            Self::Scope(_) => Err(Denied::ScopeRequired),
        }
    }
}
