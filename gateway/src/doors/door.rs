//! The handles of a door.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    address::Address,
    assertion::{Reading, Signer},
    id::{ClientName, TopicName},
    message::{LostRecords, Start},
    timestamp::millis,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::timeout,
};
use transport::clock::now_ms;

use super::{
    calls::Call,
    error::{DoorError, Ending},
    incoming::{Incoming, Position},
    machine::Machine,
    options::{AgentEntrance, AgentOptions, SessionEntrance, SessionOptions, Tuning},
    outgoing::Outgoing,
    reading::Positions,
    shell::{Command, Ends, run},
    state::DoorState,
    way::{AgentSocket, AgentThroughPipe, SessionSocket, SessionThroughPipe},
};

/// The longest time limit of a request.
const LONGEST_REQUEST: Duration = Duration::from_millis(common::envelope::MAX_TIMEOUT_MS as u64);
/// How much longer than the broker a request waits: the broker's own error says more than a
/// time-out.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// The sending half of a door. Clones are the same door. When the last is dropped, what waits is
/// sent and the door closes.
#[derive(Clone, Debug)]
pub struct Door {
    commands: mpsc::Sender<Command>,
    state: watch::Receiver<DoorState>,
    frame_limit: Arc<AtomicUsize>,
    call_limit: Duration,
    /// Makes the task close at once, also while it accepts no commands.
    hang_up: Arc<Notify>,
}

/// The receiving half of a door: everything that is not the answer to a call.
///
/// Bounded. While it is full the connection is not read, including the answers to calls. So take
/// messages in another task than the one that waits for calls, or leave room. A receiver that takes
/// nothing for longer than the broker's heartbeat timeout loses its connection, and continues where
/// it was.
#[derive(Debug)]
pub struct Inbox(mpsc::Receiver<Incoming>);

impl Inbox {
    /// The next message; `None` when the door is closed for good.
    pub async fn recv(&mut self) -> Option<Incoming> {
        self.0.recv().await
    }

    /// The next message if there is one now.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.0.try_recv().ok()
    }
}

/// The confirmation of a durable message: it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Confirmed {
    /// The channel in which it is stored.
    pub channel: String,
    /// The epoch of the channel.
    pub epoch: String,
    /// Its number.
    pub seq: u64,
    /// Whether it was stored before under the same id.
    pub duplicate: bool,
}

/// The answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Subscribed {
    /// The topic's epoch.
    pub epoch: String,
    /// The number of the topic's newest message.
    pub seq: u64,
    /// With a start: whether everything after it follows.
    #[serde(default)]
    pub recovered: Option<bool>,
    /// With a start: what follows comes after this number.
    #[serde(default)]
    pub from: Option<u64>,
    /// With a start: what can no longer be read.
    #[serde(default)]
    pub lost: Option<LostRecords>,
    /// With presence: the number of members.
    #[serde(default)]
    pub member_count: Option<usize>,
    /// With presence: their addresses, at most 1000.
    #[serde(default)]
    pub members: Option<Vec<String>>,
}

impl Door {
    /// Opens the door of agents. Returns at once. The door dials by itself and lasts until it is
    /// closed for good.
    ///
    /// # Panics
    /// Outside of a Tokio runtime; over a pipe, outside of a `LocalSet` or an actix system.
    pub fn agent(options: AgentOptions) -> (Self, Inbox) {
        let AgentOptions { entrance, agent, key, registration, tuning } = options;
        let reading = Reading { acks: tuning.acks, prefetch: tuning.prefetch, ..Reading::default() };
        let (door, inbox, machine, ends) = Self::new(tuning, registration);
        match entrance {
            AgentEntrance::Socket(address) => {
                tokio::spawn(run(AgentSocket { address, key, agent, reading }, machine, ends));
            }
            AgentEntrance::Pipe(pipe) => {
                tokio::task::spawn_local(run(AgentThroughPipe { pipe, key, agent, reading }, machine, ends));
            }
        }
        (door, inbox)
    }

    /// Opens the door of sessions, for a client that the caller vouches for. Returns at once, like
    /// [`Door::agent`].
    ///
    /// # Panics
    /// As [`Door::agent`].
    pub fn session(options: SessionOptions) -> (Self, Inbox) {
        let SessionOptions { entrance, mut identity, tuning } = options;
        identity.reading = Reading { acks: tuning.acks, prefetch: tuning.prefetch, ..identity.reading };
        let (door, inbox, machine, ends) = Self::new(tuning, None);
        match entrance {
            SessionEntrance::Socket { address, secret } => {
                let signer = Signer::new(secret);
                tokio::spawn(run(SessionSocket { address, signer, identity }, machine, ends));
            }
            SessionEntrance::Pipe(pipe) => {
                tokio::task::spawn_local(run(SessionThroughPipe { pipe, identity }, machine, ends));
            }
        }
        (door, inbox)
    }

