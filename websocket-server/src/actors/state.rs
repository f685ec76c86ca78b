//! The StateManagerActor: one per broker, on a thread of its own. It tracks the state of every
//! connection, samples the counters, answers `/stats`, and carries out the drain. It is never on
//! the path of a message.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use common::{
    close::CloseCode,
    connection::ConnectionState,
    message::{Speaker, SystemMessage},
};
use transport::{CloseMode, Frame, Lane, Link, clock::now_ms};

use crate::{
    broker::{Broker, millis},
    http::stats::{self, ConnectionStats, Rates, Totals},
    routing::ConnectionId,
    snapshot::{Agents, Lifetime},
};

/// How often counters are sampled: the resolution of the rates.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often state that outlives the process is stored, while it changes.
const SNAPSHOT: Duration = Duration::from_secs(5);
/// How often the router does what is due.
const ROUTER_TICK: Duration = Duration::from_millis(100);
/// How often connections are closed while draining.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// The kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An agent's.
    Agent,
    /// A client session's.
    Session,
}

/// Names the broker that the actor belongs to. Sent once, before anything else.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct UseBroker(pub Weak<Broker>);

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
}

/// A connection has changed its state.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Changed {
    /// The connection.
    pub id: ConnectionId,
    /// Its new state.
    pub state: ConnectionState,
}

/// The statistics, as JSON.
#[derive(Debug, Message)]
#[rtype(result = "serde_json::Value")]
pub struct GetStats;

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
struct Tracked {
    side: Side,
    state: ConnectionState,
    link: Arc<Link>,
}

/// The actor.
#[derive(Debug, Default)]
pub struct StateManagerActor {
    broker: Weak<Broker>,
    connections: HashMap<ConnectionId, Tracked>,
    closed: ConnectionStats,
    rates: Rates,
    /// The stored totals of earlier lives.
    kept: Lifetime,
    /// The revision of the stored agents.
    kept_agents: u64,
}

impl Actor for StateManagerActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(SAMPLE, |state, ctx| match state.broker.upgrade() {
            Some(broker) => state.rates.sample(Totals::of(&broker)),
            None => ctx.stop(),
        });
        ctx.run_interval(ROUTER_TICK, |state, _| {
            if let Some(broker) = state.broker.upgrade().filter(|broker| !broker.router.read().is_idle()) {
                broker.router.write().tick(now_ms());
            }
        });
        ctx.run_interval(SNAPSHOT, |state, ctx| state.keep_snapshot(ctx));
    }
}

impl StateManagerActor {
    /// Stores what has changed since it was last stored.
    fn keep_snapshot(&mut self, ctx: &mut Context<Self>) {
        let Some(broker) = self.broker.upgrade() else { return };
        let store = broker.channels.store();
        let lifetime = Lifetime::of(&broker, self.closed.opened());
        if lifetime != self.kept {
            let saved = lifetime.save(store.as_ref());
            let before = std::mem::replace(&mut self.kept, lifetime);
            ctx.spawn(saved.into_actor(self).map(move |saved, state, _| {
                if let Err(error) = saved {
                    tracing::warn!(%error, "the totals were not stored");
                    state.kept = before;
                }
            }));
        }
        if let Some(agents) = Agents::since(self.kept_agents, &broker) {
            let saved = agents.save(store.as_ref());
            let before = std::mem::replace(&mut self.kept_agents, agents.revision);
            ctx.spawn(saved.into_actor(self).map(move |saved, state, _| {
                if let Err(error) = saved {
                    tracing::warn!(%error, "the seen agents were not stored");
                    state.kept_agents = before;
                }
            }));
        }
    }

    fn enter(&mut self, id: ConnectionId, next: ConnectionState) {
        let Some(tracked) = self.connections.get_mut(&id) else { return };
        if !tracked.state.may_become(next) {
            return;
        }
        tracked.state = next;
        if let ConnectionState::Closed(code) = next {
            self.closed.on_closed(tracked.side, code);
            self.connections.remove(&id);
        }
    }

