//! Agents that were here, and what their keys reached: what sessions leave behind waits for these, where they may write to them at all.

use std::collections::HashMap;

use common::id::AgentId;
use identity::agent_keys::Scopes;
use serde::{Deserialize, Serialize};

use super::Peer;

/// Most agents remembered after they have gone.
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

/// The first [`REMEMBERED`] agents that were here.
#[derive(Debug, Default)]
pub(super) struct SeenAgents {
    agents: HashMap<AgentId, SeenAgent>,
    /// Those with bounds.
    bounded: usize,
}

impl SeenAgents {
    /// An agent is here.
    pub(super) fn note(&mut self, agent_id: &AgentId, peer: &Peer) {
        let key = peer.pass.as_ref().map(|pass| pass.name().to_owned()).unwrap_or_default();
        self.add(SeenAgent { agent_id: agent_id.clone(), key, bounds: peer.bounds().cloned() });
    }

    /// An agent was here.
    pub(super) fn add(&mut self, agent: SeenAgent) {
        if self.agents.len() >= REMEMBERED && !self.agents.contains_key(&agent.agent_id) {
            return;
        }
        self.bounded += usize::from(agent.bounds.is_some());
        let older = self.agents.insert(agent.agent_id.clone(), agent);
        self.bounded -= usize::from(older.is_some_and(|older| older.bounds.is_some()));
    }

    /// What keys reach has changed: who came with one of them, and under which bounds it will come again, is not known.
    pub(super) fn forget_keys(&mut self, has_changed: impl Fn(&str) -> bool) {
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &SeenAgent> {
        self.agents.values()
    }
}
