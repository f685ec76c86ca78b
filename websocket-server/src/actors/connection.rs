//! What AgentActor and ClientSessionActor have in common: one connection, registered or not yet.

use std::{
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll},
};

use actix::{Actor, ActorContext, AsyncContext, Context};
use common::{
    assertion::{self, Reading},
    backplane::ToEdge,
    close::CloseCode,
    connection::ConnectionState,
    dialect::Dialect,
    envelope::{Envelope, EnvelopeError},
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId},
    message::{Ack, AgentDescription, Speaker, SystemMessage},
    secret::Secret,
};
use serde_json::value::RawValue;
use transport::{
    CloseMode, End, Frame, FrameError, Inbound, Lane, Link, Message, MessageReader, Pump, Socket, Step, Upgraded, clock::now_ms,
    frame::Origin, message::MessageLimits, sweeper,
};
use uuid::Uuid;

use super::{
    pace::{Pace, PaceAction},
    sending::outgoing,
};
use crate::{
    admissions::Admission,
    broker::Broker,
    peers::{ConnectionId, Pass, Peer, PeerKind, mark_of},
    shard::{Ask, Asked, Attach, Detach, Dispatch, Identify, Marked, RegisterFrame, Shard, Work},
    side::Side,
    state::{Changed, Opened},
};

/// The peer's names in the first frame, and the dialect that its client speaks.
#[derive(Debug, Default)]
pub struct Named {
    /// The agent; for a session, the one that it named.
    pub agent_id: Option<AgentId>,
    /// The session.
    pub session_id: Option<SessionId>,
    /// The edge's id of its socket.
    pub socket_id: Option<Uuid>,
    /// The dialect of a session's client.
    pub dialect: Option<Dialect>,
}

/// One connection, from its upgrade to its end. Unregisters itself when dropped, also after a panic
/// of its actor.
pub struct Connection {
    /// Names it.
    pub id: ConnectionId,
    /// Its outbox.
    pub link: Arc<Link>,
    /// What an agent's key allows.
    pub pass: Option<Pass>,
    broker: Arc<Broker>,
    admission: Admission,
    pace: Pace,
    shard: Rc<Shard>,
    peer: Option<Arc<Peer>>,
    /// Work that waits because the router's mailbox was full, or because the connection is not
    /// registered yet.
    waiting: Option<Work>,
    invalid_in_row: usize,
    end: Option<End>,
    /// The peer has left for good.
    has_left: bool,
}

/// An actor that has a connection.
pub trait ConnectionActor: Actor<Context = Context<Self>> + Unpin {
    /// The connection.
    fn connection(&mut self) -> &mut Connection;

    /// An envelope arrived.
    ///
    /// # Errors
    /// The refusal for the peer.
    fn on_envelope(&mut self, envelope: &Envelope<'_>) -> Result<Step, ClientError>;

    /// A text frame arrived.
    fn on_text(&mut self, text: &str) -> Step {
        let Some(envelope) = self.connection().read(text) else { return Step::Continue };
        self.on_envelope(&envelope).unwrap_or_else(|error| {
            self.connection().refuse(error, envelope.id.as_deref());
            Step::Continue
        })
    }
}

impl Connection {
    /// Takes over the socket: starts `actor` with the connection, and sends the first frame.
    pub fn start<A: ConnectionActor, S: Socket>(
        upgraded: Upgraded<S>,
        broker: &Arc<Broker>,
        admission: Admission,
        side: Side,
        named: Named,
        actor: impl FnOnce(Self, &mut Context<A>) -> A,
    ) {
        let link = Link::new(Arc::clone(&broker.link_policy));
        let id = ConnectionId::next();
        let limits = &broker.settings.limits;
        let message_limits = MessageLimits { max_bytes: broker.max_frame_bytes(side), max_fragments: limits.max_fragments };
        let inbound = PeerInbound { reader: MessageReader::new(Origin::Client, message_limits), peer_close: None };
        let dialect = named.dialect;
        link.send(Lane::Control, Frame::text(&first_frame(broker, side, id, named)));
        broker.state.do_send(Opened { id, side, link: Arc::clone(&link), dialect });
        sweeper::watch(Arc::clone(&link));
        let (shard, broker) = (Shard::of(broker), Arc::clone(broker));
        A::create(|ctx| {
            ctx.spawn(Pump::new(upgraded.socket, upgraded.leftover, Arc::clone(&link), inbound));
            let pace = Pace::new(broker.settings.rates.patience);
            let connection = Self {
                id,
                link,
                pass: None,
                broker,
                admission,
                pace,
                shard,
                peer: None,
                waiting: None,
                invalid_in_row: 0,
                end: None,
                has_left: false,
            };
            actor(connection, ctx)
        });
    }

    /// Registers the connection under its name. Happens once.
    pub fn register(&mut self, kind: PeerKind, reading: Reading, description: AgentDescription, asked_by: Option<RegisterFrame>) {
        let peer =
            Peer::new(self.id, kind, Arc::clone(&self.link), reading, self.pass.clone(), Arc::clone(self.admission.payers()));
        self.peer = Some(Arc::clone(&peer));
        self.shard.attach(Attach { peer, description, asked_by });
    }