    fn close_some(&mut self, count: usize) {
        let open = self.connections.values().filter(|tracked| tracked.link.closing().is_none());
        for tracked in open.take(count) {
            tracked.link.close(CloseCode::SERVICE_RESTART, "server restarting, come back", CloseMode::Flush);
        }
    }
}

impl Handler<UseBroker> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, UseBroker(broker): UseBroker, _: &mut Self::Context) {
        self.broker = broker;
    }
}

impl Handler<Opened> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, Opened { id, side, link }: Opened, _: &mut Self::Context) {
        self.closed.on_opened(side);
        self.connections.insert(id, Tracked { side, state: ConnectionState::Handshaking, link });
    }
}

impl Handler<Changed> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, Changed { id, state }: Changed, _: &mut Self::Context) {
        self.enter(id, state);
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
        let states = self.connections.values().map(|tracked| (tracked.side, tracked.state));
        let connections = self.closed.to_json(states);
        let depths = stats::depths(self.connections.values().map(|tracked| tracked.link.depth()));
        MessageResult(match self.broker.upgrade() {
            Some(broker) => stats::to_json(&broker, self.closed.opened(), connections, depths, &self.rates),
            None => serde_json::Value::Null,
        })
    }
}

impl Handler<Drain> for StateManagerActor {
    type Result = ();

    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        let Some(broker) = self.broker.upgrade() else { return };
        let drain = &broker.settings.drain;
        // Half of the time is for closing, the rest for peers to answer.
        let window = drain.timeout / 2;
        let message = SystemMessage::Draining { reason: "restart", close_within_ms: millis(window) };
        let frame = Frame::text(&message.encode(Speaker::Bridge, None, None));
        broker.router.read().publish_state(&message);
        for tracked in self.connections.values() {
            tracked.link.send(Lane::Control, frame.clone());
        }
        let ticks = (window.as_millis() / DRAIN_TICK.as_millis()).max(1) as usize;
        let needed = self.connections.len().div_ceil(ticks);
        let paced = (drain.pace as u128 * DRAIN_TICK.as_millis() / 1000) as usize;
        let per_tick = needed.max(paced).max(1);
        ctx.run_interval(DRAIN_TICK, move |state, _| state.close_some(per_tick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::config::Settings;

    fn tracking(count: usize) -> (StateManagerActor, Vec<(ConnectionId, Arc<Link>)>) {
        let settings = Settings::for_tests();
        let mut state = StateManagerActor::default();
        let links = (0..count)
            .map(|_| {
                let link = Link::new(crate::broker::link_policy(&settings));
                let id = ConnectionId::next();
                state
                    .connections
                    .insert(id, Tracked { side: Side::Agent, state: ConnectionState::Handshaking, link: Arc::clone(&link) });
                (id, link)
            })
            .collect();
        (state, links)
    }

    #[test]
    fn states_only_go_forward_and_closed_is_forgotten() {
        let (mut state, links) = tracking(1);
        let (id, _) = &links[0];
        state.enter(*id, ConnectionState::Active);
        state.enter(*id, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        assert_eq!(state.connections[id].state, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        state.enter(*id, ConnectionState::Active);
        assert_eq!(state.connections[id].state, ConnectionState::Closing(CloseCode::TAKEN_OVER));
        state.enter(*id, ConnectionState::Closed(CloseCode::TAKEN_OVER));
        assert!(state.connections.is_empty());
    }

    #[test]
    fn a_drain_closes_so_many_at_a_time() {
        let (mut state, links) = tracking(5);
        state.close_some(2);
        let closing = || links.iter().filter(|(_, link)| link.closing().is_some()).count();
        assert_eq!(closing(), 2);
        state.close_some(2);
        state.close_some(2);
        assert_eq!(closing(), 5);
    }
}
