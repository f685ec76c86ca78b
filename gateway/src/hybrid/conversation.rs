//! The shell of one hybrid client's socket.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use common::{close::CloseCode, error::ErrorCode, id::UserId, message::KnownPosition, timestamp};
use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture, stream::FuturesUnordered};
use tokio::time::{MissedTickBehavior, interval, timeout};
use transport::clock::now_ms;
use uuid::Uuid;

use super::{
    damping::Damping,
    frames::{self, Message, Mode},
    log::{Arrived, Opened, Placed, UserLog},
    presence::{Entry, Here, Presence},
    session::{Snapshot, UserSession},
};
use crate::{
    dialects::{ClientSocket, Seat},
    doors::{Confirmed, Door, DoorError, Ending, Inbox, Incoming},
};

/// How long the broker may take until a client is greeted.
const OPENING: Duration = Duration::from_secs(15);
/// How often what a mode has read, and what its messages have changed, is stored.
const KEEP: Duration = Duration::from_secs(1);
/// How long storing that may take when the client has left.
const LAST_KEEP: Duration = Duration::from_secs(5);
/// Messages of a client that are not stored yet. With more, the socket is not read.
const MOST_STORING: usize = 64;
/// The messages of the history that a client is greeted with.
const RECENT: usize = 10;

type Storing = LocalBoxFuture<'static, (Message, Result<Confirmed, DoorError>)>;

/// A client whose token was checked.
pub struct Conversation {
    /// Its user.
    pub user: UserId,
    /// The user's name as the client wrote it.
    pub name: String,
    /// Its mode.
    pub mode: Mode,
    /// Its socket.
    pub socket: ClientSocket,
    /// Its place.
    pub seat: Seat,
    /// The sockets of this process.
    pub presence: Presence,
    /// Its session at the broker.
    pub door: Door,
    /// What the broker sends.
    pub inbox: Inbox,
}

/// What changes while a client is here.
struct State {
    log: UserLog,
    mode: Mode,
    damping: Damping,
    /// The stored snapshot that is known, and whether it lacks changes.
    snapshot: Snapshot,
    is_behind: bool,
    /// What the client has got, and whether that is stored.
    read: KnownPosition,
    is_read_kept: bool,
    /// The epoch and the number of the last message that was read when the client was greeted.
    epoch: String,
    greeted: u64,
}

impl Conversation {
    /// Serves the client until it has gone.
    pub async fn run(self) {
        let Self { user, name, mode, mut socket, seat: _seat, presence, door, mut inbox } = self;
        let Some(log) = UserLog::new(door.clone(), &user) else { return };
        // Whoever comes back at once finds what its mode has read until then.
        let _ = timeout(LAST_KEEP, presence.settled(&user, mode)).await;
        let opening = timeout(OPENING, log.open(&mut inbox, Some(mode))).await;
        let opened = match opening.unwrap_or(Err(DoorError::TimedOut)) {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(%error, "a hybrid client could not be greeted");
                return socket.close(CloseCode::TRY_AGAIN_LATER, "the broker does not answer");
            }
        };
        let here = Here { id: Uuid::new_v4().to_string(), mode, since: timestamp::now_string(), is_leaving: false };
        let id = here.id.clone();
        let (entry, all) = presence.enter(&user, here);
        let mut state = State::new(log, mode, &opened);
        state.greet(&socket, &id, &all, &opened, &entry);
        for message in &opened.early {
            state.on_arrived(message, &socket);
        }

