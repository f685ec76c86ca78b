//! Agents that were here, and what their keys reached: what sessions leave behind waits for these, where they may write to them at all.

use std::hash::RandomState;

use common::id::AgentId;
use hashlink::LinkedHashMap;
use identity::agent_keys::Scopes;
use serde::{Deserialize, Serialize};

use super::Peer;

/// Most agents remembered after they have gone. Beyond them, who came longest ago is forgotten: not only those who come again have names.
const REMEMBERED: usize = 100_000;

/// An agent that was here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAgent {
    /// Its id.
    pub agent_id: AgentId,
    /// The name of the key it came with.
    pub key: String,
    /// What the key reached; `None` where nothing was out of reach.
    pub bounds: Option<Scopes>,
}

/// The last [`REMEMBERED`] agents that came, in the order in which they did.
#[derive(Debug, Default)]
pub(super) struct SeenAgents {
    agents: LinkedHashMap<AgentId, SeenAgent, RandomState>,
    /// Those with bounds.
    bounded: usize,
    /// Rises with every change.
    revision: u64,
}

impl SeenAgents {
    /// An agent is here.
    pub(super) fn note(&mut self, agent_id: &AgentId, peer: &Peer) {
        let key = peer.pass.as_ref().map(|pass| pass.name().to_owned()).unwrap_or_default();
        self.add(SeenAgent { agent_id: agent_id.clone(), key, bounds: peer.bounds().cloned() });
    }

    /// An agent was here, after all others.
    pub(super) fn add(&mut self, agent: SeenAgent) {
        if self.agents.back().is_some_and(|(_, last)| *last == agent) {
            return;
        }
        self.revision += 1;
        self.bounded += usize::from(agent.bounds.is_some());
        let older = self.agents.insert(agent.agent_id.clone(), agent);
        let evicted = if self.agents.len() > REMEMBERED { self.agents.pop_front().map(|(_, agent)| agent) } else { None };
        self.bounded -= [older, evicted].iter().flatten().filter(|agent| agent.bounds.is_some()).count();
    }

    /// What keys reach has changed: who came with one of them, and under which bounds it will come again, is not known.
    pub(super) fn forget_keys(&mut self, has_changed: impl Fn(&str) -> bool) {
        self.revision += 1;
        self.agents.retain(|_, agent| !has_changed(&agent.key));
        self.bounded = self.agents.values().filter(|agent| agent.bounds.is_some()).count();
    }

    pub(super) fn contains(&self, agent_id: &str) -> bool {
        self.agents.contains_key(agent_id)
    }

    /// The bounds of an agent that was here.
    pub(super) fn bounds_of(&self, agent_id: &AgentId) -> Option<&Scopes> {
        if self.bounded == 0 { None } else { self.agents.get(agent_id)?.bounds.as_ref() }
    }

    /// Rises with every change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The last so many, in the order in which they came.
    pub(super) fn last(&self, limit: usize) -> Vec<SeenAgent> {
        let before = self.agents.len().saturating_sub(limit);
        self.agents.values().skip(before).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(number: usize) -> SeenAgent {
        let bounds = number.is_multiple_of(2).then(Scopes::everything);
        SeenAgent { agent_id: AgentId::new(&format!("a{number}")).expect("a name"), key: "k".to_owned(), bounds }
    }

    #[test]
    fn who_came_longest_ago_is_forgotten_first() {
        let mut seen = SeenAgents::default();
        (0..REMEMBERED).for_each(|number| seen.add(agent(number)));
        seen.add(agent(0));
        seen.add(agent(REMEMBERED));
        assert!(seen.contains("a0") && !seen.contains("a1") && seen.contains("a2"));
        assert_eq!(seen.last(3), [agent(REMEMBERED - 1), agent(0), agent(REMEMBERED)]);
        assert_eq!((seen.agents.len(), seen.bounded), (REMEMBERED, REMEMBERED / 2 + 1));
        seen.forget_keys(|key| key == "k");
        assert_eq!((seen.last(1), seen.bounded), (Vec::new(), 0));
    }

    #[test]
    fn the_revision_tells_of_every_change_and_of_nothing_else() {
        let mut seen = SeenAgents::default();
        let mut revisions = vec![seen.revision()];
        for number in [1, 2, 1] {
            seen.add(agent(number));
            revisions.push(seen.revision());
        }
        seen.forget_keys(|_| false);
        revisions.push(seen.revision());
        assert!(revisions.is_sorted_by(|one, other| one < other), "{revisions:?}");
        seen.add(agent(1));
        assert_eq!(Some(&seen.revision()), revisions.last(), "it came last before, too");
    }
}
