//! The RouterActor: one per worker thread. Only RouterActors dispatch, attach and subscribe.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, dev::SendError};
use common::{
    close::CloseCode,
    connection::ConnectionState,
    envelope::{Envelope, Family},
    error::{ClientError, ErrorCode},
    message::{AgentDescription, SystemMessage},
};
use foldhash::HashMap;
use transport::{CloseMode, Frame, clock::now_ms};

use super::{
    durable::DurableShard,
    login::{Identify, close_strangers},
    state::Changed,
};
use crate::{
    audit::Event,
    broker::Broker,
    durable::Given,
    keys,
    routing::{Attached, ConnectionId, Counters, NAME_TAKEN_OVER, Outgoing, Peer, PeerKind, Route, TAKEN_OVER},
    services::{Ask, Call},
};

/// Messages that may wait for a router. At the bound the connections of its thread stop reading.
const MAILBOX: usize = 4096;
/// How often requests are checked against their deadlines.
const DEADLINE_TICK: Duration = Duration::from_millis(25);

/// Work for a connection. As much may wait as the mailbox holds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Work {
    /// Route a message.
    Dispatch(Dispatch),
    /// Serve its request to a bridge service.
    Ask(Asked),
    /// Record what has reached it.
    Mark(Marked),
    /// Log its session in.
    Identify(Identify),
}

impl Work {
    /// The connection that the work is for.
    pub(super) fn peer(&self) -> &Peer {
        match self {
            Self::Dispatch(Dispatch { from: peer, .. })
            | Self::Ask(Asked { peer, .. })
            | Self::Mark(Marked { peer, .. })
            | Self::Identify(Identify { peer, .. }) => peer,
        }
    }
}

/// A message to be routed.
#[derive(Debug)]
pub struct Dispatch {
    /// The sender.
    pub from: Arc<Peer>,
    /// The message.
    pub message: Outgoing,
}

/// Register this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The connection.
    pub peer: Arc<Peer>,
    /// An agent's description of itself.
    pub description: AgentDescription,
    /// If it registered by `agent:register`: the id of that frame.
    pub registration: Option<Option<String>>,
}

/// Unregister this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The connection.
    pub peer: Arc<Peer>,
    /// The reason, for the others.
    pub reason: String,
    /// Whether it has left for good.
    pub for_good: bool,
}

/// The connection has answered a mark.
#[derive(Debug)]
pub struct Marked {
    /// The connection.
    pub peer: Arc<Peer>,
    /// What has reached it.
    pub given: Given,
}

/// A frame for a bridge service.
#[derive(Debug)]
pub struct Asked {
    /// The sender.
    pub peer: Arc<Peer>,
    /// The request.
    pub ask: Box<dyn Ask>,
    /// The id of the frame.
    pub id: Option<String>,
    /// The family of the frame, for the counters.
    pub family: Family,
    /// Bytes of the frame.
    pub bytes: usize,
}

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
        self.broker.report_router_death();
    }
}

impl RouterActor {
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

    /// How to close a connection whose key or session has ended since its handshake.
    fn ended(&self, peer: &Peer) -> Option<(CloseCode, &'static str)> {
        if let PeerKind::Session(identity) = &peer.kind {
            let row = self.broker.revocations.check(identity).err()?.row();
            return Some((row.close.unwrap_or(CloseCode::SESSION_ENDED), row.meaning));
        }
        let code = self.broker.keys.closed_since(peer.pass.as_ref()?)?;
        Some((code, keys::reason(code)))
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

impl Broker {
    /// Sends a peer an error. `sent`: the message that it is about.
    pub(super) fn refuse(&self, counters: &Counters, peer: &Peer, error: ClientError, id: Option<&str>, sent: Option<&str>) {
        counters.errors.count(error.code);
        self.note_refusal(Some(peer), None, &error, sent);
        peer.answer(&SystemMessage::Error(error), id);
    }
}

impl Handler<Work> for RouterActor {
    type Result = ();

    fn handle(&mut self, work: Work, ctx: &mut Self::Context) {
        self.counters.mailbox.fetch_sub(1, Relaxed);
        if work.peer().is_cut() {
            return;
        }
        match work {
            Work::Dispatch(dispatch) => self.on_dispatch(dispatch, ctx),
            Work::Ask(asked) => self.on_ask(asked, ctx),
            Work::Mark(Marked { peer, given }) => self.on_arrived(&peer, given, ctx),
            Work::Identify(identify) => self.on_identify(identify, ctx),
        }
    }
}

impl RouterActor {
    fn on_dispatch(&mut self, Dispatch { from, message }: Dispatch, ctx: &mut Context<Self>) {
        if message.is_durable {
            let (sender, frame) = (Arc::clone(&from), message.frame.clone());
            if let Err(error) = self.dispatch_durable(Dispatch { from, message }, ctx) {
                self.refuse_frame(&sender, error, &frame);
            }
            return;
        }
        let router = self.broker.router.read();
        // It may have been cut off while this waited for the lock.
        if from.is_cut() {
            return;
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
            }
            Err(error) => self.refuse_frame(&from, error, &message.frame),
        }
    }

    fn on_ask(&mut self, Asked { peer, ask, id, family, bytes }: Asked, ctx: &mut Context<Self>) {
        self.counters.on_message(family, Route::Bridge, bytes, 0, 0);
        let call = Call { router: self, peer: &peer, id: id.clone(), ctx };
        match ask.serve(call) {
            Ok(Some(answer)) => drop(peer.answer(&answer, id.as_deref())),
            Ok(None) => {}
            Err(error) => self.refuse(&peer, error, id.as_deref()),
        }
    }
}

impl Handler<Attach> for RouterActor {
    type Result = ();

