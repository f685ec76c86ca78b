//! The rules that the operator sets, and what each requires of a session.

use common::{config::AccessSettings, id::UserId};

use super::Denied;
use crate::agent_keys::Glob;

/// What a session must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Anyone,
    /// A user.
    LoggedIn,
}

/// Which sessions may see, and send to, agents with matching ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentRule {
    /// The ids.
    pub agents: Glob,
    /// What a session must have.
    pub requires: Requirement,
}

/// Which sessions may use topics with matching names. Owned topics are excepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    /// The names.
    pub topics: Glob,
    /// What a session must have.
    pub requires: Requirement,
}

/// All rules. In each list the first match decides; without a match the action is denied. The
/// default has no rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
        let requires = Requirement::Anyone;
        Self {
            agents: vec![AgentRule { agents: Glob::everything(), requires }],
            topics: vec![TopicRule { topics: Glob::everything(), requires }],
            visible_members: vec![Glob::everything()],
        }
    }

    /// The rules of the settings.
    pub fn of(settings: &AccessSettings) -> Self {
        let globs = |patterns: &[String]| -> Vec<Glob> { patterns.iter().filter_map(|text| text.parse().ok()).collect() };
        let agents =
            |patterns: &[String], requires| globs(patterns).into_iter().map(move |agents| AgentRule { agents, requires });
        let topics =
            |patterns: &[String], requires| globs(patterns).into_iter().map(move |topics| TopicRule { topics, requires });
        let (users, anyone) = (Requirement::LoggedIn, Requirement::Anyone);
        Self {
            agents: agents(&settings.user_agents, users).chain(agents(&settings.public_agents, anyone)).collect(),
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
    /// Whether a session with this user meets the requirement.
    pub(super) fn check(self, user: Option<&UserId>) -> Result<(), Denied> {
        match self {
            Self::LoggedIn if user.is_none() => Err(Denied::LoginRequired),
            Self::LoggedIn | Self::Anyone => Ok(()),
        }
    }
}
