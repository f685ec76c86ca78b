//! What the broker stores beside its messages, to survive a restart: which agents it has seen, and
//! how much it has carried. Subscriptions and positions of clients are stored separately, message
//! by message.
//!
//! The [`crate::state::StateManagerActor`] writes each of the two every few seconds if it has
//! changed, and at the end of a drain. If a message is stored for an agent in between, the router
//! writes that agent before the message.

use serde::{Serialize, de::DeserializeOwned};
use store::{Reply, Store};

use crate::{
    routing::{Router, SeenAgent},
    statistics::Lifetime,
};

/// The name of the stored totals.
const TOTALS: &str = "broker-totals";
/// The name of the stored agents.
const AGENTS: &str = "broker-agents";
/// The name of stored agents that are not among those.
const NEW_AGENTS: &str = "broker-agents-new";
/// The number of stored agents: the last that came.
const MOST_AGENTS: usize = 10_000;

impl Lifetime {
    /// Stores it.
    pub fn save(&self, store: &dyn Store) -> Reply<()> {
        save(store, TOTALS, self)
    }
}

/// The agents that were seen, in the order in which they came, and the revision of the router's
/// table.
#[derive(Debug)]
pub struct Agents {
    /// See [`crate::routing::Router::seen_revision`].
    pub revision: u64,
    agents: Vec<SeenAgent>,
}

impl Agents {
    /// The present agents, unless the revision is this one.
    pub fn since(revision: u64, router: &Router) -> Option<Self> {
        let now = router.seen_revision();
        (now != revision).then(|| Self { revision: now, agents: router.seen_agents(MOST_AGENTS) })
    }

    /// Stores them.
    pub fn save(&self, store: &dyn Store) -> Reply<()> {
        save(store, AGENTS, &self.agents)
    }
}

/// What an earlier life stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// How much was carried.
    pub lifetime: Lifetime,
    /// The agents that were seen, in the order in which they came.
    pub agents: Vec<SeenAgent>,
    /// Agents that are not among those.
    pub new_agents: Vec<SeenAgent>,
}

/// What an earlier life stored; the default if there is nothing that can be read.
pub async fn load(store: &dyn Store) -> Earlier {
    Earlier {
        lifetime: load_one(store, TOTALS).await,
        agents: load_one(store, AGENTS).await,
        new_agents: load_one(store, NEW_AGENTS).await,
    }
}

/// Stores agents that are not among those that [`Agents::save`] last stored.
pub fn save_new_agents(store: &dyn Store, agents: &[&SeenAgent]) -> Reply<()> {
    if agents.is_empty() { store.put_state(NEW_AGENTS.to_owned(), None) } else { save(store, NEW_AGENTS, &agents) }
}

async fn load_one<T: DeserializeOwned + Default>(store: &dyn Store, name: &'static str) -> T {
    let kept = match store.state(name.to_owned()).await {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(name, %error, "the stored state cannot be read");
            None
        }
    };
    kept.and_then(|kept| {
        serde_json::from_slice(&kept).inspect_err(|error| tracing::warn!(name, %error, "the stored state is damaged")).ok()
    })
    .unwrap_or_default()
}

fn save(store: &dyn Store, name: &str, value: &impl Serialize) -> Reply<()> {
    // Names and numbers: serialisation cannot fail.
    store.put_state(name.to_owned(), Some(serde_json::to_vec(value).unwrap_or_default().into()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use store::{MemoryStore, StoreOptions};

    use super::*;

    #[actix_rt::test]
    async fn stored_values_are_restored_and_damaged_ones_ignored() {
        let store = MemoryStore::new(StoreOptions::default()).expect("a store");
        assert_eq!(load(&store).await, Earlier::default());
        let agent_id = common::id::AgentId::new("a").expect("a name");
        let bounds = Some(identity::agent_keys::Scopes::everything());
        let agents = vec![SeenAgent { agent_id, key: "k".to_owned(), bounds }];
        let lifetime = Lifetime { connections: 7, ..Lifetime::default() };
        lifetime.save(&store).await.expect("saved");
        Agents { revision: 1, agents: agents.clone() }.save(&store).await.expect("saved");
        save_new_agents(&store, &[&agents[0]]).await.expect("saved");
        assert_eq!(load(&store).await, Earlier { lifetime, agents: agents.clone(), new_agents: agents.clone() });
        save_new_agents(&store, &[]).await.expect("saved");
        assert_eq!(load(&store).await, Earlier { lifetime, agents, new_agents: Vec::new() });
        for name in [TOTALS, AGENTS, NEW_AGENTS] {
            store.put_state(name.to_owned(), Some(Bytes::from_static(b"{"))).await.expect("saved");
        }
        assert_eq!(load(&store).await, Earlier::default());
    }
}
