//! The actor of one client. It keeps the client's session at the broker, and serves the client
//! through a [`Face`].
//!
//! The actor owns the connection to the broker (through the pump in its context), dials and waits,
//! the session's credentials, and the place among the open sockets. The face owns the client's
//! connection. The actor stops when both connections are gone.
//!
//! ```text
//!             start, on_linked, on_lost
//!  ProxyActor ─────────────────────────▶ Face ──▶ client
//!             poll_ready, on_frame, on_run, tell, close
//!
//!  ProxyActor ◀───────────────────────── Face ◀── client
//!             poll_uplink, uplink, pass_up, send_up, on_client_gone, on_client_end
//! ```

use std::{
    sync::Arc,
    task::{Context as Task, Poll, Waker},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle, WrapFuture};
use common::{
    assertion::{ClientIdentity, LoggedIn},
    backplane::ToEdge,
    close::CloseCode,
    error::{ClientError, ErrorCode},
    message::SystemMessage,
    timestamp,
};
use transport::{
    CloseMode, DialError, End, Frame, FrameError, Lane, Link, Pump, Sent, Socket, Upgraded, clock::now_ms, frame::FrameHeader,
    sweeper,
};

use super::{
    broker_side::{self, BrokerSide, Downstream},
    environment::{NoLink, ProxyEnvironment},
    frame_runs::Verdict,
    machine::{Effect, Event, Moment, ProxyMachine, State},
    uplink::{Batch, Dropped, Uplink},
};
use crate::{
    http::ClientAddress,
    sessions::{Order, SocketTicket},
};

/// The part of the proxy that speaks with a client, in one protocol: the WebSocket of browsers,
/// events over HTTP, or another. It owns the client's connection and nothing of the broker's.
pub trait Face: Sized + Unpin + 'static {
    /// The actor has started. The face begins to serve its client here, and reports the client's
    /// end later with [`ProxyActor::on_client_end`], exactly once.
    fn start(actor: &mut ProxyActor<Self>, ctx: &mut Context<ProxyActor<Self>>);

    /// There is a connection to the broker. What the face sends now goes before everything that
    /// waited.
    fn on_linked(_actor: &mut ProxyActor<Self>, _ctx: &mut Context<ProxyActor<Self>>) {}

    /// The connection to the broker is gone, or the first try failed. The actor tries again by
    /// itself.
    fn on_lost(_actor: &mut ProxyActor<Self>, _ctx: &mut Context<ProxyActor<Self>>) {}

    /// Ready when the client takes more. Until then the broker is not read.
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()>;

    /// A whole frame from the broker, as it came: text, its fragments, pings and pongs. Frames that
    /// the face takes are handed to [`Face::on_run`] together.
    ///
    /// # Errors
    /// The frame does not follow from the one before. The broker's connection is given up.
    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError>;

    /// The end of one read from the broker: the frames that the face took of it, end to end. Empty
    /// if it took none.
    fn on_run(actor: &mut ProxyActor<Self>, run: Vec<u8>, ctx: &mut Context<ProxyActor<Self>>);

    /// The edge itself says something to the client; `correlation_id` names the client's frame that
    /// it answers.
    fn tell(&mut self, message: &SystemMessage, correlation_id: Option<&str>);

    /// Whether the client has the beginning of a message whose end is still to come from the
    /// broker.
    fn is_inside_message(&self) -> bool;

    /// Closes the client's connection.
    fn close(&mut self, code: CloseCode, reason: &str);
}

/// See the module.
pub struct ProxyActor<F: Face> {
    pub(super) environment: Arc<ProxyEnvironment>,
    pub(super) identity: ClientIdentity,
    /// The address that is charged for signature checks.
    pub(super) address: ClientAddress,
    pub(super) ticket: SocketTicket,
    pub(super) face: F,
    /// Whether the face still serves the client.
    has_client: bool,
    /// Effects of the start of the machine.
    first: Vec<Effect>,
    machine: ProxyMachine,
    pub(super) uplink: Uplink,
    upstream: Upstream,
    /// How many connections to the broker there have been.
    dialled: u64,
    /// How many of their pumps have not ended.
    running: usize,
    /// Wakes the task that reads the client, which waits for the first dial.
    held_back: Option<Waker>,
    /// The login of the session, if the broker has still to be told of it.
    pub(super) logged_in: Option<Arc<LoggedIn>>,
    /// Whether credentials that the client has presented in-band are being checked.
    pub(super) is_refreshing: bool,
}