        let mut storing = FuturesUnordered::<Storing>::new();
        let mut keeping = pin!(None::<LocalBoxFuture<'static, Kept>>);
        let mut ticks = interval(KEEP);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_left = false;
        while !has_left || !storing.is_empty() {
            tokio::select! {
                text = socket.recv_if(storing.len() < MOST_STORING), if !has_left => match text {
                    Some(text) => {
                        if let Some((message, outcome)) = state.on_text(&text, &name, &socket, &mut storing).await {
                            state.on_stored(&message, outcome, &socket);
                        }
                    }
                    None => has_left = true,
                },
                Some((message, outcome)) = storing.next() => state.on_stored(&message, outcome, &socket),
                message = inbox.recv() => match message {
                    Some(message) => state.on_arrived(&message, &socket),
                    None => {
                        let (code, reason) = farewell(door.closed().await);
                        return socket.close(code, reason);
                    }
                },
                kept = async { match keeping.as_mut().as_pin_mut() { Some(kept) => kept.await, None => std::future::pending().await } } => {
                    keeping.set(None);
                    state.on_kept(kept);
                }
                _ = ticks.tick(), if keeping.is_none() => keeping.set(state.keep()),
            }
        }
        // Another client in the same mode stores what the mode has read.
        state.is_read_kept |= entry.has_other(mode);
        entry.leave();
        // If this fails, the mode gets some messages again, and the next client finds the changes.
        let _ = timeout(LAST_KEEP, async {
            if let Some(kept) = keeping.as_mut().as_pin_mut() {
                kept.await;
            }
            if let Some(kept) = state.keep() {
                kept.await;
            }
        })
        .await;
    }
}

/// What was stored.
struct Kept {
    snapshot: Option<Result<Snapshot, DoorError>>,
    is_read_kept: bool,
}

impl State {
    fn new(log: UserLog, mode: Mode, opened: &Opened) -> Self {
        let newest = opened.messages.last().map_or(0, |placed| placed.seq);
        Self {
            log,
            mode,
            damping: Damping::default(),
            snapshot: opened.snapshot(),
            is_behind: opened.is_behind,
            read: KnownPosition { epoch: opened.epoch.clone(), seq: newest },
            is_read_kept: opened.read == Some(newest),
            epoch: opened.epoch.clone(),
            greeted: newest,
        }
    }

    /// Greets the client, and gives it what its mode has missed.
    fn greet(&mut self, socket: &ClientSocket, id: &str, all: &[Here], opened: &Opened, entry: &Entry) {
        let ids: Vec<_> = all.iter().map(|here| here.id.clone()).collect();
        let modes: Vec<_> = all.iter().map(|here| here.mode).collect();
        let now = timestamp::now_string();
        socket.send(&frames::greeting(id, self.mode, &ids).to_string());
        let skipped = opened.messages.len().saturating_sub(RECENT);
        let recent: Vec<_> = opened.messages.iter().skip(skipped).map(|placed| placed.message.clone()).collect();
        socket.send(&frames::sync_data(&opened.session.to_json(&now), &recent, &modes).to_string());
        if entry.has_other(self.mode) {
            // The mode has them.
            return;
        }
        for Placed { seq, message } in &opened.messages {
            let is_missed = opened.read.map_or(message.is_intervention(), |read| *seq > read);
            if is_missed && message.is_for(self.mode) {
                self.give(message, socket);
            }
        }
    }

    fn give(&mut self, message: &Message, socket: &ClientSocket) {
        self.damping.on_got(message.kind(), message.id(), now_ms());
        socket.send(&message.to_json().to_string());
    }

    /// Stores a message of the client. Returns the outcome if it is known at once.
    async fn on_text(
        &mut self,
        text: &str,
        user: &str,
        socket: &ClientSocket,
        storing: &mut FuturesUnordered<Storing>,
    ) -> Option<(Message, Result<Confirmed, DoorError>)> {
        let now = timestamp::now_string();
        let message = match Message::of_frame(text, user, &Uuid::new_v4().to_string(), &now) {
            Ok(message) => message,
            Err(fault) => {
                socket.send(&frames::error(&fault.to_string(), ErrorCode::InvalidEnvelope.as_str(), &now).to_string());
                return None;
            }
        };
        let answers = self.damping.answered_by(message.kind(), now_ms()).map(str::to_owned);
        let log = self.log.clone();
        let mut store: Storing = async move {
            let outcome = log.publish(&message, answers).await;
            (message, outcome)
        }
        .boxed_local();
        // Polled once, the message has its place among those to be sent.
        match poll_fn(|task| Poll::Ready(store.as_mut().poll(task))).await {
            Poll::Ready(done) => Some(done),
            Poll::Pending => {
                storing.push(store);
                None
            }
        }
    }

