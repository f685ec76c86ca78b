//! What an agent with a key may register as, and what it may reach.

use serde::{Deserialize, Serialize};

use super::Glob;

/// See the module. What no pattern matches is out of reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scopes {
    /// The ids under which agents may register with the key.
    pub connect_as: Vec<Glob>,
    /// The other agents it may send to.
    pub agents: Vec<Glob>,
    /// The topics it may send to, subscribe to and read.
    pub topics: Vec<Glob>,
    /// The users whose sessions it may hear of, hear from and send to.
    pub users: Vec<Glob>,
    /// The same for anonymous sessions.
    pub anonymous: bool,
}

impl Scopes {
    /// Everything. This is the scope of a configured key without scopes.
    pub fn everything() -> Self {
        let all = || vec![Glob::everything()];
        Self { connect_as: all(), agents: all(), topics: all(), users: all(), anonymous: true }
    }

    /// Whether an agent may register under this id.
    pub fn may_connect_as(&self, agent: &str) -> bool {
        fits(&self.connect_as, agent)
    }

    /// Whether it may send to this agent.
    pub fn reach_agent(&self, agent: &str) -> bool {
        fits(&self.agents, agent)
    }

    /// Whether it may use this topic.
    pub fn reach_topic(&self, topic: &str) -> bool {
        fits(&self.topics, topic)
    }

    /// Whether it may reach sessions of this user. `None`: anonymous sessions.
    pub fn reach_user(&self, user: Option<&str>) -> bool {
        user.map_or(self.anonymous, |user| fits(&self.users, user))
    }

    /// Whether it may reach every session.
    pub fn reach_all_sessions(&self) -> bool {
        self.anonymous && self.users.iter().any(Glob::is_everything)
    }

    /// Whether nothing is out of reach, whatever id an agent registers under.
    pub fn reach_everything(&self) -> bool {
        self.reach_all_sessions() && self.reach_all_agents() && self.topics.iter().any(Glob::is_everything)
    }

    /// Whether it may reach every agent.
    pub fn reach_all_agents(&self) -> bool {
        self.agents.iter().any(Glob::is_everything)
    }
}

fn fits(patterns: &[Glob], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reaches_only_what_its_scopes_name() {
        let none = Scopes::default();
        assert!(!none.may_connect_as("a") && !none.reach_agent("a") && !none.reach_topic("t"));
        assert!(!none.reach_user(Some("u")) && !none.reach_user(None) && !none.reach_all_sessions() && !none.reach_all_agents());
        let all = Scopes::everything();
        assert!(all.may_connect_as("a") && all.reach_agent("a") && all.reach_topic("t"));
        assert!(all.reach_user(Some("u")) && all.reach_user(None) && all.reach_all_sessions() && all.reach_all_agents());
        assert!(all.reach_everything() && !none.reach_everything());
        assert!(!Scopes { topics: vec![], ..Scopes::everything() }.reach_everything());
        let users_only = Scopes { users: vec!["*".parse().unwrap()], ..Scopes::default() };
        assert!(users_only.reach_user(Some("u")) && !users_only.reach_user(None) && !users_only.reach_all_sessions());
    }

    #[test]
    fn a_scope_that_is_not_known_is_not_passed_over() {
        assert!(serde_json::from_str::<Scopes>(r#"{"topics":["a"],"rooms":["b"]}"#).is_err());
        assert!(serde_json::from_str::<Scopes>(r#"{"topics":["a b"]}"#).is_err());
    }
}
