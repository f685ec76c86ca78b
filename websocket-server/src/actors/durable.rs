//! The durable half of a router: takes durable messages, tells senders what became of them, and sees to it that receivers catch up
//! and acknowledge.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use common::{
    address::Address,
    assertion::Acks,
    error::{ClientError, ErrorCode},
    message::{AckAsk, NackAsk, SystemMessage},
};
use store::{Ack, ChannelName};

use super::router::{Dispatch, RouterActor};
use crate::{
    durable::{Confirm, Draft, Inboxes, Outcome, SettledMessage, catch_up, redeliver},
    routing::{ConnectionId, Peer, Route},
};

/// Messages that may wait while the store is asked for the newest number of an inbox.
const MAX_LOADING: usize = 1024;
/// How often it is looked what was written to sockets, and what is due again.
const TICK: Duration = Duration::from_millis(250);

type Reader = (ConnectionId, ChannelName);

/// What a shard remembers of durable messages.
#[derive(Debug)]
pub struct DurableShard {
    inboxes: Arc<Inboxes>,
    /// Messages that wait for their inbox's newest number.
    loading: HashMap<ChannelName, Vec<Dispatch>>,
    /// Receivers that acknowledge by reading: what they were given, to be acknowledged once it is written.
    unwritten: HashMap<Reader, (Arc<Peer>, u64)>,
    /// Receivers that acknowledge themselves and may owe an acknowledgement, and when to look.
    owing: HashMap<Reader, (Arc<Peer>, Instant)>,
    ticking: bool,
}

impl DurableShard {
    /// The half of a fresh shard.
    pub fn new(inboxes: Arc<Inboxes>) -> Self {
        Self { inboxes, loading: HashMap::new(), unwritten: HashMap::new(), owing: HashMap::new(), ticking: false }
    }

    fn on_given(&mut self, peer: Arc<Peer>, channel: ChannelName, seq: u64) {
        let reader = (peer.id, channel);
        match peer.acks {
            Acks::Automatic => drop(self.unwritten.insert(reader, (peer, seq))),
            Acks::Explicit => {
                let look = Instant::now() + self.inboxes.ack_timeout();
                self.owing.entry(reader).or_insert((peer, look));
            }
        }
    }
}

impl RouterActor {
    /// Takes a durable message.
    ///
    /// # Errors
    /// What the sender is to be told.
    pub(super) fn dispatch_durable(&mut self, dispatch: Dispatch, ctx: &mut Context<Self>) -> Result<(), ClientError> {
        let Dispatch { from, message } = &dispatch;
        let router = self.broker.router.read();
        let (channel, route, receivers) = router.inbox_of(from, message)?;
        // What a session leaves behind waits for agents the bridge knows of only: strangers do not make inboxes.
        if receivers.is_empty()
            && !from.is_agent()
            && !self.durable.inboxes.may_have_pending(&channel)
            && !router.has_seen(&channel)
        {
            return Err(ClientError::new(ErrorCode::AgentNotFound).about(channel.to_string()));
        }
        if let Some(waiting) = self.durable.loading.get_mut(&channel) {
            drop(router);
            if waiting.len() >= MAX_LOADING {
                return Err(ErrorCode::InboxBusy.into());
            }
            waiting.push(dispatch);
            return Ok(());
        }
        let id = message.id.as_deref().unwrap_or_default();
        let draft = Draft {
            channel: &channel,
            text: message.frame.payload_text(),
            id,
            source: from.address(),
            priority: message.priority,
            lane: message.lane,
            ttl_ms: message.ttl_ms,
        };
        let outcome = self.durable.inboxes.accept(draft, &receivers).map_err(|refused| ClientError::new(refused.0));
        drop(router);
        match outcome? {
            Outcome::NotLoaded => self.load(channel, dispatch, ctx),
            Outcome::Accepted(accepted) => {
                let delivered = accepted.delivered.len();
                self.counters.on_message(message.family, route, message.bytes_in, delivered, message.frame.len());
                if let Some(slow) = &accepted.pause_for {
                    from.hold(Arc::clone(slow));
                }
                let settled = accepted.to_settle();
                for peer in accepted.delivered {
                    self.durable.on_given(peer, channel.clone(), settled.seq);
                }
                for peer in accepted.fell_behind {
                    self.start_catch_up(peer, channel.clone(), ctx);
                }
                self.tick_durable(ctx);
                let (from, id) = (Arc::clone(from), id.to_owned());
                let committed = accepted.committed.into_actor(self);
                ctx.spawn(committed.map(move |answer, router, _| router.confirm(&from, &id, &settled, answer)));
            }
        }
        Ok(())
    }

