//! The task behind a door: moves frames and commands between the socket, the machine and the door's
//! handles.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use common::{
    close::CloseCode,
    id::{ClientName, TopicName},
};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as SocketError, Message,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};
use transport::{Socket, Upgraded, clock::now_ms};

use super::{
    calls::{Call, Outcome},
    events::{Effect, Event, Moment},
    incoming::Incoming,
    machine::Machine,
    outgoing::Outgoing,
    reading::Positions,
    state::DoorState,
    way::{Fault, Opening, Way},
};

/// How long closing may take.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes that a connection buffers in each direction while it is idle.
const BUFFER: usize = 4 * 1024;

/// The commands of a door's handles to its task.
#[derive(Debug)]
pub enum Command {
    /// Send, at most once.
    Send(Outgoing),
    /// Send and wait.
    Call { message: Outgoing, call: Call, due_ms: u64, answer: oneshot::Sender<Outcome> },
    /// End a subscription.
    Unsubscribe(TopicName),
    /// Acknowledge.
    Acknowledge { channel: String, seq: u64 },
    /// Return the receiver's positions.
    Positions(oneshot::Sender<Positions>),
    /// Return the client name.
    Client(oneshot::Sender<Option<ClientName>>),
    /// Accept nothing more, and close when nothing waits.
    Drain,
}

/// The ends of a task's channels.
pub struct Ends {
    pub commands: mpsc::Receiver<Command>,
    /// Asks to close now.
    pub hang_up: Arc<Notify>,
    pub inbox: mpsc::Sender<Incoming>,
    pub state: watch::Sender<DoorState>,
    /// The longest message that the broker accepts, in bytes.
    pub frame_limit: Arc<AtomicUsize>,
    /// The longest message that is read, in bytes.
    pub longest: usize,
}

/// The result of polling the socket.
enum Traffic {
    Text(Incoming),
    /// Nothing for the receiver, but a sign of life.
    Heard,
    /// The last frame of a door that is being drained is written.
    Written,
    Closed(Option<CloseFrame>),
    Broken(String),
}

struct Shell<W: Way> {
    machine: Machine,
    ends: Ends,
    socket: Option<WebSocketStream<W::Socket>>,
    /// Messages for which the receiver has no room yet: while there are any, the socket is not
    /// read. At most a few.
    held: VecDeque<Incoming>,
    answers: HashMap<String, oneshot::Sender<Outcome>>,
    /// Whether any handle is left.
    has_holders: bool,
}

/// Runs a door until it is closed for good.
pub async fn run<W: Way>(way: W, machine: Machine, ends: Ends) {
    let mut shell: Shell<W> =
        Shell { machine, ends, socket: None, held: VecDeque::new(), answers: HashMap::new(), has_holders: true };
    let mut dialling = pin!(None);
    loop {
        if let Some(opening) = shell.carry_out().await {
            dialling.set(Some(way.open(opening)));
        }
        if shell.is_over() {
            return;
        }
        let due = shell.machine.next_due();
        let Shell { machine, ends, socket, held, has_holders, .. } = &mut shell;
        let (may_read, takes_commands) = (held.is_empty(), *has_holders && machine.has_room());
        let turn = tokio::select! {
            dialled = dialled(dialling.as_mut()) => Turn::Dialled(dialled),
            traffic = std::future::poll_fn(|task| look_at(socket.as_mut(), machine, may_read, task)) => Turn::Traffic(traffic),
            permit = ends.inbox.reserve(), if !may_read => {
                match (permit, held.pop_front()) {
                    (Ok(permit), Some(message)) => permit.send(message),
                    // Nobody wants to read.
                    _ => held.clear(),
                }
                continue;
            }
            command = ends.commands.recv(), if takes_commands => Turn::Command(command),
            () = ends.hang_up.notified() => Turn::HangUp,
            () = until(due) => Turn::Due,
        };
        match turn {
            Turn::Dialled(dialled) => {
                dialling.set(None);
                shell.on_dialled(dialled).await;
            }
            Turn::Traffic(traffic) => shell.on_traffic(traffic),
            Turn::Command(command) => shell.on_command(command),
            Turn::HangUp => shell.tell(Event::Close),
            Turn::Due => {
                if !may_read {
                    // The connection is not being read, so its silence does not count.
                    shell.tell(Event::Heard);
                }
                shell.tell(Event::Due);
            }
        }
    }
}

