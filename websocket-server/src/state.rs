//! The StateManagerActor: one for each broker, on a thread of its own. It tracks the state of every
//! connection, samples the counters, writes the snapshots and performs the drain. No message passes
//! through it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture,
};
use common::{
    close::CloseCode,
    config,
    connection::ConnectionState,
    dialect::Dialect,
    message::{Speaker, SystemMessage},
    timestamp::millis,
};
use parking_lot::RwLock;
use store::Store;
use transport::{CloseMode, Frame, Lane, Link, clock::now_ms};

use crate::{
    peers::ConnectionId,
    routing::{Router, SeenAgent},
    side::Side,
    snapshot::{Agents, save_new_agents},
    statistics::{ConnectionCounts, ConnectionStats, Depths, Lifetime, Rates, Statistics},
};

/// How often counters are sampled: the resolution of the rates.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often state that outlives the process is stored, while it changes.
const SNAPSHOT: Duration = Duration::from_secs(5);
/// How often the router does what is due.
const ROUTER_TICK: Duration = Duration::from_millis(100);
/// How often it is measured how long work waits for the routers.
const PROBE: Duration = Duration::from_millis(250);
/// How often connections are closed while draining.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// A connection was upgraded.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Opened {
    /// Names it.
    pub id: ConnectionId,
    /// Its kind.
    pub side: Side,
    /// Its outbox.
    pub link: Arc<Link>,
    /// The dialect that its client speaks at the edge.
    pub dialect: Option<Dialect>,
}

/// A connection has changed its state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed {
    /// Which.
    pub id: ConnectionId,
    /// Its new state.
    pub state: ConnectionState,
}

/// What is known of the connections.
#[derive(Debug, Message)]
#[rtype(result = "Tracked")]
pub struct GetStats;

/// What the StateManagerActor adds to `/stats` and `/metrics`.
#[derive(Debug)]
pub struct Tracked {
    /// Connections that were opened since the start.
    pub opened: u64,
    /// Connections by side and state, and closed ones by code.
    pub connections: ConnectionCounts,
    /// What waits in outboxes.
    pub outboxes: Depths,
    /// Messages and bytes in a second, as `/stats` shows them.
    pub rates: serde_json::Value,
}

/// Store what has changed since it was last stored. The write has its place in line before the
/// answer.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct KeepSnapshot;

/// Tell everyone, then close every connection at the configured pace.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Drain;

#[derive(Debug)]
struct OpenConnection {
    side: Side,
    state: ConnectionState,
    link: Arc<Link>,
    dialect: Option<Dialect>,
}

/// The connections that exist, and how many there have been.
#[derive(Debug, Default)]
struct Connections {
    open: HashMap<ConnectionId, OpenConnection>,
    counts: ConnectionStats,
}

impl Connections {
    fn on_opened(&mut self, Opened { id, side, link, dialect }: Opened) {
        self.counts.on_opened(side);
        self.open.insert(id, OpenConnection { side, state: ConnectionState::Handshaking, link, dialect });
    }

    fn enter(&mut self, id: ConnectionId, next: ConnectionState) {
        let Some(connection) = self.open.get_mut(&id) else { return };
        if !connection.state.may_become(next) {
            return;
        }
        connection.state = next;
        if let ConnectionState::Closed(code) = next {
            self.counts.on_closed(connection.side, code);
            self.open.remove(&id);
        }
    }

    fn close_some(&mut self, count: usize) {
        let open = self.open.values().filter(|connection| connection.link.closing().is_none());
        for connection in open.take(count) {
            connection.link.close(CloseCode::SERVICE_RESTART, "server restarting, come back", CloseMode::Flush);
        }
    }
}

/// The actor.
pub struct StateManagerActor {
    router: Arc<RwLock<Router>>,
    store: Arc<dyn Store>,
    statistics: Arc<Statistics>,
    drain: config::Drain,
    connections: Connections,
    rates: Rates,
    /// The lifetime counters as the store has them.
    kept: Lifetime,
    /// The revision of the table of agents that the store has.
    kept_agents: u64,
}

impl Actor for StateManagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SAMPLE, |state, ctx| {
            if ctx.connected() {
                state.rates.sample(state.statistics.totals());
            } else {
                // Its broker is gone.
                ctx.stop();
            }
        });
        ctx.run_interval(ROUTER_TICK, |state, _| {
            if !state.router.read().is_idle() {
                state.router.write().tick(now_ms());
            }
        });
        ctx.run_interval(PROBE, |state, _| state.statistics.times.probe());
        ctx.run_interval(SNAPSHOT, |state, ctx| state.keep_snapshot(ctx));
    }
}

impl StateManagerActor {
    /// Starts the actor on this thread.
    pub fn start(
        thread: &ArbiterHandle,
        router: &Arc<RwLock<Router>>,
        store: Arc<dyn Store>,
        statistics: &Arc<Statistics>,
        drain: config::Drain,
    ) -> Addr<Self> {
        let (router, statistics) = (Arc::clone(router), Arc::clone(statistics));
        Self::start_in_arbiter(thread, move |_| Self {
            router,
            store,
            statistics,
            drain,
            connections: Connections::default(),
            rates: Rates::default(),
            kept: Lifetime::default(),
            kept_agents: 0,
        })
    }

