//! Readers: receivers that connect, catch up, subscribe, and read history.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::Context;
use common::{
    error::{ClientError, ErrorCode},
    id::TopicName,
    message::{LostRecords, Recovery, SystemMessage},
    timestamp::unix_ms,
};
use foldhash::HashSet;
use store::{ChannelName, ConsumerId, StoreError};

use super::{HeldBack, channel_ask::Subscription, in_turn::Turn};
use crate::{
    durable::{CatchUp, Channels, Died},
    peers::Peer,
    routing::Members,
    shard::actor::RouterActor,
};

/// How long inboxes are held back for a receiver that has announced a `connection:resume`.
const RESUME_WAIT: Duration = Duration::from_secs(10);

/// The content of the answer to a subscriber.
struct Subscribed {
    topic: TopicName,
    presence: bool,
    members: Members,
    seq: u64,
    recovery: Option<Recovery>,
    /// Whether a position is already stored for it, which only its reading moves.
    has_position: bool,
    id: Option<String>,
}

const NOT_KEPT: &str = "The store's disk is nearly full. The subscription is live, but it is not stored, and not restored \
                        after a reconnect. Subscribe again later.";

/// Positions were not stored. On a disk that is nearly full that is no news.
pub(super) fn report_unkept(error: &StoreError) {
    match error {
        StoreError::DiskReserve { .. } => tracing::debug!(%error, "positions were not stored"),
        _ => tracing::warn!(%error, "positions were not stored"),
    }
}

impl RouterActor {
    /// A receiver connects. Must be called under the router's write lock, so that nothing is
    /// delivered to it before what waits for it.
    pub(in crate::shard) fn hold_back(channels: &Arc<Channels>, peer: &Arc<Peer>) -> HeldBack {
        let is_known = |session_id| channels.may_have_kept_of_edge(session_id);
        let may_have_been_here =
            peer.reading.may_have_been_here() || (peer.reading.is_named_by_edge() && peer.session_id().is_some_and(is_known));
        let read_before = may_have_been_here.then(|| peer.broadcasts()).into_iter().flatten();
        let broadcasts = read_before.map(|channel| channels.fall_behind(&channel, peer, channels.head(&channel)));
        // A reader of topics stays behind in its inboxes, so it gets none of the messages that
        // other connections acknowledge.
        let waiting = peer.inboxes().filter(|channel| peer.reading.topics_only || channels.may_have_pending(channel));
        HeldBack {
            may_have_been_here,
            broadcasts: broadcasts.collect(),
            inboxes: waiting.map(|channel| channels.fall_behind(&channel, peer, 0)).collect(),
        }
    }

    /// A receiver has connected: delivers what waits, or first waits for its positions.
    pub(in crate::shard) fn welcome(&mut self, peer: &Arc<Peer>, held: HeldBack, ctx: &mut Context<Self>) {
        if peer.reading.topics_only {
            self.durable.held.insert(peer.id, held);
            return;
        }
        for channel in peer.inboxes().filter(|channel| self.durable.channels.has_untold(channel)) {
            self.tell_of_deaths(peer, channel);
        }
        if let Some(session_id) = peer.session_id()
            && (held.may_have_been_here || !held.inboxes.is_empty())
        {
            self.durable.channels.note_session(session_id);
        }
        if held.may_have_been_here {
            self.durable.restoring.insert(peer.id, HashSet::default());
        }
        self.durable.held.insert(peer.id, held);
        if !peer.reading.resume {
            self.let_go(peer, ctx);
            return;
        }
        self.durable.held_until.push_back((Instant::now() + RESUME_WAIT, Arc::clone(peer)));
        self.tick_durable(ctx);
    }

    /// Stops waiting for receivers that have taken too long.
    pub(super) fn let_late_ones_go(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        while self.durable.held_until.front().is_some_and(|(until, _)| *until <= now)
            && let Some((_, peer)) = self.durable.held_until.pop_front()
        {
            self.let_go(&peer, ctx);
        }
    }