    fn new(tuning: Tuning, registration: Option<Value>) -> (Self, Inbox, Machine, Ends) {
        let (call_limit, longest, inbox_messages) = (tuning.call_limit, tuning.longest_message, tuning.inbox_messages);
        let (positions, rules) = tuning.into_rules(registration);
        let (commands, to_task) = mpsc::channel(rules.queue_messages.clamp(1, 64));
        let (to_receiver, inbox) = mpsc::channel(inbox_messages.max(1));
        let machine = Machine::start(rules, positions);
        let (tell, state) = watch::channel(machine.state().clone());
        let frame_limit = Arc::new(AtomicUsize::new(usize::MAX));
        let hang_up = Arc::<Notify>::default();
        let ends = Ends {
            commands: to_task,
            hang_up: Arc::clone(&hang_up),
            inbox: to_receiver,
            state: tell,
            frame_limit: Arc::clone(&frame_limit),
            longest,
        };
        (Self { commands, state, frame_limit, call_limit, hang_up }, Inbox(inbox), machine, ends)
    }

    /// Sends a message, at most once: it is lost if the connection is lost before it is written or
    /// while it is on its way. Waits while the queue is full, also because the broker is away.
    ///
    /// # Errors
    /// `Closed`, `TooBig`.
    pub async fn send(&self, message: Outgoing) -> Result<(), DoorError> {
        self.check_length(&message)?;
        self.commands.send(Command::Send(message)).await.map_err(|_| DoorError::Closed)
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// `Full`, `Closed`, `TooBig`.
    pub fn try_send(&self, message: Outgoing) -> Result<(), DoorError> {
        self.check_length(&message)?;
        self.commands.try_send(Command::Send(message)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => DoorError::Full,
            mpsc::error::TrySendError::Closed(_) => DoorError::Closed,
        })
    }

    /// Sends a durable message and waits until it is stored. If the connection is lost meanwhile,
    /// it is sent again under the same id, and stored once. The message must ask for durable
    /// delivery, or its target must have it by default: without a confirmation the call times out.
    ///
    /// # Errors
    /// `Refused` with the bridge's code (`store_unavailable` may be tried again under the same id),
    /// `TimedOut` after [`Tuning::call_limit`], `TooManyPending`, `DuplicateId`, `TooBig`,
    /// `Closed`.
    pub async fn publish(&self, message: Outgoing) -> Result<Confirmed, DoorError> {
        let answer = self.call(message, Call::Publish, self.call_limit).await?;
        read(&answer)
    }

    /// Sends a request to a peer, and waits for its first answer within `limit`, at most ten
    /// minutes. If the answer is streamed, its further frames come to the [`Inbox`].
    ///
    /// # Errors
    /// `Refused` with the bridge's code (`agent_not_found`, `reply_timeout`, `peer_gone` and
    /// others), `Interrupted`, `TimedOut`, `TooManyPending`, `DuplicateId`, `TooBig`, `Closed`.
    pub async fn request(&self, message: Outgoing, limit: Duration) -> Result<Incoming, DoorError> {
        let limit = limit.clamp(Duration::from_millis(1), LONGEST_REQUEST);
        let from = message.target().map(str::to_owned);
        let message = message.timeout_ms(u32::try_from(limit.as_millis()).unwrap_or(u32::MAX));
        self.call(message, Call::Request { from }, limit + ANSWER_MARGIN).await
    }

    /// Sends the bridge itself a request that may be repeated, such as `agent:list` or
    /// `channel:history`, and waits for its answer.
    ///
    /// # Errors
    /// `Refused` with the bridge's code, `TimedOut` after [`Tuning::call_limit`], `TooManyPending`,
    /// `Closed`.
    pub async fn ask(&self, kind: &'static str, payload: Value) -> Result<Incoming, DoorError> {
        self.call(Outgoing::new(kind).to(&Address::Bridge).payload(payload), Call::Ask, self.call_limit).await
    }

    /// Subscribes to a topic, from a place in its log if `from` says so. The subscription is kept
    /// across connections, and continues where it was.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub async fn subscribe(&self, topic: &TopicName, presence: bool, from: Option<&Start>) -> Result<Subscribed, DoorError> {
        let call = Call::Subscribe { topic: topic.clone(), presence };
        let answer = self.call(Outgoing::subscription(topic, presence, from), call, self.call_limit).await?;
        read(&answer)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As [`Door::ask`].
    pub async fn unsubscribe(&self, topic: &TopicName) -> Result<(), DoorError> {
        self.commands.send(Command::Unsubscribe(topic.clone())).await.map_err(|_| DoorError::Closed)?;
        self.ask("topic:unsubscribe", json!({ "topic": topic })).await.map(drop)
    }