/// The reason for a wake-up.
enum Turn<S> {
    Dialled(Result<Upgraded<S>, Fault>),
    Traffic(Traffic),
    Command(Option<Command>),
    HangUp,
    Due,
}

impl<W: Way> Shell<W> {
    fn tell(&mut self, event: Event) {
        // Only the random waits use it. If it fails, they are not spread.
        let dice = getrandom::u64().unwrap_or(u64::MAX);
        self.machine.on_event(event, Moment { now_ms: now_ms(), dice });
    }

    /// Carries out the machine's effects. Returns the dial that must begin, if any.
    async fn carry_out(&mut self) -> Option<Opening> {
        let mut dial = None;
        while let Some(effect) = self.machine.next_effect() {
            match effect {
                Effect::Connect(opening) => dial = Some(opening),
                Effect::Deliver(message) => self.deliver(message),
                Effect::Resolve(id, outcome) => {
                    if let Some(answer) = self.answers.remove(&id) {
                        // A caller that no longer waits does not need it.
                        let _ = answer.send(outcome);
                    }
                }
                Effect::HangUp(code, reason) => {
                    if let Some(socket) = self.socket.take() {
                        let _ = timeout(GOODBYE, say_goodbye(socket, code, reason)).await;
                    }
                }
                Effect::Drop => {
                    if let Some(mut socket) = self.socket.take() {
                        // This also sends the answer to the broker's close.
                        let _ = timeout(GOODBYE, socket.flush()).await;
                    }
                }
                Effect::Moved => {
                    self.ends.frame_limit.store(self.machine.frame_limit(), Relaxed);
                    self.ends.state.send_replace(self.machine.state().clone());
                }
            }
        }
        dial
    }

    fn deliver(&mut self, message: Incoming) {
        if !self.held.is_empty() {
            return self.held.push_back(message);
        }
        if let Err(mpsc::error::TrySendError::Full(message)) = self.ends.inbox.try_send(message) {
            self.held.push_back(message);
        }
    }

    fn is_over(&self) -> bool {
        let is_closed = matches!(self.machine.state(), DoorState::Closed(_));
        is_closed && (self.held.is_empty() || self.ends.inbox.is_closed())
    }

    async fn on_dialled(&mut self, dialled: Result<Upgraded<W::Socket>, Fault>) {
        match dialled {
            Ok(upgraded) => {
                self.socket = Some(frames_of(upgraded, self.ends.longest).await);
                self.tell(Event::Connected);
            }
            Err(fault) => self.tell(Event::NotConnected(fault)),
        }
    }

    fn on_traffic(&mut self, traffic: Traffic) {
        let event = match traffic {
            Traffic::Text(message) => Event::Message(message),
            Traffic::Heard => Event::Heard,
            Traffic::Written => Event::Written,
            Traffic::Closed(Some(frame)) => {
                Event::CloseReceived { code: CloseCode(frame.code.into()), reason: frame.reason.to_string() }
            }
            Traffic::Closed(None) => Event::CloseReceived { code: CloseCode::NO_CODE, reason: String::new() },
            Traffic::Broken(why) => {
                self.socket = None;
                Event::Lost(why)
            }
        };
        self.tell(event);
    }