    /// A receiver reads one more inbox from now on: delivers what waits there.
    pub(in crate::shard) fn open_inbox(&mut self, catch_up: CatchUp, ctx: &mut Context<Self>) {
        if self.durable.channels.has_untold(&catch_up.channel) {
            self.tell_of_deaths(&catch_up.peer, catch_up.channel.clone());
        }
        self.start_catch_up(catch_up, ctx);
    }

    /// The receiver need not be waited for any longer: what it has not named itself continues from
    /// the stored position.
    pub(super) fn let_go(&mut self, peer: &Arc<Peer>, ctx: &mut Context<Self>) {
        if peer.reading.topics_only {
            return;
        }
        let Some(HeldBack { may_have_been_here, inboxes, broadcasts }) = self.durable.held.remove(&peer.id) else { return };
        if may_have_been_here {
            self.restore(Arc::clone(peer), broadcasts, ctx);
        }
        inboxes.into_iter().for_each(|catch_up| self.start_catch_up(catch_up, ctx));
    }

    fn tell_of_deaths(&self, peer: &Arc<Peer>, channel: ChannelName) {
        let (channels, peer) = (Arc::clone(&self.durable.channels), Arc::clone(peer));
        actix_rt::spawn(async move {
            match channels.take_untold(&channel).await {
                Ok(Died { count: 0, .. }) => {}
                Ok(Died { count, is_exact: exact }) => {
                    let lost = LostRecords { count: Some(count), exact, dead_lettered: count, through: None };
                    let channel = channel.to_string();
                    peer.tell(&SystemMessage::LostRecords { channel, reason: "dead letters", lost });
                }
                Err(error) => tracing::warn!(%channel, %error, "the dead letters of an inbox cannot be counted"),
            }
        });
    }

    /// Starts a reader's catch-up.
    pub(super) fn start_catch_up(&mut self, catch_up: CatchUp, ctx: &mut Context<Self>) {
        let (peer, channel) = (Arc::clone(&catch_up.peer), catch_up.channel.clone());
        if channel.family().is_inbox() && peer.hand.is_some() {
            // The catch-up may take long: without acknowledgements there are no free places.
            self.durable.look_by(&peer, &channel, Instant::now() + self.durable.channels.ack_timeout());
            self.tick_durable(ctx);
        }
        let is_kept = channel.family().is_inbox() || peer.consumer.is_some();
        let broker = Arc::clone(&self.broker);
        let running = async move {
            catch_up.run(|channel, seq| broker.on_delivery(channel, seq), |dead| broker.on_dead_letters(dead)).await
        };
        Self::after(ctx, running, move |router, given, ctx| {
            if given > 0 && !peer.link.is_over() {
                if is_kept {
                    router.durable.on_given(Arc::clone(&peer), channel, given);
                }
                // If the connection breaks now, this catch-up need not be repeated.
                peer.ask_what_has_come();
                router.durable.to_ask.insert(peer.id, peer);
                router.tick_durable(ctx);
            }
        });
    }

    /// The receiver no longer reads a log.
    pub(super) fn stop_reading(&mut self, peer: &Peer, channel: &ChannelName) {
        self.durable.checked.remove(&(peer.id, channel.clone()));
        peer.marks.lock().forget(channel);
        self.durable.channels.forget(channel, peer.id);
    }

