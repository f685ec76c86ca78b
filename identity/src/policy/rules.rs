//! The rules that the operator sets, and what each asks of a session.

use common::config::AccessSettings;
use serde::{Deserialize, Serialize};

use super::{Denied, principal::Principal};
use crate::agent_keys::Glob;

/// What a session must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// It is for no session.
    Nobody,
    /// Nothing.
    Anyone,
    /// A user.
    LoggedIn,
    /// A login that carries this scope.
    Scope(String),
}

/// Which sessions may see and write to the agents whose ids fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRule {
    /// The ids.
    pub agents: Glob,
    /// What it takes.
    pub requires: Requirement,
}

/// Which sessions may use the topics whose names fit, those that belong to somebody excepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicRule {
    /// The names.
    pub topics: Glob,
    /// What it takes to subscribe and to read history.
    pub read: Requirement,
    /// What it takes to send.
    pub write: Requirement,
}

/// All rules. Of each list the first that fits decides; where none does, it is denied. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// For agents.
    pub agents: Vec<AgentRule>,
    /// For topics.
    pub topics: Vec<TopicRule>,
    /// Topics whose subscribers learn of sessions of other users among them.
    pub visible_members: Vec<Glob>,
}

impl Policy {
    /// What version 1 of the protocol has always allowed: every session may write to every agent, and use every topic that
    /// belongs to nobody and see who is in it.
    pub fn open() -> Self {
        let anyone = || Requirement::Anyone;
        Self {
            agents: vec![AgentRule { agents: Glob::everything(), requires: anyone() }],
            topics: vec![TopicRule { topics: Glob::everything(), read: anyone(), write: anyone() }],
            visible_members: vec![Glob::everything()],
        }
    }

    /// What the settings say.
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

    /// Whether no rule keeps any session from anything that belongs to nobody.
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
    /// Whether a session has what it takes.
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
