//! Acknowledgements: requested, received, and what happens without them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{AsyncContext, Context};
use common::{
    error::{ClientError, ErrorCode},
    timestamp::unix_ms,
};
use store::{Ack, ChannelName};

use super::reading::report_unkept;
use crate::{
    durable::redeliver,
    peers::{Given, Peer},
    shard::actor::RouterActor,
};

/// How often marks are sent, and redeliveries are checked.
const TICK: Duration = Duration::from_millis(100);
/// How long to wait with messages that are due and could not be delivered again.
const RETRY: Duration = Duration::from_millis(500);

/// A message that its receiver could not use.
#[derive(Debug)]
pub struct NotUsable {
    /// Its number.
    pub seq: u64,
    /// Why.
    pub reason: String,
    /// How long to wait before it is delivered again, in milliseconds.
    pub delay_ms: u64,
}

impl RouterActor {
    /// The inboxes that a peer means: the one that it names, or else all that it reads.
    fn own_inboxes(peer: &Peer, named: Option<&str>) -> Result<Vec<ChannelName>, ClientError> {
        let is_meant = |channel: &ChannelName| named.is_none_or(|named| channel.as_str() == named);
        let meant: Vec<_> = peer.inboxes().filter(is_meant).collect();
        if meant.is_empty() {
            return Err(ClientError::with_message(ErrorCode::NotAllowed, "the channel is not an inbox of yours"));
        }
        Ok(meant)
    }

