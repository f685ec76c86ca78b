//! `topic:subscribe`, `topic:unsubscribe` and `connection:resume`: served and answered in order.

use std::sync::Arc;

use actix::Context;
use common::error::{ClientError, ErrorCode};

use super::{
    channel_ask::{Asking, ChannelAsk},
    in_turn::{Full, Turn},
};
use crate::{peers::Peer, shard::actor::RouterActor};

impl RouterActor {
    /// Serves a request once all earlier ones of the connection about its channels are answered.
    ///
    /// # Errors
    /// `too_many_requests`: too many requests of the connection wait already.
    pub(crate) fn ask_in_turn(
        &mut self,
        peer: &Arc<Peer>,
        ask: ChannelAsk,
        id: Option<String>,
        ctx: &mut Context<Self>,
    ) -> Result<(), ClientError> {
        let most = self.broker.settings.limits.max_subscriptions;
        let asking = Asking { peer: Arc::clone(peer), id, ask };
        self.durable.in_turn.push(peer.id, asking.ask.channels(), asking, most).map_err(|Full| {
            let message = format!(
                "This connection has {most} requests that wait for earlier ones about the same channels. Wait for answers."
            );
            ClientError::with_message(ErrorCode::TooManyRequests, message)
        })?;
        self.serve_ready(ctx);
        Ok(())
    }

    /// A request was answered after a wait: others may have waited for it.
    pub(super) fn end_turn(&mut self, turn: Turn, ctx: &mut Context<Self>) {
        self.durable.in_turn.end(turn);
        self.serve_ready(ctx);
    }

    fn serve_ready(&mut self, ctx: &mut Context<Self>) {
        while let Some((turn, Asking { peer, ask, id })) = self.durable.in_turn.next() {
            let answered = if peer.is_cut() {
                Some(turn)
            } else {
                match ask {
                    ChannelAsk::Subscribe(subscription) => self.on_subscribe(&peer, subscription, id, turn, ctx),
                    ChannelAsk::Unsubscribe(topic) => {
                        self.on_unsubscribe(&peer, topic, id.as_deref());
                        Some(turn)
                    }
                    ChannelAsk::Resume(positions) => self.on_resume(&peer, positions, id, turn, ctx),
                }
            };
            if let Some(turn) = answered {
                self.durable.in_turn.end(turn);
            }
        }
    }
}
