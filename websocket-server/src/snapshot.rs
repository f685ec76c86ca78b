//! What the broker knows beside its messages, and would be sorry to forget at a restart: which agents it has seen, and how much it has
//! carried. Subscriptions and positions of clients are kept by themselves, message by message.
//!
//! The [`crate::actors::StateManagerActor`] takes a snapshot when something has changed, every few seconds and at the end of a drain.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use store::{Reply, Store};

use crate::{broker::Broker, http::stats::Totals, routing::SeenAgent};

/// Under which name the store keeps it.
const NAME: &str = "broker-snapshot";
/// Agents in a snapshot.
const MOST_AGENTS: usize = 10_000;

/// Where snapshots are kept: the hook for stores of other kinds.
pub trait Keeper {
    /// The last one that was kept.
    fn load(&self) -> Reply<Option<Bytes>>;

    /// Keeps one in place of the last.
    fn save(&self, snapshot: Bytes) -> Reply<()>;
}

impl<S: Store + ?Sized> Keeper for S {
    fn load(&self) -> Reply<Option<Bytes>> {
        self.state(NAME.to_owned())
    }

    fn save(&self, snapshot: Bytes) -> Reply<()> {
        self.put_state(NAME.to_owned(), Some(snapshot))
    }
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Agents that were here, for whom sessions may leave messages.
    pub agents: Vec<SeenAgent>,
    /// What was carried in all lives of the broker.
    pub carried: Totals,
    /// Connections of agents and sessions in all lives.
    pub connections: u64,
}

impl Snapshot {
    /// The one that is kept; an empty one where there is none, or none that can be read.
    pub async fn load(keeper: &(impl Keeper + ?Sized)) -> Self {
        let kept = match keeper.load().await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "the last snapshot cannot be read");
                None
            }
        };
        kept.map(|kept| serde_json::from_slice(&kept))
            .transpose()
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the last snapshot is none");
                None
            })
            .unwrap_or_default()
    }

    /// How things are now.
    pub fn of(broker: &Broker, connections: u64) -> Self {
        let mut agents = broker.router.read().seen_agents(MOST_AGENTS);
        agents.sort_by(|one, other| one.agent_id.cmp(&other.agent_id));
        let restored = &broker.restored;
        Self {
            agents,
            carried: Totals::sum([restored.carried, Totals::of(broker)].into_iter()),
            connections: restored.connections + connections,
        }
    }

    /// Keeps it.
    pub fn save(&self, keeper: &(impl Keeper + ?Sized)) -> Reply<()> {
        // Names and numbers: serialisation has no way to fail.
        keeper.save(serde_json::to_vec(self).unwrap_or_default().into())
    }
}

#[cfg(test)]
mod tests {
    use store::{MemoryStore, StoreOptions};

    use super::*;

    #[actix_rt::test]
    async fn what_is_kept_comes_back_and_what_is_damaged_is_nothing() {
        let store = MemoryStore::new(StoreOptions::default()).expect("a store");
        assert_eq!(Snapshot::load(&store).await, Snapshot::default());
        let agent_id = common::id::AgentId::new("a").expect("a name");
        let bounds = Some(identity::agent_keys::Scopes::everything());
        let agent = SeenAgent { agent_id, key: "k".to_owned(), bounds };
        let snapshot = Snapshot { agents: vec![agent], connections: 7, ..Snapshot::default() };
        snapshot.save(&store).await.expect("saved");
        assert_eq!(Snapshot::load(&store).await, snapshot);
        store.save(Bytes::from_static(b"{")).await.expect("saved");
        assert_eq!(Snapshot::load(&store).await, Snapshot::default());
    }
}