/// The broker's side.
enum Upstream {
    Nothing,
    /// A dial, or a wait before the next one.
    Pending(SpawnHandle),
    Open {
        number: u64,
        link: Arc<Link>,
    },
}

impl<F: Face> ProxyActor<F> {
    /// The actor of a client that `face` serves. The broker is told `identity`.
    pub fn new(
        environment: Arc<ProxyEnvironment>,
        identity: ClientIdentity,
        address: ClientAddress,
        ticket: SocketTicket,
        face: F,
    ) -> Self {
        let (machine, first) = ProxyMachine::start(environment.backoff);
        environment.counters.on_open(machine.state());
        Self {
            uplink: Uplink::new(environment.uplink),
            environment,
            identity,
            address,
            ticket,
            face,
            has_client: true,
            first,
            machine,
            upstream: Upstream::Nothing,
            dialled: 0,
            running: 0,
            held_back: None,
            logged_in: None,
            is_refreshing: false,
        }
    }

    /// Gives an event to the machine and carries out the effects.
    fn apply(&mut self, event: Event, ctx: &mut Context<Self>) {
        let before = self.machine.state();
        // Only the random waits use it. If it fails, they are not spread.
        let dice = getrandom::u64().unwrap_or(u64::MAX);
        let effects = self.machine.on_event(event, Moment { now_ms: now_ms(), dice });
        self.environment.counters.on_move(before, self.machine.state());
        for effect in effects {
            self.carry_out(effect, ctx);
        }
        self.stop_when_done(ctx);
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Dial => self.dial(ctx),
            Effect::RetryAfter(wait) => {
                let dice = getrandom::u64().unwrap_or(0);
                let sharing = Arc::clone(&self.environment.sharing);
                let due = async move { sharing.reach.until_due(wait, dice).await };
                let handle = ctx.spawn(due.into_actor(self).map(|(), actor, ctx| actor.apply(Event::RetryDue, ctx)));
                self.upstream = Upstream::Pending(handle);
            }
            Effect::TellLost { retry_in } => {
                let retry_in_ms = Some(timestamp::millis(retry_in));
                self.face.tell(&SystemMessage::Upstream { state: "lost", retry_in_ms }, None);
            }
            Effect::TellRestored => {
                self.environment.counters.on_restored();
                self.face.tell(&SystemMessage::Upstream { state: "restored", retry_in_ms: None }, None);
            }
            Effect::OpenUplink => self.open_uplink(ctx),
            Effect::HoldUplink => self.hold_uplink(ctx),
            Effect::CloseClient { code, reason } => self.face.close(code, &reason),
            Effect::CloseUpstream { code, reason } => {
                match std::mem::replace(&mut self.upstream, Upstream::Nothing) {
                    Upstream::Open { link, .. } => link.close(code, &reason, CloseMode::Flush),
                    Upstream::Pending(handle) => {
                        ctx.cancel_future(handle);
                    }
                    Upstream::Nothing => {}
                }
                self.release_client();
            }
        }
    }

    fn dial(&mut self, ctx: &mut Context<Self>) {
        self.environment.counters.on_dial();
        // The assertion already has the identity of the login.
        self.logged_in = None;
        let dial = Arc::clone(&self.environment).dial(self.identity.clone());
        let handle = ctx.spawn(dial.into_actor(self).map(|outcome, actor, ctx| actor.on_dial_outcome(outcome, ctx)));
        self.upstream = Upstream::Pending(handle);
    }

    fn on_dial_outcome(&mut self, outcome: Result<Upgraded<Box<dyn Socket>>, NoLink>, ctx: &mut Context<Self>) {
        let Upgraded { socket, leftover } = match outcome {
            Ok(upgraded) => upgraded,
            Err(error) => {
                self.environment.counters.on_failed_dial();
                tracing::debug!(session = %self.identity.session_id, %error, "broker cannot be reached");
                return self.apply(self.meaning_of(&error), ctx);
            }
        };
        self.identity.reading.resume = false;
        self.identity.reading.away_since = None;
        self.dialled += 1;
        let number = self.dialled;
        let link = Link::to_server(Arc::clone(&self.environment.upstream_policy));
        sweeper::watch(Arc::clone(&link));
        self.upstream = Upstream::Open { number, link: Arc::clone(&link) };
        let side = BrokerSide::new(number, self.environment.longest_from_broker);
        self.running += 1;
        ctx.spawn(Pump::new(socket, leftover, link, side));
        self.apply(Event::Dialled, ctx);
    }

    fn meaning_of(&self, error: &NoLink) -> Event {
        match error {
            // The session may have logged in during the dial, so its new identity may be valid.
            NoLink::Revoked(_) if self.environment.sharing.check(&self.identity).is_ok() => Event::DialFailed { status: None },
            NoLink::Revoked(ErrorCode::SessionEnded) => {
                Event::CloseOrdered { code: CloseCode::SESSION_ENDED, reason: "the session was ended" }
            }
            NoLink::Revoked(_) => {
                let reason = "the session has later credentials: come back with them";
                Event::CloseOrdered { code: CloseCode::CREDENTIALS_EXPIRED, reason }
            }
            NoLink::Failed(DialError::Refused { status, .. }) => Event::DialFailed { status: Some(*status) },
            NoLink::Failed(_) => Event::DialFailed { status: None },
        }
    }

    fn open_uplink(&mut self, ctx: &mut Context<Self>) {
        F::on_linked(self, ctx);
        let (held, dropped) = self.uplink.open();
        if dropped != Dropped::default() {
            let Dropped { messages, bytes } = dropped;
            self.environment.counters.on_dropped(messages, bytes);
            let message = format!(
                "{messages} messages ({bytes} bytes) that were sent while the broker was away did not fit the edge's queue \
                 and were dropped; send them again"
            );
            self.face.tell(&SystemMessage::Error(ClientError::with_message(ErrorCode::UpstreamUnavailable, message)), None);
        }
        self.announce_login();
        if !held.is_empty() {
            self.send_up(Lane::Normal, Frame::from_encoded(held));
        }
        self.release_client();
    }

    fn hold_uplink(&mut self, ctx: &mut Context<Self>) {
        self.environment.counters.on_lost();
        self.uplink.hold();
        self.upstream = Upstream::Nothing;
        F::on_lost(self, ctx);
        self.release_client();
    }

    /// Whether frames pass to the broker now.
    pub(super) fn is_linked(&self) -> bool {
        self.machine.is_linked()
    }

    /// Whether frames of the client are no longer needed.
    pub(super) fn is_over(&self) -> bool {
        self.machine.state().is_over()
    }

    /// Ready when the client may be read.
    pub(super) fn poll_uplink(&mut self, task: &mut Task<'_>) -> Poll<()> {
        if self.machine.is_first_dial() {
            self.held_back = Some(task.waker().clone());
            return Poll::Pending;
        }
        match &self.upstream {
            Upstream::Open { link, .. } => link.poll_open(task),
            Upstream::Nothing | Upstream::Pending(_) => Poll::Ready(()),
        }
    }

    fn release_client(&mut self) {
        if let Some(waker) = self.held_back.take() {
            waker.wake();
        }
    }

    /// Sends a frame to the broker, if there is a connection.
    pub(super) fn send_up(&mut self, lane: Lane, frame: Frame) -> Sent {
        match &self.upstream {
            Upstream::Open { link, .. } => link.send(lane, frame),
            Upstream::Nothing | Upstream::Pending(_) => Sent::Gone,
        }
    }

    /// Sends the messages of one read to the broker.
    pub(super) fn pass_up(&mut self, batch: Batch, ctx: &mut Context<Self>) {
        let Batch { bytes, messages } = batch;
        if bytes.is_empty() {
            return;
        }
        let length = bytes.len();
        match self.send_up(Lane::Normal, Frame::from_encoded(bytes.into())) {
            Sent::Queued | Sent::QueuedButPause => {}
            Sent::Dropped => self.uplink.on_undeliverable(messages, length),
            Sent::Gone => {
                self.uplink.on_undeliverable(messages, length);
                if let Upstream::Open { number, link } = &self.upstream {
                    let number = *number;
                    link.kill();
                    self.on_broker_lost(number, ctx);
                }
            }
        }
        self.announce_login();
    }

    /// The client closed with this code, vanished, or broke a rule, or it can no longer be reached.
    pub(super) fn on_client_gone(&mut self, code: CloseCode, reason: String, ctx: &mut Context<Self>) {
        self.apply(Event::ClientGone { code, reason }, ctx);
    }

    /// The client's connection has ended: the face has finished.
    pub(super) fn on_client_end(&mut self, end: End, ctx: &mut Context<Self>) {
        tracing::debug!(session = %self.identity.session_id, code = end.code.0, reason = %end.reason, "client connection ended");
        self.has_client = false;
        self.on_client_gone(end.code, end.reason, ctx);
    }

    fn on_broker_event(&mut self, event: Event, ctx: &mut Context<Self>) {
        self.identity.reading.away_since.get_or_insert_with(a_moment_ago);
        if self.face.is_inside_message() && self.machine.is_linked() {
            // The client has the beginning of a message whose end will never come. Only a new
            // connection helps.
            let reason = "the broker went away in the middle of a message";
            return self.apply(Event::CloseOrdered { code: CloseCode::SERVICE_RESTART, reason }, ctx);
        }
        self.apply(event, ctx);
    }

    fn stop_when_done(&self, ctx: &mut Context<Self>) {
        if self.running == 0 && !self.has_client && self.machine.state() == State::Closing {
            ctx.stop();
        }
    }
}