    /// `topic:subscribe`: live at once for ephemeral messages; durable ones begin where the
    /// subscriber says, or with the retained value. Gives the turn back once it is answered;
    /// `None`: that comes later.
    pub(super) fn on_subscribe(
        &mut self,
        peer: &Arc<Peer>,
        subscription: Subscription,
        id: Option<String>,
        turn: Turn,
        ctx: &mut Context<Self>,
    ) -> Option<Turn> {
        let Subscription { topic, presence, from } = subscription;
        let channel = ChannelName::topic(&topic);
        let channels = Arc::clone(&self.durable.channels);
        let (members, catch_up) = {
            let mut router = self.broker.router.write();
            let was_there = router.subscribes(peer.id, &topic);
            let members = match router.subscribe(peer, &topic, presence) {
                Ok(members) => members,
                Err(error) => {
                    drop(router);
                    self.refuse(peer, error, id.as_deref());
                    return Some(turn);
                }
            };
            let is_loaded = channels.is_loaded(&channel);
            let seq = channels.head(&channel);
            if from.is_none() && is_loaded && (seq == 0 || was_there) {
                // Nothing is stored, or nothing changes.
                (members, Err((seq, was_there)))
            } else {
                (members, Ok(channels.fall_behind(&channel, peer, seq)))
            }
        };
        let mut catch_up = match catch_up {
            Ok(catch_up) => catch_up,
            Err((seq, has_position)) => {
                let subscribed = Subscribed { topic, presence, members, seq, recovery: None, has_position, id };
                return self.on_subscribed(peer, subscribed, None, turn, ctx);
            }
        };
        // What it was sent before says nothing about what it has after the new start.
        peer.marks.lock().forget(&channel);
        let (locating, start) = (channel.clone(), from.clone());
        let located = async move {
            channels.load(locating.clone()).await?;
            match &start {
                Some(start) => channels.locate(&locating, start).await.map(Some),
                None => Ok(None),
            }
        };
        let peer = Arc::clone(peer);
        Self::after(ctx, located, move |router, place, ctx| {
            let Ok(place) = place.inspect_err(|error| tracing::warn!(%channel, %error, "a topic cannot be read")) else {
                router.broker.router.write().unsubscribe(&peer, &topic);
                router.stop_reading(&peer, &channel);
                router.refuse(&peer, ErrorCode::StoreUnavailable.into(), id.as_deref());
                router.end_turn(turn, ctx);
                return;
            };
            if !router.broker.router.read().subscribes(peer.id, &topic) {
                // It has gone: its own requests wait until this one is answered.
                router.stop_reading(&peer, &channel);
                router.end_turn(turn, ctx);
                return;
            }
            catch_up.with_retained = place.is_none();
            let (after, recovery) = match place {
                Some(place) => {
                    catch_up.begin_at(&place);
                    (place.after, Some(place.recovery))
                }
                None => {
                    let head = catch_up.head_at_start();
                    catch_up.starts_after(head);
                    (head, None)
                }
            };
            let subscribed = Subscribed { topic, presence, members, seq: after, recovery, has_position: false, id };
            if let Some(turn) = router.on_subscribed(&peer, subscribed, Some(catch_up), turn, ctx) {
                router.end_turn(turn, ctx);
            }
        });
        None
    }

