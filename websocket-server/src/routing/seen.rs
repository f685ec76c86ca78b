//! Agents that were connected, and what their keys reached. Messages that sessions leave wait for
//! these agents, if the sessions may send to them.
//!
//! All agents are stored together every few seconds. If a message is stored for an agent before
//! that, the agent must be known after a crash too. So its record is stored before the message, in
//! a short list. The list is emptied when all agents are stored again.

use std::{
    collections::{HashMap, HashSet},
    hash::RandomState,
};

use common::id::AgentId;
use hashlink::LinkedHashMap;
use identity::agent_keys::Scopes;
use parking_lot::Mutex;
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
    /// Agents that the disk does not have as they are now, with the revision of their last change.
    unwritten: HashMap<AgentId, u64>,
    /// Those of them that are in the short list.
    listed: Mutex<HashSet<AgentId>>,
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
        let older = self.agents.remove(&agent.agent_id);
        if older.as_ref() != Some(&agent) {
            self.unwritten.insert(agent.agent_id.clone(), self.revision);
            self.listed.get_mut().remove(&agent.agent_id);
        }
        if let Some(older) = older {
            self.on_forgotten(&older);
        }
        self.of_keys.entry(agent.key.clone()).or_default().insert(agent.agent_id.clone(), ());
        self.agents.insert(agent.agent_id.clone(), agent);
        if self.agents.len() > REMEMBERED
            && let Some(largest) = self.of_keys.values().max_by_key(|ids| ids.len())
            && let Some(evicted) = largest.front().and_then(|(id, ())| self.agents.remove(id))
        {
            self.unwritten.remove(&evicted.agent_id);
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
        self.unwritten.retain(|id, _| self.agents.contains_key(id));
    }

    /// Adds agents of an earlier life, in the order in which they came, and those of the short
    /// list.
    pub(super) fn restore(&mut self, agents: impl Iterator<Item = SeenAgent>, listed: impl Iterator<Item = SeenAgent>) {
        agents.for_each(|agent| self.add(agent));
        self.unwritten.clear();
        listed.for_each(|agent| self.add(agent));
        *self.listed.get_mut() = self.unwritten.keys().cloned().collect();
    }

    /// If the disk does not know an agent, adds it to the short list, which `write` stores. Call
    /// this before a message for the agent is given to the store.
    pub(super) fn write_agent<T>(&self, agent_id: &AgentId, write: impl FnOnce(Vec<&SeenAgent>) -> T) -> Option<T> {
        if self.unwritten.is_empty() || !self.unwritten.contains_key(agent_id) {
            return None;
        }
        // Held while the list is given to the store, so that no shorter list comes after it.
        let mut listed = self.listed.lock();
        listed.insert(agent_id.clone()).then(|| write(self.of(&listed)))
    }

    /// The short list was not stored. The next message tries again.
    pub(super) fn on_agent_not_written(&self, agent_id: &AgentId) {
        self.listed.lock().remove(agent_id);
    }

    /// All agents are stored as they were at a revision. `write` stores what is left of the short
    /// list, if that has changed.
    pub(super) fn on_written<T>(&mut self, revision: u64, write: impl FnOnce(Vec<&SeenAgent>) -> T) -> Option<T> {
        self.unwritten.retain(|_, since| *since > revision);
        let mut listed = self.listed.lock();
        let before = listed.len();
        listed.retain(|id| self.unwritten.contains_key(id));
        (listed.len() < before).then(|| write(self.of(&listed)))
    }

    fn of(&self, listed: &HashSet<AgentId>) -> Vec<&SeenAgent> {
        listed.iter().filter_map(|id| self.agents.get(id)).collect()
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
    fn the_agents_seen_longest_ago_are_forgotten_first() {
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
    fn a_record_is_written_once_with_the_others_that_the_disk_does_not_have() {
        let mut seen = SeenAgents::default();
        seen.restore((0..3).map(agent), std::iter::once(agent(3)));
        let id = |number: usize| agent(number).agent_id;
        let ids = |agents: Vec<&SeenAgent>| agents.into_iter().map(|agent| agent.agent_id.clone()).collect::<HashSet<_>>();
        let of = |numbers: &[usize]| Some(numbers.iter().map(|number| id(*number)).collect::<HashSet<_>>());
        assert_eq!([0, 3].map(|number| seen.write_agent(&id(number), ids)), [None, None], "the disk has them");
        seen.add(agent(4));
        let revision = seen.revision();
        seen.add(agent(5));
        seen.add(agent(0));
        assert_eq!(seen.write_agent(&id(0), ids), None, "it came again as it was");
        assert_eq!(seen.write_agent(&id(4), ids), of(&[3, 4]));
        assert_eq!(seen.write_agent(&id(4), ids), None, "once");
        seen.on_agent_not_written(&id(4));
        assert_eq!(seen.write_agent(&id(4), ids), of(&[3, 4]), "it is tried again");
        assert_eq!(seen.write_agent(&id(5), ids), of(&[3, 4, 5]));
        assert_eq!(seen.on_written(revision, ids), of(&[5]));
        assert_eq!(seen.on_written(revision, ids), None, "nothing has changed");
        seen.add(SeenAgent { key: "other".to_owned(), ..agent(5) });
        assert_eq!(seen.write_agent(&id(5), ids), of(&[5]), "it is not what it was");
        assert_eq!(seen.on_written(seen.revision(), ids), of(&[]));
        assert!(seen.unwritten.is_empty());
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