impl<F: Face> Downstream for ProxyActor<F> {
    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<()> {
        self.face.poll_ready(task)
    }

    fn on_frame(&mut self, header: &FrameHeader, frame: &mut [u8]) -> Result<Verdict, FrameError> {
        self.face.on_frame(header, frame)
    }

    fn on_run(&mut self, run: Vec<u8>, ctx: &mut Context<Self>) {
        F::on_run(self, run, ctx);
    }

    fn on_ask(&mut self, ask: ToEdge, ctx: &mut Context<Self>) {
        self.on_broker_ask(ask, ctx);
    }

    fn is_current(&self, number: u64) -> bool {
        matches!(&self.upstream, Upstream::Open { number: current, .. } if *current == number)
    }

    fn on_broker_close(&mut self, number: u64, end: &End, ctx: &mut Context<Self>) {
        let Upstream::Open { number: current, link } = &self.upstream else { return };
        if *current == number {
            broker_side::answer(link, end);
            self.on_broker_event(Event::UpstreamClosed { code: end.code, reason: end.reason.clone() }, ctx);
        }
    }

    fn on_broker_lost(&mut self, number: u64, ctx: &mut Context<Self>) {
        if self.is_current(number) {
            self.on_broker_event(Event::UpstreamLost, ctx);
        }
    }