    /// Answers a subscriber, and starts its catch-up. If it has a client name, the subscription is
    /// on the disk before the answer. If its edge has named it, which may be any browser, the
    /// answer does not wait. Gives the turn back once it is answered.
    fn on_subscribed(
        &mut self,
        peer: &Arc<Peer>,
        subscribed: Subscribed,
        catch_up: Option<CatchUp>,
        turn: Turn,
        ctx: &mut Context<Self>,
    ) -> Option<Turn> {
        let Subscribed {
            topic,
            presence,
            members: Members { count: member_count, listed: members },
            seq,
            recovery,
            has_position,
            id,
        } = subscribed;
        let (channel, epoch) = (ChannelName::topic(&topic), self.durable.channels.epoch().to_string());
        let answer = SystemMessage::TopicSubscribed { topic, epoch, seq, recovery, member_count, members };
        // A subscription from before stays at the position that its reading has reached.
        let known = self.durable.checked.get(&(peer.id, channel.clone())).map(|(_, seq)| *seq);
        let position = if has_position { known } else { Some(seq) };
        let consumers = Self::consumers(peer, presence).zip(position);
        if let Some((_, position)) = consumers {
            self.watch_position(peer, &channel, position, ctx);
        }
        if consumers.is_some() {
            self.note_kept(peer);
        }
        let kept = consumers.map(|((own, other), position)| {
            let (store, payer) = (self.durable.channels.store(), self.owner_of(peer));
            let forgotten = store.drop_cursors(other, Some(vec![channel.clone()]));
            let kept = store.save_cursors(own, vec![(channel, position)], Some(payer), unix_ms());
            async move { forgotten.await.and(kept.await) }
        });
        let waits = kept.is_some() && !peer.reading.is_named_by_edge();
        if !waits {
            peer.answer(&answer, id.as_deref());
        }
        let peer = Arc::clone(peer);
        let keeping = async move {
            match kept {
                Some(kept) => kept.await,
                None => Ok(()),
            }
        };
        if waits {
            Self::after(ctx, keeping, move |router, kept, ctx| {
                match kept {
                    Ok(()) => drop(peer.answer(&answer, id.as_deref())),
                    Err(error) => {
                        report_unkept(&error);
                        let refused = match error {
                            StoreError::DiskReserve { .. } => ClientError::with_message(ErrorCode::StoreFull, NOT_KEPT),
                            _ => ErrorCode::StoreUnavailable.into(),
                        };
                        router.refuse(&peer, refused, id.as_deref());
                    }
                }
                if let Some(catch_up) = catch_up {
                    router.start_catch_up(catch_up, ctx);
                }
                router.end_turn(turn, ctx);
            });
            return None;
        }
        if let Some(catch_up) = catch_up {
            self.start_catch_up(catch_up, ctx);
        }
        actix_rt::spawn(async move {
            if let Err(error) = keeping.await {
                report_unkept(&error);
            }
        });
        Some(turn)
    }

    /// Something is stored for a client.
    pub(super) fn note_kept(&self, peer: &Peer) {
        if let Some(session_id) = peer.session_id().filter(|_| peer.reading.is_named_by_edge()) {
            self.durable.channels.note_kept_of_edge(session_id);
        }
    }

    /// The consumers under which the subscriptions of a peer are stored: those with this presence,
    /// and the others.
    pub(super) fn consumers(peer: &Peer, presence: bool) -> Option<(ConsumerId, ConsumerId)> {
        let client = peer.reading.client.as_ref()?;
        let consumer = |presence| ConsumerId::of_client(peer.address(), client, presence);
        Some((consumer(presence), consumer(!presence)))
    }

    /// `topic:unsubscribe`.
    pub(super) fn on_unsubscribe(&mut self, peer: &Arc<Peer>, topic: TopicName, id: Option<&str>) {
        let channel = ChannelName::topic(&topic);
        if let Some(ended) = self.durable.restoring.get_mut(&peer.id) {
            let most = self.broker.settings.limits.max_subscriptions;
            if ended.len() >= most && !ended.contains(&channel) {
                let message = "The subscriptions of this client are still being restored. Wait for `connection:resumed`.";
                self.refuse(peer, ClientError::with_message(ErrorCode::TooManyRequests, message), id);
                return;
            }
            ended.insert(channel.clone());
        }
        self.broker.router.write().unsubscribe(peer, &topic);
        self.stop_reading(peer, &channel);
        if let Some((one, other)) = Self::consumers(peer, false) {
            let store = self.durable.channels.store();
            let forgotten = [one, other].map(|consumer| store.drop_cursors(consumer, Some(vec![channel.clone()])));
            actix_rt::spawn(async move {
                for forgotten in forgotten {
                    if let Err(error) = forgotten.await {
                        tracing::warn!(%error, "a stored subscription was not removed");
                    }
                }
            });
        }
        peer.answer(&SystemMessage::TopicUnsubscribed { topic }, id);
    }

    /// Checks that a peer may read a channel.
    ///
    /// # Errors
    /// `not_allowed`.
    pub(crate) fn check_may_read(&self, peer: &Peer, channel: &ChannelName) -> Result<(), ClientError> {
        let checked = self.broker.router.read().check_read(&peer.as_caller(peer.login().as_deref()), channel);
        checked.map_err(|code| ClientError::new(code).about(channel.to_string()))
    }
}