    /// `message:ack`.
    ///
    /// # Errors
    /// `not_allowed`: the inbox is not the peer's.
    pub(crate) fn on_ack(
        &mut self,
        peer: &Arc<Peer>,
        named: Option<&str>,
        ack: Ack,
        id: Option<String>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ClientError> {
        let inboxes = Self::own_inboxes(peer, named)?;
        peer.goes_on();
        if peer.waits_for_refused() {
            // It may have a place now for a message that it refused.
            for inbox in peer.inboxes() {
                self.durable.look_by(peer, &inbox, Instant::now());
            }
            self.tick_durable(ctx);
        }
        let ack = match ack {
            Ack::Through(through) => Ack::through_but(through, peer.refused_through(&inboxes, through)),
            other => other,
        };
        let (peer, broker, refuse) = (Arc::clone(peer), Arc::clone(&self.broker), self.refuser());
        let channels = &self.durable.channels;
        let acked = match &ack {
            Ack::Through(through) | Ack::ThroughUnrefused(through) => channels.acknowledge_through(inboxes, *through, Vec::new()),
            Ack::ThroughBut { through, kept } => channels.acknowledge_through(inboxes, *through, kept.clone()),
            Ack::Each(seqs) => channels.acknowledge_each(inboxes, seqs.clone()),
        };
        actix_rt::spawn(async move {
            match acked.await {
                Ok(acked) => {
                    // This also frees places of messages that another connection acknowledged
                    // before.
                    acked.iter().for_each(|(inbox, _)| peer.settle(inbox, &ack));
                    broker.on_all_acknowledged(&acked);
                }
                Err(error) => refuse(&peer, error, id.as_deref()),
            }
        });
        Ok(())
    }

    /// `message:nack`.
    ///
    /// # Errors
    /// `not_allowed`: the inbox is not the peer's.
    pub(crate) fn on_nack(
        &mut self,
        peer: &Arc<Peer>,
        named: Option<&str>,
        NotUsable { seq, reason, delay_ms }: NotUsable,
        id: Option<String>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ClientError> {
        let inboxes = Self::own_inboxes(peer, named)?;
        if peer.hand.is_none() {
            let message = "a message is refused on a connection with `ack=explicit`: this one acknowledges all that reaches it";
            return Err(ClientError::with_message(ErrorCode::InvalidPayload, message));
        }
        let delay = Duration::from_millis(delay_ms);
        peer.goes_on();
        let mut nacked = Vec::with_capacity(inboxes.len());
        for inbox in inboxes {
            peer.refuse_in_hand(&inbox, seq, delay);
            self.durable.look_by(peer, &inbox, Instant::now() + delay);
            nacked.push((self.durable.channels.nack(inbox.clone(), seq, delay, reason.clone()), inbox));
        }
        let (peer, refuse) = (Arc::clone(peer), self.refuser());
        actix_rt::spawn(async move {
            let mut waits = false;
            for (nacked, inbox) in nacked {
                match nacked.await {
                    Ok(Some(_)) => waits = true,
                    Ok(None) => peer.settle(&inbox, &Ack::Each(vec![seq])),
                    Err(_) => return refuse(&peer, ErrorCode::StoreUnavailable.into(), id.as_deref()),
                }
            }
            if !waits {
                let error = ClientError::with_message(ErrorCode::InvalidPayload, "no message with this `seq` waits for you");
                refuse(&peer, error, id.as_deref());
            }
        });
        self.tick_durable(ctx);
        Ok(())
    }

    /// `message:extend`: the receiver needs longer for a message.
    ///
    /// # Errors
    /// `not_allowed`, `message_not_held`.
    pub(crate) fn on_extend(peer: &Peer, named: Option<&str>, seq: u64, by: Duration) -> Result<(), ClientError> {
        // A number is used once in all channels.
        let is_held = Self::own_inboxes(peer, named)?.iter().any(|inbox| peer.extend(inbox, seq, by));
        if is_held { Ok(()) } else { Err(ErrorCode::MessageNotHeld.into()) }
    }

    /// Runs regularly, while there is anything to check.
    pub(super) fn tick_durable(&mut self, ctx: &mut Context<Self>) {
        let shard = &self.durable;
        let is_idle =
            shard.to_ask.is_empty() && shard.owing.is_empty() && shard.checked.is_empty() && shard.held_until.is_empty();
        if !shard.ticking && !is_idle {
            self.durable.ticking = true;
            ctx.run_later(TICK, |router, ctx| {
                router.durable.ticking = false;
                router.ask_what_has_come();
                router.redeliver_due(ctx);
                router.check_positions(ctx);
                router.let_late_ones_go(ctx);
                router.tick_durable(ctx);
            });
        }
    }

    /// Sends a mark to receivers that do not acknowledge themselves: its pong says that everything
    /// before it has arrived.
    fn ask_what_has_come(&mut self) {
        self.durable.to_ask.retain(|_, peer| {
            // A close may have discarded what waited: nothing says that it has arrived.
            if peer.link.is_over() || peer.link.closing().is_some() {
                return false;
            }
            peer.ask_regularly();
            peer.window.is_unmarked() || !peer.marks.lock().is_empty()
        });
    }

    /// What was sent to a receiver has arrived, because it has answered a mark.
    pub(in crate::shard) fn on_arrived(&mut self, peer: &Arc<Peer>, given: Given, ctx: &mut Context<Self>) {
        let (inboxes, logs): (Vec<_>, Vec<_>) = given.into_iter().partition(|(channel, _)| channel.family().is_inbox());
        if let Some(consumer) = &peer.consumer
            && !logs.is_empty()
        {
            self.note_kept(peer);
            let broker = Arc::clone(&self.broker);
            let router = broker.router.read();
            let (mut watched, mut others) = (Vec::new(), Vec::new());
            for (channel, seq) in logs {
                match channel.as_topic() {
                    // It may have unsubscribed while the mark was on its way.
                    Some(topic) if !router.subscribes(peer.id, &topic) => {}
                    Some(topic) if router.watches(peer.id, &topic) => watched.push((channel, seq)),
                    _ => others.push((channel, seq)),
                }
            }
            drop(router);
            for (channel, seq) in watched.iter().chain(&others) {
                self.watch_position(peer, channel, *seq, ctx);
            }
            let store = self.durable.channels.store();
            let mut kept = vec![store.save_cursors(consumer.clone(), others, Some(self.owner_of(peer)), unix_ms())];
            if let Some((watching, _)) = Self::consumers(peer, true).filter(|_| !watched.is_empty()) {
                kept.push(store.save_cursors(watching, watched, Some(self.owner_of(peer)), unix_ms()));
            }
            actix_rt::spawn(async move {
                for kept in kept {
                    if let Err(error) = kept.await {
                        report_unkept(&error);
                    }
                }
            });
        }
        for (channel, seq) in inboxes {
            let acked = self.durable.channels.ack(channel.clone(), Ack::Through(seq));
            let broker = Arc::clone(&self.broker);
            actix_rt::spawn(async move {
                match acked.await {
                    Ok(seqs) => broker.on_acknowledged(&channel, &seqs),
                    Err(error) => tracing::warn!(%error, "an acknowledgement was not stored"),
                }
            });
        }
    }

    /// The reader has got everything of a log up to a number.
    pub(super) fn watch_position(&mut self, peer: &Arc<Peer>, channel: &ChannelName, seq: u64, ctx: &mut Context<Self>) {
        self.durable.checked.insert((peer.id, channel.clone()), (Arc::clone(peer), seq));
        self.tick_durable(ctx);
    }

    /// Compares what readers are known to have with the newest message. A reader that turns out to
    /// be behind without anybody knowing continues from the log.
    fn check_positions(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        if now < self.durable.check_at {
            return;
        }
        self.durable.check_at = now + self.broker.settings.store.position_check;
        let router = self.broker.router.read();
        let reads =
            |channel: &ChannelName, peer: &Peer| channel.as_topic().is_none_or(|topic| router.subscribes(peer.id, &topic));
        self.durable.checked.retain(|(_, channel), (peer, _)| !peer.link.is_over() && reads(channel, peer));
        drop(router);
        let channels = &self.durable.channels;
        let mut behind = Vec::new();
        for ((id, channel), (peer, seq)) in &mut self.durable.checked {
            let head = channels.stored_head(channel, *id).unwrap_or(0);
            if head > *seq && !peer.marks.lock().knows(channel) {
                behind.push((channel.clone(), Arc::clone(peer), *seq));
                // Once for each gap, also if nothing of it can be read.
                *seq = head;
            }
        }
        for (channel, peer, seq) in behind {
            tracing::warn!(reader = peer.address(), %channel, seq, "a reader missed messages without notice and reads them again from the log");
            self.start_catch_up(self.durable.channels.fall_behind(&channel, &peer, seq), ctx);
        }
    }

    /// Delivers messages again that are due, also to a reader that catches up: it may hold messages
    /// and wait for places.
    fn redeliver_due(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        self.durable.owing.retain(|_, (peer, _)| !peer.link.is_over());
        let looks: Vec<_> = self.durable.owing.extract_if(|_, (_, look)| *look <= now).collect();
        for ((_, inbox), (peer, _)) in looks {
            if peer.next_due(&inbox) != Some(Duration::ZERO) {
                self.look_again(&peer, &inbox, TICK);
                continue;
            }
            let (channels, broker) = (Arc::clone(&self.durable.channels), Arc::clone(&self.broker));
            let looking = async move {
                let outcome = redeliver(&channels, &inbox, |dead| broker.on_dead_letters(dead)).await;
                (inbox, peer, outcome)
            };
            Self::after(ctx, looking, |router, (inbox, peer, outcome), ctx| {
                if let Err(error) = outcome {
                    tracing::warn!(channel = %inbox, %error, "messages that are due cannot be delivered again");
                }
                // Messages that are still due found no room or no place, or the store failed.
                router.look_again(&peer, &inbox, RETRY);
                router.tick_durable(ctx);
            });
        }
    }

    /// Checks again when a message of an inbox is due at a reader, but not before `earliest` has
    /// passed. A reader that holds nothing and is live needs no check: the next message brings one.
    fn look_again(&mut self, peer: &Arc<Peer>, inbox: &ChannelName, earliest: Duration) {
        let channels = &self.durable.channels;
        let wait = match peer.next_due(inbox) {
            Some(due) => due,
            None if channels.is_live(inbox, peer.id) => return,
            None => channels.ack_timeout(),
        };
        if !peer.link.is_over() {
            self.durable.look_by(peer, inbox, Instant::now() + wait.max(earliest));
        }
    }
}