    /// Stores what has changed since it was last stored.
    fn keep_snapshot(&mut self, ctx: &mut Context<Self>) {
        let lifetime = self.statistics.lifetime(self.connections.counts.opened());
        if lifetime != self.kept {
            let saved = lifetime.save(self.store.as_ref());
            let before = std::mem::replace(&mut self.kept, lifetime);
            ctx.spawn(saved.into_actor(self).map(move |saved, state, _| {
                if let Err(error) = saved {
                    tracing::warn!(%error, "the totals were not stored");
                    state.kept = before;
                }
            }));
        }
        let agents = Agents::since(self.kept_agents, &self.router.read());
        if let Some(agents) = agents {
            let saved = agents.save(self.store.as_ref());
            let revision = agents.revision;
            let before = std::mem::replace(&mut self.kept_agents, revision);
            let (router, store) = (Arc::clone(&self.router), Arc::clone(&self.store));
            let keeping = async move {
                saved.await?;
                let written = |agents: Vec<&SeenAgent>| save_new_agents(store.as_ref(), &agents);
                let rest = router.write().on_seen_agents_written(revision, written);
                match rest {
                    Some(rest) => rest.await,
                    None => Ok(()),
                }
            };
            ctx.spawn(keeping.into_actor(self).map(move |kept, state, _| {
                if let Err(error) = kept {
                    tracing::warn!(%error, "the seen agents were not stored");
                    state.kept_agents = before;
                }
            }));
        }
    }
}

impl Handler<Opened> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, opened: Opened, _: &mut Self::Context) {
        self.connections.on_opened(opened);
    }
}

impl Handler<Changed> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, Changed { id, state }: Changed, _: &mut Self::Context) {
        self.connections.enter(id, state);
    }
}

impl Handler<KeepSnapshot> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, _: KeepSnapshot, ctx: &mut Self::Context) {
        self.keep_snapshot(ctx);
    }
}

impl Handler<GetStats> for StateManagerActor {
    type Result = MessageResult<GetStats>;

    fn handle(&mut self, _: GetStats, _: &mut Self::Context) -> Self::Result {
        let Connections { open, counts } = &self.connections;
        MessageResult(Tracked {
            opened: counts.opened(),
            connections: counts
                .with_states(open.values().map(|connection| (connection.side, connection.state, connection.dialect))),
            outboxes: Depths::of(open.values().map(|connection| connection.link.depth())),
            rates: self.rates.to_json(),
        })
    }
}

impl Handler<Drain> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        // Half of the time is for closing, the rest for peers to answer.
        let window = self.drain.timeout / 2;
        let message = SystemMessage::Draining { reason: "restart", close_within_ms: millis(window) };
        let frame = Frame::text(&message.encode(Speaker::Bridge, None, None));
        self.router.read().publish_state(&message);
        for connection in self.connections.open.values() {
            connection.link.send(Lane::Control, frame.clone());
        }
        let ticks = (window.as_millis() / DRAIN_TICK.as_millis()).max(1) as usize;
        let needed = self.connections.open.len().div_ceil(ticks);
        let paced = (self.drain.pace as u128 * DRAIN_TICK.as_millis() / 1000) as usize;
        let per_tick = needed.max(paced).max(1);
        ctx.run_interval(DRAIN_TICK, move |state, _| state.connections.close_some(per_tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::Settings;

    fn opened(count: usize) -> (Connections, Vec<(ConnectionId, Arc<Link>)>) {
        let policy = crate::links::link_policy(&Settings::for_tests());
        let mut connections = Connections::default();
        let links = (0..count)
            .map(|_| {
                let (id, link) = (ConnectionId::next(), Link::new(Arc::clone(&policy)));
                connections.on_opened(Opened { id, side: Side::Agent, link: Arc::clone(&link), dialect: None });
                (id, link)
            })
            .collect();
        (connections, links)
    }

    #[test]
    fn states_only_go_forward_and_closed_is_forgotten() {
        let (mut connections, links) = opened(1);
        let (id, _) = &links[0];
        connections.enter(*id, ConnectionState::Active);
        connections.enter(*id, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        assert_eq!(connections.open[id].state, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        connections.enter(*id, ConnectionState::Active);
        assert_eq!(connections.open[id].state, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        connections.enter(*id, ConnectionState::Closed(CloseCode::TAKEN_OVER));
        assert!(connections.open.is_empty());
    }

    #[test]
    fn a_drain_closes_so_many_at_a_time() {
        let (mut connections, links) = opened(5);
        connections.close_some(2);
        let closing = || links.iter().filter(|(_, link)| link.closing().is_some()).count();
        assert_eq!(closing(), 2);
        connections.close_some(2);
        connections.close_some(2);
        assert_eq!(closing(), 5);
    }
}