    fn on_broker_end(&mut self, number: u64, end: &End, ctx: &mut Context<Self>) {
        tracing::debug!(session = %self.identity.session_id, code = end.code.0, reason = %end.reason, "broker connection ended");
        self.running = self.running.saturating_sub(1);
        self.on_broker_lost(number, ctx);
        self.stop_when_done(ctx);
    }
}

impl<F: Face> Actor for ProxyActor<F> {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        F::start(self, ctx);
        for effect in std::mem::take(&mut self.first) {
            self.carry_out(effect, ctx);
        }
        self.ticket.attach(actix::AsyncContext::address(ctx).recipient());
    }
}

impl<F: Face> Handler<Order> for ProxyActor<F> {
    type Result = ();

    fn handle(&mut self, order: Order, ctx: &mut Self::Context) {
        match order {
            Order::AnnounceDrain { close_within_ms } => {
                self.face.tell(&SystemMessage::Draining { reason: "restart", close_within_ms }, None);
            }
            Order::AnnounceExpiry { at } => self.tell_expiry(at),
            Order::LogIn(session, logged_in) => {
                session.vouch(&mut self.identity);
                self.on_login(logged_in);
            }
            Order::Hush => self.apply(Event::SessionEnded, ctx),
            Order::Close { code, reason } => self.apply(Event::CloseOrdered { code, reason }, ctx),
        }
    }
}

impl<F: Face> Drop for ProxyActor<F> {
    fn drop(&mut self) {
        self.environment.counters.on_gone(self.machine.state());
    }
}

/// A little before now, in milliseconds since 1970. The broker's last messages may have been lost
/// with the connection.
fn a_moment_ago() -> u64 {
    const MARGIN_MS: u64 = 1000;
    timestamp::unix_ms().saturating_sub(MARGIN_MS)
}
