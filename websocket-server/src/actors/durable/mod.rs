//! The durable half of a router: accepts durable messages, tells senders their outcome, and makes
//! receivers catch up and acknowledge.

mod acknowledging;
mod asking;
mod confirming;
mod in_turn;
mod loading;
mod reading;
mod resuming;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use actix::Context;
use common::{
    address::Address,
    error::{ClientError, ErrorCode},
};
use foldhash::{HashMap, HashSet};
use store::ChannelName;

pub(crate) use asking::ChannelAsk;
pub use reading::HeldBack;
pub(crate) use reading::Subscription;

use self::{asking::Asking, confirming::Confirmations, in_turn::InTurn, loading::Loading};
use super::router::{Dispatch, RouterActor};
use crate::{
    broker::Broker,
    durable::{Channels, Draft, Outcome, owner_key},
    routing::{ConnectionId, Counters, Destination, Peer, Router, cancel_request},
};

type Reader = (ConnectionId, ChannelName);

/// A shard's state for durable messages.
#[derive(Debug)]
pub struct DurableShard {
    channels: Arc<Channels>,
    confirmations: Confirmations,
    /// Messages that wait until their channel's newest number is known.
    loading: Loading,
    /// Receivers that need marks: those that do not acknowledge themselves, and readers of logs
    /// whose positions are stored.
    to_ask: HashMap<ConnectionId, Arc<Peer>>,
    /// Receivers that acknowledge themselves and may owe an acknowledgement, and when to check.
    owing: HashMap<Reader, (Arc<Peer>, Instant)>,
    /// Readers of logs whose positions are stored, with what they are known to have: compared with
    /// the newest message now and then.
    checked: HashMap<Reader, (Arc<Peer>, u64)>,
    check_at: Instant,
    /// The catch-ups of receivers that must first name their positions.
    held: HashMap<ConnectionId, HeldBack>,
    /// Those of them that are waited for, and until when.
    held_until: VecDeque<(Instant, Arc<Peer>)>,
    ticking: bool,
    /// Unanswered requests about channels.
    in_turn: InTurn<Asking>,
    /// Receivers whose subscriptions are still to be restored, with those that they have ended
    /// meanwhile.
    restoring: HashMap<ConnectionId, HashSet<ChannelName>>,
}

impl DurableShard {
    /// The half of a new shard.
    pub fn new(broker: &Arc<Broker>, counters: &Arc<Counters>) -> Self {
        Self {
            channels: Arc::clone(&broker.channels),
            confirmations: Confirmations::start(broker, counters),
            loading: Loading::default(),
            to_ask: HashMap::default(),
            owing: HashMap::default(),
            checked: HashMap::default(),
            check_at: Instant::now(),
            held: HashMap::default(),
            held_until: VecDeque::new(),
            ticking: false,
            in_turn: InTurn::default(),
            restoring: HashMap::default(),
        }
    }

    /// The receiver has gone: nothing of it waits any longer.
    pub(super) fn let_down(&mut self, peer: &Peer) {
        self.held.remove(&peer.id);
        self.in_turn.forget(peer.id);
        self.restoring.remove(&peer.id);
    }

    fn on_given(&mut self, peer: Arc<Peer>, channel: ChannelName, seq: u64) {
        if peer.confirms_by_mark(&channel) {
            peer.marks.lock().on_given(channel, seq);
            self.to_ask.insert(peer.id, peer);
        } else {
            let look = Instant::now() + self.channels.ack_timeout();
            self.owing.entry((peer.id, channel)).or_insert((peer, look));
        }
    }
}