    /// Acknowledges a message of an inbox. Needed if the door was opened with explicit
    /// acknowledgements. It has no effect on messages of topics and broadcasts, which are not
    /// acknowledged. The bridge does not answer. If the acknowledgement is lost with the
    /// connection, the message comes again, marked.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn acknowledge(&self, position: &Position) -> Result<(), DoorError> {
        let Position { channel, known } = position;
        if ["topic:", "broadcast:", "dead:"].iter().any(|kind| channel.starts_with(kind)) {
            return Ok(());
        }
        let command = Command::Acknowledge { channel: channel.clone(), seq: known.seq };
        self.commands.send(command).await.map_err(|_| DoorError::Closed)
    }

    /// Says that a message of an inbox could not be used, and asks for it again after `delay`.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn reject(&self, position: &Position, reason: &str, delay: Duration) -> Result<(), DoorError> {
        let delay_ms = millis(delay);
        let payload = json!({"channel": position.channel, "seq": position.known.seq, "reason": reason, "delay_ms": delay_ms});
        self.send(Outgoing::new("message:nack").payload(payload)).await
    }

    /// The receiver's position in each channel. A program stores them to continue there in a later
    /// life ([`Tuning::positions`]).
    ///
    /// # Errors
    /// `Closed`.
    pub async fn positions(&self) -> Result<Positions, DoorError> {
        let (answer, positions) = oneshot::channel();
        self.commands.send(Command::Positions(answer)).await.map_err(|_| DoorError::Closed)?;
        positions.await.map_err(|_| DoorError::Closed)
    }

    /// The name under which the broker stores this door's subscriptions and positions: that of
    /// [`Tuning::client`], or another one after another client of the session has taken that one
    /// over. A program stores it besides the positions.
    ///
    /// # Errors
    /// `Closed`.
    pub async fn client(&self) -> Result<Option<ClientName>, DoorError> {
        let (answer, client) = oneshot::channel();
        self.commands.send(Command::Client(answer)).await.map_err(|_| DoorError::Closed)?;
        client.await.map_err(|_| DoorError::Closed)
    }

    /// The state of the connection.
    pub fn state(&self) -> DoorState {
        self.state.borrow().clone()
    }

    /// The state, for watching.
    pub fn watch(&self) -> watch::Receiver<DoorState> {
        self.state.clone()
    }

    /// Waits until messages pass.
    ///
    /// # Errors
    /// The door was closed for good.
    pub async fn opened(&self) -> Result<(), Ending> {
        match self.until(|state| state.is_open() || matches!(state, DoorState::Closed(_))).await {
            DoorState::Closed(ending) => Err(ending),
            _ => Ok(()),
        }
    }

    /// Waits until the door is closed for good, and returns the reason.
    pub async fn closed(&self) -> Ending {
        match self.until(|state| matches!(state, DoorState::Closed(_))).await {
            DoorState::Closed(ending) => ending,
            _ => Ending::Ours,
        }
    }

    /// Accepts nothing more, and closes when everything is sent and answered, at the latest after
    /// `limit`. Returns whether everything was.
    pub async fn drain(&self, limit: Duration) -> bool {
        let draining = async {
            if self.commands.send(Command::Drain).await.is_ok() {
                self.closed().await;
            }
        };
        let is_done = timeout(limit, draining).await.is_ok();
        if !is_done {
            self.close().await;
        }
        is_done
    }

    /// Closes with 1000, without waiting for answers or for what is still to be sent.
    pub async fn close(&self) {
        self.hang_up.notify_one();
        self.closed().await;
    }

    async fn until(&self, is_reached: impl Fn(&DoorState) -> bool) -> DoorState {
        let mut state = self.state.clone();
        let reached = state.wait_for(|state| is_reached(state)).await.map(|state| state.clone());
        // A task that ended without an outcome was ended with its runtime.
        reached.unwrap_or(DoorState::Closed(Ending::Ours))
    }

    async fn call(&self, message: Outgoing, call: Call, limit: Duration) -> Result<Incoming, DoorError> {
        self.check_length(&message)?;
        let due_ms = now_ms().saturating_add(millis(limit));
        let (answer, outcome) = oneshot::channel();
        let command = Command::Call { message, call, due_ms, answer };
        let waiting = async {
            self.commands.send(command).await.map_err(|_| DoorError::Closed)?;
            outcome.await.unwrap_or(Err(DoorError::Closed))
        };
        // The queue may be full for longer than the caller wants to wait.
        timeout(limit, waiting).await.unwrap_or(Err(DoorError::TimedOut))
    }

    fn check_length(&self, message: &Outgoing) -> Result<(), DoorError> {
        let limit = self.frame_limit.load(Relaxed);
        if limit != usize::MAX && message.encode().len() > limit { Err(DoorError::TooBig { limit }) } else { Ok(()) }
    }
}

/// Reads an answer of the bridge. One that cannot be read counts as a fault of the bridge.
fn read<'a, T: Deserialize<'a>>(answer: &'a Incoming) -> Result<T, DoorError> {
    answer.payload().map_err(|error| {
        tracing::warn!(kind = answer.kind, %error, "an answer of the bridge cannot be read");
        DoorError::Refused(common::error::ErrorCode::Internal.into())
    })
}
