//! The WebSocket of a dialect's client: an actor that moves its bytes, and a handle for the shell.
//!
//! The socket has the limits of every socket of the transport: the length of messages, the outbox,
//! the heartbeat, slow readers. Besides, it is not read while [`WAITING`] messages wait for the
//! shell, while its own outbox is too full, or while it sends more than its rate.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll, Waker},
    time::Duration,
};

use actix::{Actor, ActorContext, AsyncContext, Context};
use actix_web::{HttpRequest, HttpResponse};
use common::{
    close::CloseCode,
    error::ClientError,
    rate::{Bucket, Rate},
};
use transport::{
    CloseMode, End, Frame, FrameError, Inbound, Lane, Link, Message, MessageReader, Pump, Sent, Step, Upgraded, clock::now_ms,
    frame::Origin, message::MessageLimits, sweeper,
};

use super::host::SocketRules;

/// The most messages that wait for the shell.
const WAITING: usize = 16;
/// The most bytes of those; one message may be longer.
const WAITING_BYTES: usize = 64 * 1024;

/// What the actor and the handle share. Both live on one thread.
#[derive(Default)]
struct Waiting {
    messages: VecDeque<String>,
    bytes: usize,
    is_over: bool,
    /// Wakes the shell.
    reader: Option<Waker>,
    /// Wakes the task that reads the socket.
    pump: Option<Waker>,
}

type Shared = Rc<RefCell<Waiting>>;

/// The handle of a client's socket. Dropping it closes the socket.
pub struct ClientSocket {
    shared: Shared,
    link: Arc<Link>,
    rate: Rate,
    bucket: Bucket,
    /// A message was taken that is not paid for yet.
    owes: bool,
}

impl ClientSocket {
    /// The next message; `None` when the socket is closed or closing. May be cancelled: no message
    /// is lost then.
    pub async fn recv(&mut self) -> Option<String> {
        self.recv_if(true).await
    }

    /// The same, but unless `may_read` it only waits for the end.
    pub async fn recv_if(&mut self, may_read: bool) -> Option<String> {
        while may_read && self.owes {
            match self.rate.take(&mut self.bucket, 1, Duration::from_millis(now_ms())) {
                Ok(()) => self.owes = false,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
        let message = poll_fn(|task| self.shared.borrow_mut().poll_next(may_read, task)).await;
        self.owes |= message.is_some();
        message
    }

    /// Sends a message. A client that leaves no room for it in its outbox is closed as too slow,
    /// because later messages would not make sense without this one.
    pub fn send(&self, text: &str) {
        if self.link.send(Lane::Normal, Frame::text(text)) == Sent::Dropped {
            self.link.close(CloseCode::SLOW_CONSUMER, "read too slowly", CloseMode::Discard);
        }
    }

    /// Closes the socket, after what was sent.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.link.close(code, reason, CloseMode::Flush);
    }

    /// Whether the socket is closed or closing: what is sent now does not arrive.
    pub fn is_over(&self) -> bool {
        self.shared.borrow().is_over || self.link.closing().is_some()
    }

    /// Its outbox, for the host.
    pub fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        self.link.close(CloseCode::NORMAL, "", CloseMode::Flush);
    }
}

impl Waiting {
    fn poll_next(&mut self, may_read: bool, task: &mut Task<'_>) -> Poll<Option<String>> {
        let Some(message) = may_read.then(|| self.messages.pop_front()).flatten() else {
            if self.is_over {
                return Poll::Ready(None);
            }
            self.reader = Some(task.waker().clone());
            return Poll::Pending;
        };
        self.bytes -= message.len();
        if let Some(pump) = self.pump.take() {
            pump.wake();
        }
        Poll::Ready(Some(message))
    }

    fn poll_room(&mut self, task: &mut Task<'_>) -> Poll<()> {
        if self.has_room() || self.is_over {
            return Poll::Ready(());
        }
        self.pump = Some(task.waker().clone());
        Poll::Pending
    }

    fn has_room(&self) -> bool {
        self.messages.len() < WAITING && self.bytes < WAITING_BYTES
    }

    /// Adds a message. Returns whether there is room for another.
    fn put(&mut self, message: &str) -> bool {
        self.bytes += message.len();
        self.messages.push_back(message.to_owned());
        self.wake_reader();
        self.has_room()
    }

    /// Nothing more comes. What waits is still read.
    fn end(&mut self) {
        self.is_over = true;
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// Answers a handshake, and runs `converse` with the socket on this thread. `link` was made for it
/// with the rules' policy.
///
/// # Errors
/// The request is not a WebSocket handshake.
pub fn accept<F>(
    request: &HttpRequest,
    rules: &SocketRules,
    link: Arc<Link>,
    converse: impl FnOnce(ClientSocket) -> F + 'static,
) -> Result<HttpResponse, ClientError>
where
    F: Future<Output = ()> + 'static,
{
    let SocketRules { limits, messages: rate, .. } = *rules;
    transport::accept(request, move |upgraded| {
        let shared = Shared::default();
        let socket =
            ClientSocket { shared: Rc::clone(&shared), link: Arc::clone(&link), rate, bucket: Bucket::default(), owes: false };
        SocketActor { start: Some((upgraded, limits)), link, shared }.start();
        actix_rt::spawn(converse(socket));
    })
}

/// Runs the pump of one socket.
struct SocketActor {
    start: Option<(Upgraded, MessageLimits)>,
    link: Arc<Link>,
    shared: Shared,
}

impl Actor for SocketActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some((Upgraded { socket, leftover }, limits)) = self.start.take() else { return };
        sweeper::watch(Arc::clone(&self.link));
        let inbound = TextInbound { reader: MessageReader::new(Origin::Client, limits), peer_close: None };
        ctx.spawn(Pump::new(socket, leftover, Arc::clone(&self.link), inbound));
    }
}

struct TextInbound {
    reader: MessageReader,
    peer_close: Option<End>,
}

impl Inbound<SocketActor> for TextInbound {
    fn poll_ready(&mut self, actor: &mut SocketActor, task: &mut Task<'_>) -> Poll<()> {
        if actor.shared.borrow_mut().poll_room(task).is_pending() {
            return Poll::Pending;
        }
        actor.link.poll_open(task)
    }

    fn on_bytes(&mut self, actor: &mut SocketActor, bytes: &mut [u8], _: &mut Context<SocketActor>) -> Result<Step, FrameError> {
        let Self { reader, peer_close } = self;
        reader.feed(bytes, |message| {
            match message {
                Message::Text(text) => {
                    if !actor.shared.borrow_mut().put(text) {
                        return Step::Pause;
                    }
                }
                Message::Ping(payload) => {
                    actor.link.send(Lane::Control, Frame::pong(payload));
                }
                Message::Pong(_) => {}
                Message::Close(close) => {
                    let (code, reason) = close.unwrap_or((CloseCode::NO_CODE, ""));
                    *peer_close = Some(End { code, reason: reason.to_owned() });
                    actor.link.close(code.to_send(), "", CloseMode::Discard);
                    actor.shared.borrow_mut().end();
                }
            }
            Step::Continue
        })
    }

    fn on_closing(&mut self, actor: &mut SocketActor, _: CloseCode, _: &mut Context<SocketActor>) {
        actor.shared.borrow_mut().end();
    }

    fn peer_close(&self) -> Option<End> {
        self.peer_close.clone()
    }

    fn on_end(&mut self, actor: &mut SocketActor, end: End, ctx: &mut Context<SocketActor>) {
        tracing::debug!(code = end.code.0, reason = %end.reason, "dialect connection ended");
        actor.shared.borrow_mut().end();
        ctx.stop();
    }
}
