//! Durable messages: numbered, delivered live, and given to the store.

use std::sync::Arc;

use actix::Context;
use common::{
    address::Address,
    error::{ClientError, ErrorCode},
    id::AgentId,
};
use store::{ChannelName, Owner};

use crate::{
    durable::{Draft, Outcome, owner_key, refusal_of},
    peers::Peer,
    routing::{Destination, Router, StampedMessage, cancel_request},
    shard::{actor::RouterActor, dispatch::Dispatch},
    snapshot::save_new_agents,
};

impl RouterActor {
    /// To whom the store charges what a peer stores.
    pub(super) fn owner_of(&self, peer: &Peer) -> Arc<Owner> {
        let exempt = &self.broker.settings.limits.exempt_networks;
        peer.owner(|| self.durable.channels.store().owner(&owner_key(peer, exempt)))
    }

    /// Accepts a durable message.
    ///
    /// # Errors
    /// The error for the sender.
    pub(in crate::shard) fn dispatch_durable(&mut self, dispatch: Dispatch, ctx: &mut Context<Self>) -> Result<(), ClientError> {
        let Dispatch { from, message } = &dispatch;
        let router = self.broker.router.read();
        if from.is_cut() {
            return Ok(());
        }
        let Destination { address, route } = match router.destination(from, message) {
            Ok(destination) => destination,
            // What was accepted once is confirmed again, though its receiver may be out of reach
            // now, or not known any more.
            Err(error) => return if self.confirm_repeated(&router, from, message) { Ok(()) } else { Err(error) },
        };
        let channel = channel_of(&address).ok_or(ErrorCode::DurableTargetInvalid)?;
        if self.durable.loading.holds(&channel) {
            drop(router);
            return self.durable.loading.push(&channel, dispatch);
        }
        if let Address::Agent(agent_id) = &*address {
            self.write_agent(&router, agent_id);
        }
        let id = message.id.as_deref().unwrap_or_default();
        let owner = self.owner_of(from);
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
        if let Ok(Outcome::Accepted(accepted)) = &outcome {
            router.answer_requests(from, &address, message);
            router.hand_to_caller(from, &address, message, Some((channel.clone(), accepted.outstanding.seq)));
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
                let outstanding = accepted.outstanding;
                if message.receipt && accepted.deliveries > 0 {
                    self.broker.on_delivery(&channel, outstanding.seq);
                }
                for peer in accepted.delivered {
                    self.durable.on_given(peer, channel.clone(), outstanding.seq);
                }
                for way in accepted.fell_behind {
                    self.start_catch_up(way, ctx);
                }
                if message.deadline_ms.is_some() {
                    self.watch_requests(Arc::clone(from), ctx);
                }
                self.tick_durable(ctx);
                self.durable.confirmations.wait_for(Arc::clone(from), id.to_owned(), outstanding, accepted.committed);
            }
        }
        Ok(())
    }

    /// Gives the record of a message's agent to the store before the message, so that the agent is
    /// known after a crash too.
    fn write_agent(&self, router: &Router, agent_id: &AgentId) {
        let store = self.durable.channels.store();
        let Some(written) = router.write_agent(agent_id, |agents| save_new_agents(store.as_ref(), &agents)) else { return };
        let (broker, agent_id) = (Arc::clone(&self.broker), agent_id.clone());
        actix_rt::spawn(async move {
            if let Err(error) = written.await {
                tracing::warn!(%agent_id, %error, "an agent could not be stored: after a crash the broker may not know it");
                broker.router.read().on_agent_not_written(&agent_id);
            }
        });
    }

    /// Confirms a message again if its sender has sent it before. Returns whether it has.
    fn confirm_repeated(&self, router: &Router, from: &Arc<Peer>, message: &StampedMessage) -> bool {
        let address = router.resolve(from, message.target.as_ref()).ok();
        let (Some(channel), Some(id)) = (address.and_then(|address| channel_of(&address)), message.id.as_deref()) else {
            return false;
        };
        let Some(accepted) = self.durable.channels.first_of(&channel, from.address(), id) else { return false };
        self.durable.confirmations.wait_for(Arc::clone(from), id.to_owned(), accepted.outstanding, accepted.committed);
        true
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
                        Err(refusal_of(error))
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
