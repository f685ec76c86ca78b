//! How a router handles the work that connections give it.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use actix::{Context, Handler};
use common::{close::CloseCode, connection::ConnectionState, message::SystemMessage};
use transport::{CloseMode, clock::now_ms};

use super::{
    actor::RouterActor,
    ask::{Call, tell_outcome},
    dispatch::Dispatch,
    login::close_strangers,
    work::{Asked, Attach, Detach, Marked, Post, RegisterFrame, Work},
};
use crate::{
    audit::Event,
    keys,
    peers::{Peer, PeerKind},
    routing::{Attached, NAME_TAKEN_OVER, Route, TAKEN_OVER},
    state::Changed,
    statistics::Probe,
};

impl Handler<Work> for RouterActor {
    type Result = ();

    fn handle(&mut self, work: Work, ctx: &mut Self::Context) {
        self.counters.mailbox.fetch_sub(1, Relaxed);
        if work.peer().is_cut() {
            return;
        }
        match work {
            Work::Dispatch(dispatch) => {
                self.on_dispatch(dispatch, ctx);
            }
            Work::Post(Post { from, message, routed }) => {
                if self.on_dispatch(Dispatch { from, message }, ctx) {
                    // A sender that has gone does not need it.
                    let _ = routed.send(());
                }
            }
            Work::Ask(asked) => self.on_ask(asked, ctx),
            Work::Mark(Marked { peer, given }) => self.on_arrived(&peer, given, ctx),
            Work::Identify(identify) => self.on_identify(identify, ctx),
        }
    }
}

impl RouterActor {
    /// Routes a message. Returns whether it is on its way; if not, its sender was told why.
    fn on_dispatch(&mut self, Dispatch { from, message }: Dispatch, ctx: &mut Context<Self>) -> bool {
        if message.is_durable {
            let (sender, frame) = (Arc::clone(&from), message.frame.clone());
            let accepted = self.dispatch_durable(Dispatch { from, message }, ctx);
            return accepted.map_err(|error| self.refuse_frame(&sender, error, &frame)).is_ok();
        }
        let router = self.broker.router.read();
        // It may have been cut off while this waited for the lock.
        if from.is_cut() {
            return false;
        }
        let outcome = router.dispatch(&from, &message);
        drop(router);
        match outcome {
            Ok(routed) => {
                let frame_bytes = message.frame.len();
                self.counters.on_message(message.family, routed.route, message.bytes_in, routed.deliveries, frame_bytes);
                if let Some(slow) = routed.pause_for {
                    from.hold(slow);
                }
                if message.deadline_ms.is_some() {
                    self.watch_requests(from, ctx);
                }
                true
            }
            Err(error) => {
                self.refuse_frame(&from, error, &message.frame);
                false
            }
        }
    }

    fn on_ask(&mut self, Asked { peer, ask, id, family, bytes }: Asked, ctx: &mut Context<Self>) {
        self.counters.on_message(family, Route::Bridge, bytes, 0, 0);
        let call = Call { router: self, peer: &peer, id: id.clone(), ctx };
        let outcome = ask.serve(call);
        tell_outcome(outcome, &peer, id.as_deref(), |peer, error, id| self.refuse(peer, error, id));
    }
}

impl Handler<Attach> for RouterActor {
    type Result = ();

