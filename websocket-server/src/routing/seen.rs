//! Agents that were connected, and what their keys reached. Messages that sessions leave wait for
//! these agents, if the sessions may send to them.

use std::{collections::HashMap, hash::RandomState};

use common::id::AgentId;
use hashlink::LinkedHashMap;
use identity::agent_keys::Scopes;
use serde::{Deserialize, Serialize};

use crate::peers::Peer;

/// The most agents that are remembered after they have gone. At the bound, the key with the most of
/// them loses the one that came longest ago. So no key pushes out the agents of another key that
/// has fewer.
const REMEMBERED: usize = 100_000;

/// An agent that was connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenAgent {
    /// Its id.
    pub agent_id: AgentId,
    /// The name of its key.
    pub key: String,
    /// The scopes of the key; `None`: nothing was out of reach.
    pub bounds: Option<Scopes>,
}

/// The last [`REMEMBERED`] agents that came, in order.
#[derive(Debug, Default)]
pub(super) struct SeenAgents {
    agents: LinkedHashMap<AgentId, SeenAgent, RandomState>,
    /// The ids that came with each key, in order.
    of_keys: HashMap<String, LinkedHashMap<AgentId, (), RandomState>>,
    /// The number of those with scopes.
    bounded: usize,
    /// Rises with every change.
    revision: u64,
}

impl SeenAgents {
    /// An agent is connected.
    pub(super) fn note(&mut self, agent_id: &AgentId, peer: &Peer) {
        let key = peer.pass.as_ref().map(|pass| pass.name().to_owned()).unwrap_or_default();
        self.add(SeenAgent { agent_id: agent_id.clone(), key, bounds: peer.bounds().cloned() });
    }

    /// An agent was connected, after all others.
    pub(super) fn add(&mut self, agent: SeenAgent) {
        if self.agents.back().is_some_and(|(_, last)| *last == agent) {
            return;
        }
        self.revision += 1;
        self.bounded += usize::from(agent.bounds.is_some());
        if let Some(older) = self.agents.remove(&agent.agent_id) {
            self.on_forgotten(&older);
        }
        self.of_keys.entry(agent.key.clone()).or_default().insert(agent.agent_id.clone(), ());
        self.agents.insert(agent.agent_id.clone(), agent);
        if self.agents.len() > REMEMBERED
            && let Some(largest) = self.of_keys.values().max_by_key(|ids| ids.len())
            && let Some(evicted) = largest.front().and_then(|(id, ())| self.agents.remove(id))
        {
            self.on_forgotten(&evicted);
        }
    }

    fn on_forgotten(&mut self, agent: &SeenAgent) {
        self.bounded -= usize::from(agent.bounds.is_some());
        if let Some(ids) = self.of_keys.get_mut(&agent.key) {
            ids.remove(&agent.agent_id);
            if ids.is_empty() {
                self.of_keys.remove(&agent.key);
            }
        }
    }

    /// The scopes of keys have changed: agents that came with one of them may come again with other
    /// scopes.
    pub(super) fn forget_keys(&mut self, has_changed: impl Fn(&str) -> bool) {
        self.revision += 1;
        self.agents.retain(|_, agent| !has_changed(&agent.key));
        self.of_keys.retain(|key, _| !has_changed(key));
        self.bounded = self.agents.values().filter(|agent| agent.bounds.is_some()).count();
    }

    pub(super) fn contains(&self, agent_id: &str) -> bool {
        self.agents.contains_key(agent_id)
    }

    /// The scopes of an agent that was connected.
    pub(super) fn bounds_of(&self, agent_id: &AgentId) -> Option<&Scopes> {
        if self.bounded == 0 { None } else { self.agents.get(agent_id)?.bounds.as_ref() }
    }

    /// Rises with every change.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The last so many, in order. If there are more, keys with few keep all of theirs.
    pub(super) fn last(&self, limit: usize) -> Vec<SeenAgent> {
        if self.agents.len() <= limit {
            return self.agents.values().cloned().collect();
        }
        let mut keys: Vec<_> = self.of_keys.iter().map(|(key, ids)| (key.as_str(), ids.len())).collect();
        keys.sort_unstable_by_key(|(_, count)| *count);
        let (mut left, count) = (limit, keys.len());
        for (at, (_, quota)) in keys.iter_mut().enumerate() {
            *quota = (*quota).min(left / (count - at));
            left -= *quota;
        }
        let mut quotas: HashMap<_, _> = keys.into_iter().collect();
        let mut has_place = |agent: &&SeenAgent| {
            let quota = quotas.get_mut(agent.key.as_str()).filter(|quota| **quota > 0);
            quota.map(|quota| *quota -= 1).is_some()
        };
        let mut last: Vec<_> = self.agents.values().rev().filter(|agent| has_place(agent)).cloned().collect();
        last.reverse();
        last
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
    fn no_key_pushes_out_the_agents_of_a_key_with_fewer() {
        let mut seen = SeenAgents::default();
        let of = |key: &str, number: usize| SeenAgent { key: key.to_owned(), ..agent(number) };
        (0..10).for_each(|number| seen.add(of("few", number)));
        (10..REMEMBERED + 1000).for_each(|number| seen.add(of("many", number)));
        assert_eq!(seen.agents.len(), REMEMBERED);
        assert!((0..10).all(|number| seen.contains(&format!("a{number}"))));
        assert!(!seen.contains("a10") && !seen.contains("a1009") && seen.contains("a1010"));
        let last = seen.last(100);
        assert_eq!((last.len(), &last[..10]), (100, &(0..10).map(|number| of("few", number)).collect::<Vec<_>>()[..]));
        assert_eq!(last.last(), Some(&of("many", REMEMBERED + 999)));
        seen.forget_keys(|key| key == "few");
        assert!(!seen.contains("a0") && seen.of_keys.len() == 1);
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