    fn load(&mut self, channel: ChannelName, first: Dispatch, ctx: &mut Context<Self>) {
        let loading = self.durable.inboxes.load(channel.clone());
        self.durable.loading.insert(channel.clone(), vec![first]);
        ctx.spawn(loading.into_actor(self).map(move |outcome, router, ctx| {
            for dispatch in router.durable.loading.remove(&channel).unwrap_or_default() {
                let (from, frame) = (Arc::clone(&dispatch.from), dispatch.message.frame.clone());
                let taken = match &outcome {
                    Ok(()) => router.dispatch_durable(dispatch, ctx),
                    Err(error) => {
                        tracing::warn!(%channel, %error, "an inbox cannot be opened");
                        Err(ErrorCode::StoreUnavailable.into())
                    }
                };
                if let Err(error) = taken {
                    router.refuse_frame(&from, error, &frame);
                }
            }
        }));
    }

    fn confirm(&self, from: &Peer, id: &str, message: &SettledMessage, answer: Result<Vec<store::Appended>, store::StoreError>) {
        if let Ok([store::Appended::Stored { evicted, .. }, ..]) = answer.as_deref() {
            self.broker.tell_senders_of(evicted);
        }
        match self.durable.inboxes.settle(message, answer) {
            Confirm::Stored { seq, duplicate } => {
                let (channel, epoch) = (message.channel.to_string(), self.durable.inboxes.epoch().to_string());
                from.answer(&SystemMessage::Accepted { channel, epoch, seq, duplicate }, Some(id));
            }
            Confirm::Failed(code) => self.refuse(from, code.into(), Some(id)),
        }
    }

    /// A receiver came. To be called under the router's write lock, so that nothing is delivered to it before what is pending.
    pub(super) fn hold_back_until_caught_up(inboxes: &Inboxes, peer: &Peer) -> Vec<ChannelName> {
        peer.inboxes().filter(|channel| inboxes.may_have_pending(channel) && inboxes.fall_behind(channel, peer.id)).collect()
    }

    pub(super) fn start_catch_up(&self, peer: Arc<Peer>, channel: ChannelName, ctx: &mut Context<Self>) {
        let running = catch_up(Arc::clone(&self.durable.inboxes), channel.clone(), Arc::clone(&peer)).into_actor(self);
        ctx.spawn(running.map(move |given, router, ctx| {
            if given > 0 && !peer.link.is_over() {
                router.durable.on_given(peer, channel, given);
                router.tick_durable(ctx);
            }
        }));
    }

    /// The inbox a peer means: its own where it names none.
    fn own_inbox(peer: &Peer, named: Option<&str>) -> Result<ChannelName, ClientError> {
        let mut own = peer.inboxes();
        let found = match named {
            None => own.next(),
            Some(named) => own.find(|channel| channel.as_str() == named),
        };
        found.ok_or_else(|| ClientError::with_message(ErrorCode::NotAllowed, "the channel is not an inbox of yours"))
    }