    fn on_stored(&mut self, message: &Message, outcome: Result<Confirmed, DoorError>, socket: &ClientSocket) {
        match outcome {
            Ok(Confirmed { epoch, seq, .. }) => {
                self.is_behind |= UserSession::default().apply(message);
                self.on_read(KnownPosition { epoch, seq });
                if message.is_intervention() {
                    // A topic does not give a message back to its sender.
                    socket.send(&message.to_json().to_string());
                }
            }
            Err(error) => {
                let (message, code) = told(&error);
                socket.send(&frames::error(&message, &code, &timestamp::now_string()).to_string());
            }
        }
    }

    fn on_arrived(&mut self, incoming: &Incoming, socket: &ClientSocket) {
        match self.log.read(incoming) {
            // It came while the client was greeted, and was among what that read.
            Arrived::Message(placed, position) if position.epoch == self.epoch && placed.seq <= self.greeted => {}
            // It is for the next client of the mode.
            Arrived::Message(..) if socket.is_over() => {}
            Arrived::Message(placed, position) => {
                self.on_read(position);
                if placed.message.is_for(self.mode) {
                    self.give(&placed.message, socket);
                }
            }
            // Somebody who knew less stored a snapshot over a later one.
            Arrived::Snapshot(seq) => self.is_behind |= seq < self.snapshot.seq,
            Arrived::Other => {}
        }
    }

    fn on_read(&mut self, position: KnownPosition) {
        if position.epoch != self.read.epoch || position.seq > self.read.seq {
            self.read = position;
            self.is_read_kept = false;
        }
    }

    /// Stores what has changed, if anything has.
    fn keep(&mut self) -> Option<LocalBoxFuture<'static, Kept>> {
        let snapshot = std::mem::take(&mut self.is_behind).then(|| self.snapshot.clone());
        let read = (!std::mem::replace(&mut self.is_read_kept, true)).then(|| self.read.clone());
        if snapshot.is_none() && read.is_none() {
            return None;
        }
        let (log, mode) = (self.log.clone(), self.mode);
        let keeping = async move {
            let snapshot = match snapshot {
                Some(base) => Some(log.keep_session(base).await),
                None => None,
            };
            let is_read_kept = match &read {
                Some(read) => log.keep_read(mode, read).await.is_ok(),
                None => true,
            };
            Kept { snapshot, is_read_kept }
        };
        Some(keeping.boxed_local())
    }

    fn on_kept(&mut self, Kept { snapshot, is_read_kept }: Kept) {
        self.is_read_kept &= is_read_kept;
        match snapshot {
            Some(Ok(snapshot)) => self.snapshot = snapshot,
            Some(Err(error)) => {
                tracing::debug!(%error, "the session of a hybrid user was not stored, and is tried again");
                self.is_behind = true;
            }
            None => {}
        }
    }
}

/// An error for a client: the text and the bridge's code.
pub fn told(error: &DoorError) -> (String, String) {
    let code = match error {
        DoorError::Refused(refused) => return (refused.message.clone(), refused.code_text.clone()),
        DoorError::TooBig { .. } => ErrorCode::FrameTooBig,
        DoorError::TooManyPending { .. } => ErrorCode::TooManyRequests,
        _ => ErrorCode::UpstreamUnavailable,
    };
    (error.to_string(), code.as_str().to_owned())
}

/// The close of the client's socket when its door is closed for good.
fn farewell(ending: Ending) -> (CloseCode, &'static str) {
    match ending {
        Ending::Closed { code, .. } if code.may_be_sent() => (code, "closed by the broker"),
        Ending::Refused { status: 401 | 403, .. } => (CloseCode::CREDENTIALS_EXPIRED, "the credentials were revoked"),
        _ => (CloseCode::TRY_AGAIN_LATER, "the broker ended the connection"),
    }
}