    fn handle(&mut self, Attach { peer, description, asked_by }: Attach, ctx: &mut Self::Context) {
        if peer.is_cut() {
            // It waited for its turn, and has gone, or a newer one waits.
            return;
        }
        let mut router = self.broker.router.write();
        // The key or the session may have ended between the handshake and now. This is checked
        // under the lock: a connection that is registered later than others were closed is found
        // here.
        let attached = match self.ended(&peer) {
            Some((code, reason)) => Attached::refuse(&peer, code, reason),
            // The copy is for the next attempt, if it has to wait.
            None => router.attach(&peer, description.clone(), now_ms()),
        };
        let (older, replaced, strangers) = match attached {
            Attached::Here { older, replaced, strangers } => (older, replaced, strangers),
            Attached::Waits { replaced, warn_of } => {
                drop(router);
                if let Some(holder) = warn_of {
                    warn_of_fight(&holder, &peer);
                }
                close_replaced(replaced);
                Self::attach_later(Attach { peer, description, asked_by }, ctx);
                return;
            }
            Attached::Refused(code, reason) => {
                drop(router);
                self.broker.audit.note_peer(Event::Refusal, &peer, reason);
                peer.link.close(code, reason, CloseMode::Discard);
                return;
            }
        };
        let behind = Self::hold_back(&self.broker.channels, &peer);
        drop(router);
        close_replaced(replaced);
        close_strangers(strangers);
        self.welcome(&peer, behind, ctx);
        let how = match &peer.kind {
            PeerKind::Agent(_) => peer.pass.as_ref().map(|pass| format!(" with key {}", pass.name())),
            PeerKind::Session(identity) => identity.dialect.map(|dialect| format!(" by dialect {}", dialect.as_str())),
        };
        self.broker.audit.note_peer(Event::Connection, &peer, &format!("connected{}", how.unwrap_or_default()));
        self.broker.state.do_send(Changed { id: peer.id, state: ConnectionState::Active });
        if let Some(older) = older {
            tracing::info!(peer = peer.address(), older = %older.id, newer = %peer.id, "taken over");
            let (code, reason) = match &peer.kind {
                PeerKind::Agent(_) => (CloseCode::TAKEN_OVER, TAKEN_OVER),
                PeerKind::Session(_) => (CloseCode::NAME_TAKEN_OVER, NAME_TAKEN_OVER),
            };
            older.link.close(code, reason, CloseMode::Discard);
        }
        if let Some(RegisterFrame { id }) = asked_by
            && let PeerKind::Agent(agent_id) = &peer.kind
            && let Some(agent) = self.broker.router.read().agent(agent_id).cloned()
        {
            let agent_id = agent_id.clone();
            peer.answer(&SystemMessage::AgentRegistered { agent_id, agent: Box::new(agent) }, id.as_deref());
        }
    }
}

impl Handler<Detach> for RouterActor {
    type Result = ();

    fn handle(&mut self, Detach { peer, reason, for_good }: Detach, _: &mut Self::Context) {
        peer.with_requests(|requests| drop(requests.expire(u64::MAX)));
        self.durable.let_down(&peer);
        if for_good && !peer.is_cut() && peer.reading.is_named_by_edge() {
            // Before it is removed: the next one with its name must find nothing.
            self.forget_client(&peer);
        }
        self.broker.router.write().detach(&peer, &reason, now_ms());
        if peer.has_come() {
            self.broker.audit.note_peer(Event::Connection, &peer, &format!("disconnected: {reason}"));
        }
    }
}

impl RouterActor {
    /// How to close a connection whose key or session has ended since its handshake.
    fn ended(&self, peer: &Peer) -> Option<(CloseCode, &'static str)> {
        if let PeerKind::Session(identity) = &peer.kind {
            let row = self.broker.authentication.revocations.check(identity).err()?.row();
            return Some((row.close.unwrap_or(CloseCode::SESSION_ENDED), row.meaning));
        }
        let code = self.broker.authentication.keys.closed_since(peer.pass.as_ref()?)?;
        Some((code, keys::reason(code)))
    }

    /// Attaches a connection again when its turn has come.
    fn attach_later(attach: Attach, ctx: &Context<Self>) {
        let peer = Arc::clone(&attach.peer);
        Self::after(ctx, async move { peer.called_in().await }, |router, (), ctx| router.handle(attach, ctx));
    }
}

impl Handler<Probe> for RouterActor {
    type Result = ();

    fn handle(&mut self, probe: Probe, _: &mut Self::Context) {
        self.broker.statistics.times.on_probe(&probe);
    }
}

/// Several connections want the same agent id, more often than is healthy.
fn warn_of_fight(holder: &Peer, waiting: &Peer) {
    let key = |peer: &Peer| peer.pass.as_ref().map(|pass| pass.name().to_owned()).unwrap_or_default();
    let origin = |peer: &Peer| peer.origin().unwrap_or_default();
    tracing::warn!(
        agent = waiting.address(),
        key = key(waiting),
        address = origin(waiting),
        holder_key = key(holder),
        holder_address = origin(holder),
        "several connections take this agent id over from each other: a newer one has to wait"
    );
}

/// Closes a connection that waited for an agent id and was replaced by a newer one.
fn close_replaced(replaced: Option<Arc<Peer>>) {
    if let Some(peer) = replaced {
        peer.link.close(CloseCode::TAKEN_OVER, TAKEN_OVER, CloseMode::Discard);
    }
}