    fn handle(&mut self, Attach { peer, description, registration }: Attach, ctx: &mut Self::Context) {
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
                Self::attach_later(Attach { peer, description, registration }, ctx);
                return;
            }
            Attached::Refused(code, reason) => {
                drop(router);
                self.broker.note_peer(Event::Refusal, &peer, reason);
                peer.link.close(code, reason, CloseMode::Discard);
                return;
            }
        };
        let behind = Self::hold_back(&self.broker.channels, &peer);
        drop(router);
        close_replaced(replaced);
        close_strangers(strangers);
        self.welcome(&peer, behind, ctx);
        let key = peer.pass.as_ref().map(|pass| format!(" with key {}", pass.name()));
        self.broker.note_peer(Event::Connection, &peer, &format!("connected{}", key.unwrap_or_default()));
        self.broker.state.do_send(Changed { id: peer.id, state: ConnectionState::Active });
        if let Some(older) = older {
            tracing::info!(peer = peer.address(), older = %older.id, newer = %peer.id, "taken over");
            let (code, reason) = match &peer.kind {
                PeerKind::Agent(_) => (CloseCode::TAKEN_OVER, TAKEN_OVER),
                PeerKind::Session(_) => (CloseCode::NAME_TAKEN_OVER, NAME_TAKEN_OVER),
            };
            older.link.close(code, reason, CloseMode::Discard);
        }
        if let Some(id) = registration
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
            self.broker.note_peer(Event::Connection, &peer, &format!("disconnected: {reason}"));
        }
    }
}

impl RouterActor {
    /// Attaches a connection again when its turn has come.
    fn attach_later(attach: Attach, ctx: &Context<Self>) {
        let peer = Arc::clone(&attach.peer);
        Self::after(ctx, async move { peer.called_in().await }, |router, (), ctx| router.handle(attach, ctx));
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

/// The handle of this thread's router. There is one per thread, shared by reference, so that the
/// mailbox's bound holds.
#[derive(Debug)]
pub struct Shard {
    broker: Weak<Broker>,
    router: Addr<RouterActor>,
    counters: Arc<Counters>,
}

thread_local! {
    static SHARDS: RefCell<Vec<Rc<Shard>>> = const { RefCell::new(Vec::new()) };
}

impl Shard {
    /// The shard of this thread, started at the first call.
    pub fn of(broker: &Arc<Broker>) -> Rc<Self> {
        SHARDS.with_borrow_mut(|shards| {
            shards.retain(|shard| shard.broker.strong_count() > 0 && shard.router.connected());
            let known = shards.iter().find(|shard| std::ptr::eq(shard.broker.as_ptr(), Arc::as_ptr(broker)));
            if let Some(shard) = known {
                return Rc::clone(shard);
            }
            let counters = broker.add_shard();
            let actor = RouterActor {
                broker: Arc::clone(broker),
                counters: Arc::clone(&counters),
                requesters: HashMap::default(),
                durable: DurableShard::new(broker, &counters),
            };
            let shard = Rc::new(Self { broker: Arc::downgrade(broker), router: actor.start(), counters });
            shards.push(Rc::clone(&shard));
            shard
        })
    }

    /// The counters of this shard.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Hands work to the router. Returns it if it did not fit into the mailbox.
    pub fn try_send(&self, work: Work) -> Option<Work> {
        self.counters.mailbox.fetch_add(1, Relaxed);
        let error = self.router.try_send(work).err()?;
        self.counters.mailbox.fetch_sub(1, Relaxed);
        match error {
            SendError::Full(work) => Some(work),
            // The router has ended, and the process will in a moment.
            SendError::Closed(_) => None,
        }
    }

    /// Registers a connection. Bounded by the number of connections, not by the mailbox: each does
    /// it once.
    pub fn attach(&self, attach: Attach) {
        self.router.do_send(attach);
    }

    /// Unregisters a connection. Bounded like [`Shard::attach`].
    pub fn detach(&self, detach: Detach) {
        self.router.do_send(detach);
    }
}
