//! The RouterActor: one for each worker thread. Only RouterActors dispatch, attach and subscribe.
//!
//! This file has the actor's state. The files beside it have its work, each with methods of its
//! own.

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context};
use common::{
    envelope::Envelope,
    error::{ClientError, ErrorCode},
    message::SystemMessage,
};
use foldhash::HashMap;
use transport::{Frame, clock::now_ms};

use super::durable::DurableShard;
use crate::{
    broker::Broker,
    peers::{ConnectionId, Peer},
    routing::Counters,
};

/// Messages that may wait for a router. At the bound the connections of its thread stop reading.
const MAILBOX: usize = 4096;
/// How often requests are checked against their deadlines.
const DEADLINE_TICK: Duration = Duration::from_millis(25);

/// The actor.
#[derive(Debug)]
pub struct RouterActor {
    pub(super) broker: Arc<Broker>,
    pub(super) counters: Arc<Counters>,
    /// Peers of this thread with open requests. The timer that checks them runs only while there
    /// are any.
    requesters: HashMap<ConnectionId, Arc<Peer>>,
    pub(super) durable: DurableShard,
}

impl Actor for RouterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Drop for RouterActor {
    fn drop(&mut self) {
        self.broker.lifecycle.report_router_death();
    }
}

impl RouterActor {
    /// The router of a new shard.
    pub(super) fn new(broker: &Arc<Broker>, counters: &Arc<Counters>) -> Self {
        Self {
            broker: Arc::clone(broker),
            counters: Arc::clone(counters),
            requesters: HashMap::default(),
            durable: DurableShard::new(broker, counters),
        }
    }

    /// Checks the deadlines of this peer's requests. The timer runs only while there are any.
    pub(super) fn watch_requests(&mut self, peer: Arc<Peer>, ctx: &mut Context<Self>) {
        if self.requesters.is_empty() {
            ctx.run_later(DEADLINE_TICK, Self::check_deadlines);
        }
        self.requesters.insert(peer.id, peer);
    }

    fn check_deadlines(&mut self, ctx: &mut Context<Self>) {
        self.expire_requests(now_ms());
        if !self.requesters.is_empty() {
            ctx.run_later(DEADLINE_TICK, Self::check_deadlines);
        }
    }

    fn expire_requests(&mut self, now_ms: u64) {
        let counters = &self.counters;
        self.requesters.retain(|_, peer| {
            for (id, responder) in peer.with_requests(|requests| requests.expire(now_ms)) {
                let error = ClientError::new(ErrorCode::ReplyTimeout).about(responder);
                counters.errors.count(error.code);
                peer.answer(&SystemMessage::Error(error), Some(&id));
            }
            peer.has_requests()
        });
    }

    /// The state shared by all worker threads.
    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    pub(super) fn refuse(&self, peer: &Peer, error: ClientError, id: Option<&str>) {
        self.broker.refuse(&self.counters, peer, error, id, None);
    }

    /// The same, for work outside the router.
    pub(crate) fn refuser(&self) -> impl Fn(&Peer, ClientError, Option<&str>) + use<> {
        let (broker, counters) = (Arc::clone(&self.broker), Arc::clone(&self.counters));
        move |peer, error, id| broker.refuse(&counters, peer, error, id, None)
    }

    /// Refuses a message; its id is read from its frame.
    pub(super) fn refuse_frame(&self, peer: &Peer, error: ClientError, frame: &Frame) {
        let envelope = Envelope::parse(frame.payload_text(), usize::MAX).ok();
        let id = envelope.and_then(|envelope| envelope.id);
        self.broker.refuse(&self.counters, peer, error, id.as_deref(), Some(frame.payload_text()));
    }
}