    /// Reads a frame's head. `None`: the peer was told the error.
    pub fn read<'a>(&mut self, text: &'a str) -> Option<Envelope<'a>> {
        match Envelope::parse(text, self.broker.settings.limits.max_depth) {
            Ok(envelope) => {
                self.invalid_in_row = 0;
                Some(envelope)
            }
            Err(EnvelopeError { id, error }) => {
                self.invalid_in_row += 1;
                self.refuse(error, id.as_deref());
                if self.invalid_in_row >= self.broker.settings.limits.max_bad_frames {
                    self.shard.counters().errors.count(ErrorCode::TooManyInvalid);
                    self.link.close(CloseCode::TOO_MANY_INVALID, "too many invalid frames", CloseMode::Flush);
                }
                None
            }
        }
    }

    /// Sends the peer an error.
    pub fn refuse(&self, error: ClientError, id: Option<&str>) {
        self.shard.counters().errors.count(error.code);
        let origin = self.pass.as_ref().and_then(Pass::address);
        self.broker.audit.note_refusal(self.peer.as_deref(), origin, &error, None);
        self.answer(&SystemMessage::Error(error), id);
    }

    fn answer(&self, message: &SystemMessage, id: Option<&str>) {
        let address = self.peer.as_ref().map(|peer| peer.address());
        self.link.send(Lane::Control, Frame::text(&message.encode(Speaker::Bridge, address, id)));
    }

    /// Charges a frame of so many bytes to its payers. Returns whether to continue reading.
    fn charge(&mut self, bytes: usize) -> Step {
        if let Some(user) = self.peer.as_ref().and_then(|peer| peer.user_id())
            && let Err(code) = self.admission.join(user)
        {
            self.refuse(code.into(), None);
            self.link.close(CloseCode::TRY_AGAIN_LATER, "the user has as many connections as it may", CloseMode::Flush);
            return Step::Pause;
        }
        if !self.admission.is_metered() {
            return Step::Continue;
        }
        let now_ms = now_ms();
        let wait = self.admission.charge(bytes, now_ms);
        match self.pace.on_charged(wait, now_ms) {
            PaceAction::Go => return Step::Continue,
            PaceAction::Pause => {}
            PaceAction::PauseAndTell(wait) => self.refuse(ClientError::new(ErrorCode::RateLimited).after(wait), None),
            PaceAction::Close => {
                self.link.close(CloseCode::RATE_LIMITED, "sent more than it may for too long", CloseMode::Flush);
            }
        }
        Step::Pause
    }

    /// Hands the router a frame for a bridge service.
    pub fn ask(&mut self, envelope: &Envelope<'_>, ask: Box<dyn Ask>) -> Step {
        let Some(peer) = &self.peer else { return Step::Continue };
        let id = envelope.id.as_deref().map(str::to_owned);
        let (family, bytes) = (envelope.family(), envelope.text.len());
        let asked = Asked { peer: Arc::clone(peer), ask, id, family, bytes };
        self.submit(Work::Ask(asked))
    }

    /// Answers a ping.
    pub fn pong(&self, envelope: &Envelope<'_>) {
        let payload = envelope.payload.and_then(|payload| RawValue::from_string(payload.to_owned()).ok());
        self.answer(&SystemMessage::Pong(payload), envelope.id.as_deref());
    }

    /// Routes a frame by its target.
    pub fn route(&mut self, envelope: &Envelope<'_>) -> Step {
        let Some(peer) = &self.peer else { return Step::Continue };
        let message = match outgoing(&self.broker.settings.store, peer, envelope) {
            Ok(message) => message,
            Err(error) => {
                self.refuse(error, envelope.id.as_deref());
                return Step::Continue;
            }
        };
        self.submit(Work::Dispatch(Dispatch { from: Arc::clone(peer), message }))
    }

    /// The edge says that the session has logged in.
    pub fn identify(&mut self, assertion: &Secret, id: Option<&str>) -> Step {
        let Some(peer) = &self.peer else { return Step::Continue };
        match assertion::verify_login(assertion.reveal(), &self.broker.settings.broker.bridge_secret) {
            Ok(logged_in) => {
                let identify = Identify { peer: Arc::clone(peer), logged_in, id: id.map(str::to_owned) };
                self.submit(Work::Identify(identify))
            }
            Err(code) => {
                self.refuse(code.into(), id);
                Step::Continue
            }
        }
    }

    /// The client has sent later credentials, which its edge checks.
    pub fn pass_to_edge(&self, token: Secret, id: Option<&str>) {
        let ask = ToEdge::Refresh { id: id.map(str::to_owned), token };
        self.link.send(Lane::Control, Frame::binary(&ask.encode()));
    }

    fn submit(&mut self, work: Work) -> Step {
        self.waiting = if work.peer().has_come() { self.shard.try_send(work) } else { Some(work) };
        if self.waiting.is_some() { Step::Pause } else { Step::Continue }
    }

    /// The peer has answered a ping.
    fn on_pong(&mut self, payload: &[u8]) -> Step {
        let (Some(mark), Some(peer)) = (mark_of(payload), &self.peer) else { return Step::Continue };
        match peer.on_mark(mark) {
            Some(given) if !given.is_empty() => self.submit(Work::Mark(Marked { peer: Arc::clone(peer), given })),
            _ => Step::Continue,
        }
    }

    /// Unregisters the connection, unless that was done.
    fn unregister(&mut self, reason: &str) {
        if let Some(peer) = self.peer.take() {
            peer.let_go();
            self.shard.detach(Detach { peer, reason: reason.to_owned(), for_good: self.has_left });
        }
    }

    /// Ready when the next frame may be read: the router has room, and no receiver asks for a
    /// pause.
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()> {
        if self.pace.poll_ready(task).is_pending() {
            return Poll::Pending;
        }
        if self.waiting.as_ref().is_some_and(|work| !work.peer().has_come()) {
            // Its link wakes it when it is registered.
            return Poll::Pending;
        }
        if let Some(work) = self.waiting.take()
            && self.submit(work) == Step::Pause
        {
            // The router is on this thread and empties its mailbox before this task runs again.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(peer) = &self.peer else { return Poll::Ready(()) };
        while let Some(slow) = peer.held_by() {
            // A reader that waits for itself would wait for ever.
            if !Arc::ptr_eq(&slow, &self.link) && slow.poll_open(task).is_pending() {
                return Poll::Pending;
            }
            peer.release();
        }
        Poll::Ready(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.link.kill();
        let end = self
            .end
            .take()
            .unwrap_or_else(|| End { code: CloseCode::INTERNAL, reason: "the connection's actor failed".to_owned() });
        tracing::debug!(connection = %self.id, code = end.code.0, reason = end.reason, "closed");
        self.broker.state.do_send(Changed { id: self.id, state: ConnectionState::Closed(end.code) });
        self.unregister(&end.reason);
    }
}

/// Pauses if one of the two does.
fn either(one: Step, other: Step) -> Step {
    if one == Step::Pause { one } else { other }
}

fn first_frame(broker: &Broker, side: Side, id: ConnectionId, Named { agent_id, session_id, socket_id, .. }: Named) -> String {
    let target = match (&session_id, &agent_id) {
        (Some(session_id), _) => format!("session:{session_id}"),
        (None, Some(agent_id)) => format!("agent:{agent_id}"),
        (None, None) => String::new(),
    };
    let ack = Ack {
        protocol: 1,
        server: "agent-bridge",
        version: env!("CARGO_PKG_VERSION"),
        connection_id: id.to_string(),
        agent_id,
        session_id,
        socket_id,
        status: "connected",
        heartbeat: broker.announced_heartbeat(),
        limits: broker.announced_limits(side),
    };
    SystemMessage::Ack(Box::new(ack)).encode(Speaker::Bridge, Some(&target), None)
}

/// Turns the bytes of the connection into frames for its actor.
struct PeerInbound {
    reader: MessageReader,
    peer_close: Option<End>,
}

impl<A: ConnectionActor> Inbound<A> for PeerInbound {
    fn poll_ready(&mut self, actor: &mut A, task: &mut Task<'_>) -> Poll<()> {
        actor.connection().poll_ready(task)
    }

    fn on_bytes(&mut self, actor: &mut A, bytes: &mut [u8], _: &mut Context<A>) -> Result<Step, FrameError> {
        let Self { reader, peer_close } = self;
        reader.feed(bytes, |message| match message {
            Message::Text(text) => {
                let pace = actor.connection().charge(text.len());
                either(pace, actor.on_text(text))
            }
            Message::Ping(payload) => {
                let connection = actor.connection();
                connection.link.send(Lane::Control, Frame::pong(payload));
                connection.charge(payload.len())
            }
            Message::Pong(payload) => {
                let connection = actor.connection();
                either(connection.charge(payload.len()), connection.on_pong(payload))
            }
            Message::Close(close) => {
                let mut end = End::by_peer(close);
                if end.reason.is_empty() {
                    "the peer closed".clone_into(&mut end.reason);
                }
                actor.connection().has_left = end.code.is_leave();
                actor.connection().link.close(end.code.to_send(), "", CloseMode::Discard);
                *peer_close = Some(end);
                Step::Pause
            }
        })
    }

    fn on_closing(&mut self, actor: &mut A, code: CloseCode, _: &mut Context<A>) {
        let connection = actor.connection();
        connection.broker.state.do_send(Changed { id: connection.id, state: ConnectionState::Closing(code) });
        let reason = self.peer_close.as_ref().map_or("closed by the server", |end| end.reason.as_str());
        connection.unregister(reason);
    }

    fn peer_close(&self) -> Option<End> {
        self.peer_close.clone()
    }

    fn on_end(&mut self, actor: &mut A, end: End, ctx: &mut Context<A>) {
        actor.connection().end = Some(end);
        ctx.stop();
    }
}
