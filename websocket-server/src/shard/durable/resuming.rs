//! Receivers that come back: to positions that they name, or to stored ones.

use std::{collections::BTreeMap, sync::Arc};

use actix::Context;
use common::{
    error::{ClientError, ErrorCode},
    message::{KnownPosition, Recovery, Start, SystemMessage},
    timestamp::unix_ms,
};
use store::{Ack, ChannelFamily, ChannelName, StoreError};

use super::{in_turn::Turn, reading::report_unkept};
use crate::{
    durable::{CatchUp, STORE_WAIT, StartingPoint, start_after},
    peers::Peer,
    shard::actor::RouterActor,
};

/// A log that a client had subscribed to.
struct Kept {
    channel: ChannelName,
    seq: u64,
    presence: bool,
}

impl RouterActor {
    /// `connection:resume`: continues where the receiver says. Gives the turn back once it is
    /// answered; `None`: that comes later.
    pub(super) fn on_resume(
        &mut self,
        peer: &Arc<Peer>,
        positions: Vec<(ChannelName, KnownPosition)>,
        id: Option<String>,
        turn: Turn,
        ctx: &mut Context<Self>,
    ) -> Option<Turn> {
        match self.subscribe_to_all(peer, &positions) {
            Ok(catch_ups) => {
                self.resume(peer, positions, catch_ups, id, turn, ctx);
                None
            }
            Err(error) => {
                self.refuse(peer, error, id.as_deref());
                Some(turn)
            }
        }
    }

    /// Subscribes to the topics that a receiver names. Returns the catch-ups for the logs among the
    /// channels, in their order.
    ///
    /// # Errors
    /// `not_allowed`, and those of a subscription. Nothing was changed then.
    fn subscribe_to_all(
        &self,
        peer: &Arc<Peer>,
        positions: &[(ChannelName, KnownPosition)],
    ) -> Result<Vec<CatchUp>, ClientError> {
        for (channel, _) in positions.iter().filter(|(channel, _)| channel.family() != ChannelFamily::Topic) {
            self.check_may_read(peer, channel)?;
        }
        let channels = &self.durable.channels;
        let mut router = self.broker.router.write();
        let mut subscribed = Vec::new();
        for topic in positions.iter().filter_map(|(channel, _)| channel.as_topic()) {
            let was_there = router.subscribes(peer.id, &topic);
            let watches = router.watches(peer.id, &topic);
            if let Err(refused) = router.subscribe(peer, &topic, watches) {
                // Nothing is changed: stored subscriptions are restored from where they were.
                subscribed.iter().for_each(|topic| router.unsubscribe(peer, topic));
                return Err(refused);
            }
            if !was_there {
                subscribed.push(topic);
            }
        }
        let logs = positions.iter().map(|(channel, _)| channel).filter(|channel| !channel.family().is_inbox());
        Ok(logs.map(|channel| channels.fall_behind(channel, peer, channels.head(channel))).collect())
    }

    fn resume(
        &mut self,
        peer: &Arc<Peer>,
        positions: Vec<(ChannelName, KnownPosition)>,
        catch_ups: Vec<CatchUp>,
        id: Option<String>,
        turn: Turn,
        ctx: &mut Context<Self>,
    ) {
        let channels = Arc::clone(&self.durable.channels);
        let broker = Arc::clone(&self.broker);
        let named: Vec<_> = positions.iter().map(|(channel, _)| channel.clone()).collect();
        let locating = async move {
            let mut places = Vec::with_capacity(positions.len());
            for (channel, position) in positions {
                channels.load(channel.clone()).await?;
                let place = channels.locate(&channel, &start_after(&position)).await?;
                if channel.family().is_inbox()
                    && position.epoch == channels.epoch().to_string()
                    && let Some(through) = channels.handed_out_through(&channel, position.seq).await?
                {
                    // What it has need not be delivered again. What it, or a connection before it,
                    // has refused comes again: a position does not tell that it was used since.
                    let acked = channels.ack(channel.clone(), Ack::ThroughUnrefused(through)).await?;
                    broker.on_acknowledged(&channel, &acked);
                }
                places.push((channel, place));
            }
            Ok::<_, StoreError>(places)
        };
        let peer = Arc::clone(peer);
        Self::after(ctx, locating, move |router, places, ctx| match places {
            Ok(places) => {
                router.go_on(&peer, places, catch_ups, id.as_deref(), ctx);
                router.end_turn(turn, ctx);
            }
            Err(error) => {
                tracing::warn!(%error, "positions cannot be found");
                router.refuse(&peer, ErrorCode::StoreUnavailable.into(), id.as_deref());
                named.iter().for_each(|channel| router.stop_reading(&peer, channel));
                peer.link.close(
                    common::close::CloseCode::TRY_AGAIN_LATER,
                    "the store cannot be read",
                    transport::CloseMode::Flush,
                );
                router.end_turn(turn, ctx);
            }
        });
    }

    /// `catch_ups`: the catch-ups for those places that are in logs, in the same order.
    fn go_on(
        &mut self,
        peer: &Arc<Peer>,
        places: Vec<(ChannelName, StartingPoint)>,
        catch_ups: Vec<CatchUp>,
        id: Option<&str>,
        ctx: &mut Context<Self>,
    ) {
        if !self.broker.router.read().is_registered(peer) {
            // It has gone: no position must be stored for a client that may have left for good.
            return;
        }
        let told: BTreeMap<String, Recovery> =
            places.iter().map(|(channel, place)| (channel.to_string(), place.recovery.clone())).collect();
        let epoch = self.durable.channels.epoch().to_string();
        peer.answer(&SystemMessage::Resumed { epoch, channels: told }, id);
        let logs = places.into_iter().filter(|(channel, _)| !channel.family().is_inbox());
        // It has unsubscribed from others meanwhile.
        for ((channel, place), mut catch_up) in logs.zip(catch_ups).filter(|(_, catch_up)| catch_up.is_current()) {
            self.keep_position(peer, &channel, place.after);
            if peer.consumer.is_some() {
                self.watch_position(peer, &channel, place.after, ctx);
            }
            catch_up.begin_at(&place);
            self.start_catch_up(catch_up, ctx);
        }
        self.let_go(peer, ctx);
    }