    pub(super) fn on_ack(
        &self,
        peer: &Arc<Peer>,
        ask: AckAsk,
        id: Option<String>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ClientError> {
        let channel = Self::own_inbox(peer, ask.channel.as_deref())?;
        let ack = ask.through.map_or(Ack::Each(ask.seqs), Ack::Through);
        let acked = self.durable.inboxes.ack(channel, ack).into_actor(self);
        let peer = Arc::clone(peer);
        ctx.spawn(acked.map(move |answer, router, _| {
            if let Err(error) = answer {
                tracing::warn!(%error, "an acknowledgement was not stored");
                router.refuse(&peer, ErrorCode::StoreUnavailable.into(), id.as_deref());
            }
        }));
        Ok(())
    }

    pub(super) fn on_nack(
        &mut self,
        peer: &Arc<Peer>,
        ask: NackAsk,
        id: Option<String>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ClientError> {
        let channel = Self::own_inbox(peer, ask.channel.as_deref())?;
        let delay = Duration::from_millis(ask.delay_ms);
        let look = Instant::now() + delay;
        let owing = self.durable.owing.entry((peer.id, channel.clone())).or_insert((Arc::clone(peer), look));
        owing.1 = owing.1.min(look);
        let nacked = self.durable.inboxes.nack(channel, ask.seq, delay, ask.reason).into_actor(self);
        let peer = Arc::clone(peer);
        ctx.spawn(nacked.map(move |answer, router, _| match answer {
            Ok(Some(_)) => {}
            Ok(None) => {
                let error = ClientError::with_message(ErrorCode::InvalidPayload, "no message with this `seq` waits for you");
                router.refuse(&peer, error, id.as_deref());
            }
            Err(_) => router.refuse(&peer, ErrorCode::StoreUnavailable.into(), id.as_deref()),
        }));
        self.tick_durable(ctx);
        Ok(())
    }

    /// Looks regularly, while there is anything to look after.
    fn tick_durable(&mut self, ctx: &mut Context<Self>) {
        let shard = &self.durable;
        let is_idle = shard.unwritten.is_empty() && shard.owing.is_empty();
        if !shard.ticking && !is_idle {
            self.durable.ticking = true;
            ctx.run_later(TICK, |router, ctx| {
                router.durable.ticking = false;
                router.acknowledge_written();
                router.redeliver_due(ctx);
                router.tick_durable(ctx);
            });
        }
    }

    /// What was written to the socket of a receiver that does not acknowledge itself counts as acknowledged.
    fn acknowledge_written(&mut self) {
        let inboxes = Arc::clone(&self.durable.inboxes);
        self.durable.unwritten.retain(|(_, channel), (peer, seq)| {
            // A close may have discarded what waited: nothing says that it was written.
            if peer.link.is_over() || peer.link.closing().is_some() {
                return false;
            }
            let is_written = peer.link.depth().0 == 0;
            if is_written {
                let acked = inboxes.ack(channel.clone(), Ack::Through(*seq));
                actix_rt::spawn(async move {
                    if let Err(error) = acked.await {
                        tracing::warn!(%error, "an acknowledgement was not stored");
                    }
                });
            }
            !is_written
        });
    }

    fn redeliver_due(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.durable.owing.retain(|_, (peer, _)| !peer.link.is_over());
        let due: Vec<_> = self.durable.owing.extract_if(|_, (_, look)| *look <= now).collect();
        for ((_, channel), (peer, _)) in due {
            let inboxes = Arc::clone(&self.durable.inboxes);
            let looking = async move {
                let outcome = redeliver(&inboxes, &channel, &peer).await;
                (channel, peer, outcome)
            };
            ctx.spawn(looking.into_actor(self).map(|(channel, peer, outcome), router, ctx| {
                let waits = match outcome {
                    Ok((dead, waits)) => {
                        router.broker.tell_senders_of(&dead);
                        waits
                    }
                    Err(error) => {
                        tracing::warn!(%channel, %error, "what is due cannot be read");
                        true
                    }
                };
                if waits && !peer.link.is_over() {
                    let look = Instant::now() + (router.durable.inboxes.ack_timeout() / 4).max(TICK);
                    router.durable.owing.entry((peer.id, channel)).or_insert((peer, look));
                    router.tick_durable(ctx);
                }
            }));
        }
    }
}

impl crate::routing::Router {
    /// The inbox a durable message goes to, and the connections that read it.
    ///
    /// # Errors
    /// `durable_target_invalid`, `not_allowed`, and those of an untargeted message. A session can write to an agent that is there; what
    /// an agent writes waits for whom it is addressed to.
    pub(super) fn inbox_of(
        &self,
        from: &Peer,
        message: &crate::routing::Outgoing,
    ) -> Result<(ChannelName, Route, Vec<Arc<Peer>>), ClientError> {
        let target = self.resolve(from, message.target.as_ref())?;
        self.check_reach(from, &target, true).map_err(|code| ClientError::new(code).about(target.to_string()))?;
        let route = match (&target, from.is_agent()) {
            (Address::Agent(_), true) => Route::AgentToAgent,
            (Address::Agent(_), false) => Route::SessionToAgent,
            (Address::Session(_), _) => Route::AgentToSession,
            _ => Route::AgentToUser,
        };
        let channel = match &target {
            Address::Agent(agent_id) => ChannelName::agent(agent_id),
            Address::Session(_) | Address::User(_) if !from.is_agent() => {
                return Err(ClientError::new(ErrorCode::NotAllowed).about(target.to_string()));
            }
            Address::Session(session_id) => ChannelName::session(*session_id),
            Address::User(user_id) => ChannelName::user(user_id),
            Address::Topic(_) | Address::Broadcast(_) | Address::Bridge => {
                return Err(ClientError::new(ErrorCode::DurableTargetInvalid).about(target.to_string()));
            }
        };
        let receivers = self.peers_at(&target);
        if receivers.iter().any(|peer| !peer.may_hear(from)) {
            return Err(ClientError::new(ErrorCode::NotAllowed).about(target.to_string()));
        }
        Ok((channel, route, receivers))
    }

    /// The address a message goes to: its target, or the sender's agent.
    fn resolve(&self, from: &Peer, target: Option<&Address>) -> Result<Address, ClientError> {
        match target {
            Some(target) => Ok(target.clone()),
            None => self.default_agent(from).map(|agent_id| Address::Agent(agent_id.clone())).map_err(ClientError::from),
        }
    }
}