impl RouterActor {
    /// Accepts a durable message.
    ///
    /// # Errors
    /// The error for the sender.
    pub(super) fn dispatch_durable(&mut self, dispatch: Dispatch, ctx: &mut Context<Self>) -> Result<(), ClientError> {
        let Dispatch { from, message } = &dispatch;
        let router = self.broker.router.read();
        if from.is_cut() {
            return Ok(());
        }
        let Destination { address, route } = router.destination(from, message)?;
        let channel = channel_of(&address).ok_or(ErrorCode::DurableTargetInvalid)?;
        if self.durable.loading.holds(&channel) {
            drop(router);
            return self.durable.loading.push(&channel, dispatch);
        }
        let id = message.id.as_deref().unwrap_or_default();
        let exempt = &self.broker.settings.limits.exempt_networks;
        let owner = from.owner(|| self.durable.channels.store().owner(&owner_key(from, exempt)));
        let draft = Draft {
            channel: &channel,
            text: message.frame.payload_text(),
            id,
            source: from.address(),
            priority: message.priority,
            lane: message.lane,
            ttl_ms: message.ttl_ms,
            retain: message.retain,
            receipt: message.receipt,
            owner: Some(&owner),
            own: Some(from).filter(|from| from.consumer.is_some() && router.reads_itself(from, &address, &channel)),
        };
        router.open_durable_request(from, &address, message).map_err(|error| error.about(address.to_string()))?;
        let outcome = router.with_readers(from, &address, |readers| self.durable.channels.accept(draft, readers));
        if matches!(outcome, Ok(Outcome::Accepted(_))) {
            router.answer_requests(from, &address, message);
        }
        drop(router);
        let outcome = outcome.inspect_err(|_| cancel_request(from, message)).map_err(|refused| refused.0)?;
        match outcome {
            Outcome::NotLoaded => {
                cancel_request(from, message);
                self.durable.loading.push(&channel, dispatch)?;
                self.load(channel, ctx);
            }
            Outcome::Accepted(accepted) => {
                self.counters.on_message(message.family, route, message.bytes_in, accepted.deliveries, message.frame.len());
                if let Some(slow) = &accepted.pause_for {
                    from.hold(Arc::clone(slow));
                }
                let settled = accepted.settled;
                if message.receipt && accepted.deliveries > 0 {
                    self.broker.on_first_delivery(&channel, settled.seq);
                }
                for peer in accepted.delivered {
                    self.durable.on_given(peer, channel.clone(), settled.seq);
                }
                for way in accepted.fell_behind {
                    self.start_catch_up(way, ctx);
                }
                if message.deadline_ms.is_some() {
                    self.watch_requests(Arc::clone(from), ctx);
                }
                self.tick_durable(ctx);
                self.durable.confirmations.wait_for(Arc::clone(from), id.to_owned(), settled, accepted.committed);
            }
        }
        Ok(())
    }

    /// Asks for the newest number of a channel, and then accepts the messages that wait for it.
    fn load(&self, channel: ChannelName, ctx: &mut Context<Self>) {
        let loading = self.durable.channels.load(channel.clone());
        Self::after(ctx, loading, move |router, outcome, ctx| {
            for dispatch in router.durable.loading.take(&channel) {
                let (from, frame) = (Arc::clone(&dispatch.from), dispatch.message.frame.clone());
                let taken = match &outcome {
                    Ok(()) => router.dispatch_durable(dispatch, ctx),
                    Err(error) => {
                        tracing::warn!(%channel, %error, "a channel cannot be opened");
                        Err(ErrorCode::StoreUnavailable.into())
                    }
                };
                if let Err(error) = taken {
                    router.refuse_frame(&from, error, &frame);
                }
            }
        });
    }
}

impl Router {
    /// Whether the sender of a message reads its channel.
    fn reads_itself(&self, from: &Peer, address: &Address, channel: &ChannelName) -> bool {
        match address {
            Address::Topic(name) => self.subscribes(from.id, name),
            Address::Broadcast(_) => from.broadcasts().contains(channel),
            _ => false,
        }
    }
}

/// The channel of an address; `None` for an address of the bridge.
fn channel_of(address: &Address) -> Option<ChannelName> {
    match address {
        Address::Agent(agent_id) => Some(ChannelName::agent(agent_id)),
        Address::Session(session_id) => Some(ChannelName::session(*session_id)),
        Address::User(user_id) => Some(ChannelName::user(user_id)),
        Address::Topic(name) => Some(ChannelName::topic(name)),
        Address::Broadcast(scope) => Some(ChannelName::broadcast(*scope)),
        Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => None,
    }
}