    fn on_command(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Send(message)) => self.tell(Event::Send(message)),
            Some(Command::Call { message, call, due_ms, answer }) => {
                if self.answers.contains_key(message.message_id()) {
                    let _ = answer.send(Err(super::error::DoorError::DuplicateId));
                    return;
                }
                self.answers.insert(message.message_id().to_owned(), answer);
                self.tell(Event::Call(message, call, due_ms));
            }
            Some(Command::Unsubscribe(topic)) => self.tell(Event::Unsubscribe(topic)),
            Some(Command::Acknowledge { channel, seq }) => self.tell(Event::Acknowledge(channel, seq)),
            Some(Command::Positions(answer)) => {
                let _ = answer.send(self.machine.positions().clone());
            }
            Some(Command::Client(answer)) => {
                let _ = answer.send(self.machine.client().cloned());
            }
            Some(Command::Drain) => self.tell(Event::Drain),
            None => {
                self.has_holders = false;
                self.tell(Event::Drain);
            }
        }
    }
}

/// Writes what waits, and reads if the receiver has room. Cancelling it loses nothing.
fn look_at<S: Socket>(
    socket: Option<&mut WebSocketStream<S>>,
    machine: &mut Machine,
    may_read: bool,
    task: &mut Context<'_>,
) -> Poll<Traffic> {
    let Some(socket) = socket else { return Poll::Pending };
    let written = loop {
        match socket.poll_ready_unpin(task) {
            Poll::Pending => break Ok(()),
            Poll::Ready(Err(error)) => break Err(error),
            Poll::Ready(Ok(())) => {}
        }
        let Some(text) = machine.next_frame() else {
            break match socket.poll_flush_unpin(task) {
                Poll::Ready(Ok(())) if machine.is_drained() => return Poll::Ready(Traffic::Written),
                Poll::Ready(flushed) => flushed,
                Poll::Pending => Ok(()),
            };
        };
        if let Err(error) = socket.start_send_unpin(Message::text(text)) {
            break Err(error);
        }
    };
    if may_read && let Poll::Ready(read) = socket.poll_next_unpin(task) {
        return Poll::Ready(traffic_of(read));
    }
    match written {
        Ok(()) => Poll::Pending,
        // A connection that is closing accepts no more, and still has something to read.
        Err(SocketError::ConnectionClosed | SocketError::AlreadyClosed | SocketError::Protocol(_)) if may_read => Poll::Pending,
        Err(error) => Poll::Ready(Traffic::Broken(error.to_string())),
    }
}

fn traffic_of(read: Option<Result<Message, SocketError>>) -> Traffic {
    match read {
        Some(Ok(Message::Text(text))) => match Incoming::parse(text) {
            Ok(message) => Traffic::Text(message),
            Err(error) => {
                tracing::warn!(%error, "a frame from the broker cannot be read");
                Traffic::Heard
            }
        },
        Some(Ok(Message::Close(frame))) => Traffic::Closed(frame),
        Some(Ok(_)) => Traffic::Heard,
        Some(Err(error)) => Traffic::Broken(error.to_string()),
        None => Traffic::Broken("the connection ended without a close".to_owned()),
    }
}

async fn frames_of<S: Socket>(upgraded: Upgraded<S>, longest: usize) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_message_size(Some(longest))
        .max_frame_size(Some(longest));
    let Upgraded { socket, leftover } = upgraded;
    WebSocketStream::from_partially_read(socket, leftover.to_vec(), Role::Client, Some(config)).await
}

async fn say_goodbye<S: Socket>(mut socket: WebSocketStream<S>, code: CloseCode, reason: &'static str) {
    let frame = CloseFrame { code: code.0.into(), reason: reason.into() };
    if socket.close(Some(frame)).await.is_ok() {
        // Until the broker has read it, and so everything before it.
        while socket.next().await.is_some_and(|read| read.is_ok()) {}
    }
}

async fn dialled<T>(dialling: Pin<&mut Option<impl Future<Output = T>>>) -> T {
    match dialling.as_pin_mut() {
        Some(dialling) => dialling.await,
        None => std::future::pending().await,
    }
}

async fn until(due_ms: Option<u64>) {
    match due_ms {
        Some(due) => tokio::time::sleep(Duration::from_millis(due.saturating_sub(now_ms()))).await,
        None => std::future::pending().await,
    }
}