    fn keep_position(&self, peer: &Peer, channel: &ChannelName, seq: u64) {
        if let Some(consumer) = &peer.consumer {
            self.note_kept(peer);
            let payer = self.owner_of(peer);
            let kept = self.durable.channels.store().save_cursors(
                consumer.clone(),
                vec![(channel.clone(), seq)],
                Some(payer),
                unix_ms(),
            );
            actix_rt::spawn(async move {
                if let Err(error) = kept.await {
                    report_unkept(&error);
                }
            });
        }
    }

    /// Restores what is stored for a named client: its subscriptions, from their positions.
    /// `broadcasts`: the catch-ups for those that reach it.
    pub(super) fn restore(&mut self, peer: Arc<Peer>, broadcasts: Vec<CatchUp>, ctx: &mut Context<Self>) {
        let Some((topics, with_presence)) = Self::consumers(&peer, false) else { return };
        let channels = Arc::clone(&self.durable.channels);
        let reader = Arc::clone(&peer);
        let reading = async move {
            loop {
                let kept = async {
                    let mut kept = Vec::new();
                    for (consumer, presence) in [(&topics, false), (&with_presence, true)] {
                        for (channel, seq) in channels.positions(consumer).await? {
                            channels.load(channel.clone()).await?;
                            kept.push(Kept { channel, seq, presence });
                        }
                    }
                    let mut places = Vec::with_capacity(kept.len());
                    for kept in kept {
                        let start = Start::After { epoch: None, seq: kept.seq };
                        let place = channels.locate(&kept.channel, &start).await?;
                        places.push((kept, place));
                    }
                    for channel in reader.broadcasts() {
                        if let Some(since) = reader.reading.away_since
                            && !places.iter().any(|(kept, _)| kept.channel == channel)
                        {
                            let place = channels.locate(&channel, &Start::Since(since)).await?;
                            places.push((Kept { channel, seq: place.after, presence: false }, place));
                        }
                    }
                    Ok::<_, StoreError>(places)
                };
                match kept.await {
                    Ok(places) => return Some(places),
                    Err(error) => tracing::warn!(%error, "the stored subscriptions of a client cannot be read"),
                }
                tokio::time::sleep(STORE_WAIT).await;
                if reader.link.is_over() {
                    return None;
                }
            }
        };
        Self::after(ctx, reading, move |router, places, ctx| {
            let ended = router.durable.restoring.remove(&peer.id).unwrap_or_default();
            if let Some(mut places) = places {
                places.retain(|(kept, _)| !ended.contains(&kept.channel));
                router.go_on_where_kept(&peer, places, broadcasts, ctx);
            }
        });
    }

    fn go_on_where_kept(
        &mut self,
        peer: &Arc<Peer>,
        places: Vec<(Kept, StartingPoint)>,
        mut broadcasts: Vec<CatchUp>,
        ctx: &mut Context<Self>,
    ) {
        let channels = Arc::clone(&self.durable.channels);
        let mut told = BTreeMap::new();
        let mut catch_ups = Vec::new();
        // For others it has named the position itself.
        broadcasts.retain(CatchUp::is_current);
        {
            let mut router = self.broker.router.write();
            if !router.is_registered(peer) {
                return;
            }
            for (Kept { channel, presence, .. }, place) in places {
                let mut catch_up = if let Some(topic) = channel.as_topic() {
                    if router.subscribes(peer.id, &topic) {
                        // It was faster, and has named the position itself.
                        continue;
                    }
                    if let Err(error) = router.subscribe(peer, &topic, presence) {
                        tracing::debug!(%channel, %error, "a subscription was not restored");
                        continue;
                    }
                    channels.fall_behind(&channel, peer, place.after)
                } else if let Some(at) = broadcasts.iter().position(|catch_up| catch_up.channel == channel) {
                    broadcasts.swap_remove(at)
                } else {
                    continue;
                };
                catch_up.begin_at(&place);
                catch_up.again_through = channels.head(&channel);
                catch_ups.push(catch_up);
                told.insert(channel.to_string(), place.recovery);
            }
        }
        if !told.is_empty() {
            let epoch = channels.epoch().to_string();
            peer.answer(&SystemMessage::Resumed { epoch, channels: told }, None);
        }
        for catch_up in &broadcasts {
            // New to this client: its position begins here.
            self.keep_position(peer, &catch_up.channel, catch_up.given());
        }
        for catch_up in catch_ups.into_iter().chain(broadcasts) {
            self.watch_position(peer, &catch_up.channel, catch_up.given(), ctx);
            self.start_catch_up(catch_up, ctx);
        }
    }

    /// A client that its edge had named left for good: nobody will come back to what is stored for
    /// it, unless the next client with this name is already connected.
    pub(in crate::shard) fn forget_client(&self, peer: &Peer) {
        if self.broker.router.read().has_namesake(peer) {
            return;
        }
        if let Some((one, other)) = Self::consumers(peer, false) {
            self.durable.channels.forget_client([one, other]);
        }
    }
}
