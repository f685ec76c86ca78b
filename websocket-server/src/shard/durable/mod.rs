//! The durable half of a router: accepts durable messages, tells senders their outcome, and makes
//! receivers catch up and acknowledge.

mod acknowledging;
mod asking;
mod channel_ask;
mod confirming;
mod in_turn;
mod loading;
mod publishing;
mod reading;
mod resuming;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use foldhash::{HashMap, HashSet};
use store::ChannelName;

pub use acknowledging::NotUsable;
pub use channel_ask::{ChannelAsk, Subscription};

use self::{channel_ask::Asking, confirming::Confirmations, in_turn::InTurn, loading::Loading};
use crate::{
    broker::Broker,
    durable::{CatchUp, Channels},
    peers::{ConnectionId, Peer},
    routing::Counters,
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
    /// Receivers that acknowledge explicitly and hold messages of an inbox, or that catch up with
    /// it, and when to check whether something must be delivered again.
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
            self.look_by(&peer, &channel, Instant::now() + self.channels.ack_timeout());
        }
    }

    /// At this time, checks whether messages of an inbox must be delivered to a reader again.
    fn look_by(&mut self, peer: &Arc<Peer>, inbox: &ChannelName, at: Instant) {
        let (_, look) = self.owing.entry((peer.id, inbox.clone())).or_insert_with(|| (Arc::clone(peer), at));
        *look = at.min(*look);
    }
}

/// What is known about a receiver that connects, and its catch-ups.
#[derive(Debug)]
pub struct HeldBack {
    /// Whether something may be stored for it from an earlier connection.
    may_have_been_here: bool,
    /// For its inboxes in which something waits.
    inboxes: Vec<CatchUp>,
    /// For the broadcasts that it may have read before.
    broadcasts: Vec<CatchUp>,
}
