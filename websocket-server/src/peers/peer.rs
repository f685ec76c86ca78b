//! A registered connection as the router sees it.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{
    address::Scope,
    assertion::{Acks, ClientIdentity, Login, Reading},
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, UserId},
    message::{Speaker, SystemMessage},
    timestamp::millis,
};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use store::{ChannelName, ConsumerId, Owner};
use tokio::sync::{Notify, futures::Notified};
use transport::{Frame, Lane, Link, Payers, Reservation, Sent, Source, clock::now_ms};

use super::{
    hand::Hand,
    marks::{Given, Marks, mark_text},
    pass::Pass,
    requests::Requests,
    window::Window,
};
use crate::{hashing::hash, holders::Table};

/// Identifies a connection, and is its generation: a later connection has a greater one. Never used
/// twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The next one.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Relaxed))
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "c-{}", self.0)
    }
}

/// The kind of peer.
#[derive(Clone, Debug)]
pub enum PeerKind {
    /// An agent.
    Agent(AgentId),
    /// A client session.
    Session(Box<ClientIdentity>),
}

impl PeerKind {
    /// Whether it is an agent.
    pub fn is_agent(&self) -> bool {
        matches!(self, Self::Agent(_))
    }

    /// The session it is a connection of.
    pub fn session_id(&self) -> Option<SessionId> {
        match self {
            Self::Agent(_) => None,
            Self::Session(identity) => Some(identity.session_id),
        }
    }

    /// Its inboxes: its own, and for a session that of its user.
    pub fn inboxes(&self, user: Option<&UserId>) -> impl Iterator<Item = ChannelName> + use<> {
        let (own, user) = match self {
            Self::Agent(agent_id) => (ChannelName::agent(agent_id), None),
            Self::Session(identity) => (ChannelName::session(identity.session_id), user.map(ChannelName::user)),
        };
        std::iter::once(own).chain(user)
    }

    /// The broadcasts that it reads.
    pub fn broadcasts(&self) -> [ChannelName; 2] {
        let own = if self.is_agent() { Scope::Agents } else { Scope::Sessions };
        [ChannelName::broadcast(own), ChannelName::broadcast(Scope::All)]
    }
}

/// History reads that one connection may have in progress.
const MAX_READS: usize = 8;

/// How long to wait for a reader's confirmations before checking whether it is still connected.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// A place among a peer's history reads. Dropping it gives it back.
#[derive(Debug)]
pub struct ReadPlace {
    peer: Arc<Peer>,
    _shared: Option<Reservation>,
}

impl Drop for ReadPlace {
    fn drop(&mut self) {
        self.peer.reads.fetch_sub(1, Relaxed);
    }
}

/// The effect of a login on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginNews {
    /// Nothing new, or another user's login.
    None,
    /// It now has a user.
    User,
    /// Its user is the same, but its credentials have changed.
    Credentials,
}

/// One registered connection.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub id: ConnectionId,
    /// Its kind and identity.
    pub kind: PeerKind,
    /// The link for frames to it.
    pub link: Arc<Link>,
    /// How it reads durable messages.
    pub reading: Reading,
    /// The consumer under which its positions in logs are stored.
    pub consumer: Option<ConsumerId>,
    /// What an agent's key allows.
    pub pass: Option<Pass>,
    /// Who pays for its entries in shared tables.
    pub payers: Arc<Payers>,
    /// The owner to whom the store charges its messages; known once it has sent a message that is
    /// stored.
    owner: Mutex<Option<Arc<Owner>>>,
    /// The user of a session.
    user: OnceLock<UserId>,
    /// Its present login. The credentials may change, the user does not.
    login: RwLock<Option<Arc<Login>>>,
    is_cut: AtomicBool,
    /// Whether it was registered. A session's connection never waits, so this is true from the
    /// start.
    has_come: AtomicBool,
    /// Its turn to be its agent has come, or there is nothing left to wait for.
    called_in: Notify,
    key: u64,
    /// Its address in quotes.
    source_json: Box<str>,
    /// What was sent to it and is not confirmed yet.
    pub marks: Mutex<Marks>,
    /// How many bytes of durable messages may be on their way to it.
    pub window: Window,
    /// With explicit acknowledgement: the messages of its inboxes that it was handed and has not
    /// acknowledged.
    pub(crate) hand: Option<Box<Mutex<Hand>>>,
    /// Wakes tasks that wait for room in the window, or for a place in the hand.
    room: Notify,
    reads: AtomicUsize,
    has_requests: AtomicBool,
    requests: Mutex<Requests>,
    is_held: AtomicBool,
    held_by: Mutex<Option<Arc<Link>>>,
}

impl Peer {
    /// A peer for a new connection.
    pub fn new(
        id: ConnectionId,
        kind: PeerKind,
        link: Arc<Link>,
        reading: Reading,
        pass: Option<Pass>,
        payers: Arc<Payers>,
    ) -> Arc<Self> {
        let address = match &kind {
            PeerKind::Agent(agent_id) => format!("agent:{agent_id}"),
            PeerKind::Session(identity) => format!("session:{}", identity.session_id),
        };
        let login = match &kind {
            PeerKind::Agent(_) => None,
            PeerKind::Session(identity) => identity.login.clone().map(Arc::new),
        };
        let window = Window::new(millis(link.policy().silence_timeout));
        let consumer = reading.client.as_ref().map(|client| ConsumerId::of_client(&address, client, false));
        let hand = (reading.acks == Acks::Explicit).then(|| Box::new(Mutex::new(Hand::new(reading.prefetch))));
        Arc::new(Self {
            id,
            has_come: AtomicBool::new(matches!(kind, PeerKind::Session(_))),
            called_in: Notify::new(),
            kind,
            link,
            reading,
            consumer,
            pass,
            payers,
            owner: Mutex::default(),
            key: hash(&address),
            user: login.as_ref().map_or_else(OnceLock::new, |login| OnceLock::from(login.user.clone())),
            login: RwLock::new(login),
            is_cut: AtomicBool::new(false),
            source_json: format!("\"{address}\"").into_boxed_str(),
            marks: Mutex::default(),
            window,
            hand,
            room: Notify::new(),
            reads: AtomicUsize::new(0),
            has_requests: AtomicBool::new(false),
            requests: Mutex::default(),
            is_held: AtomicBool::new(false),
            held_by: Mutex::new(None),
        })
    }

    /// Its address: what receivers see as `source`.
    pub fn address(&self) -> &str {
        self.source_json.get(1..self.source_json.len() - 1).unwrap_or_default()
    }

    /// Its identity where senders take turns.
    pub(crate) fn source(&self) -> Source {
        Source { group: self.payers.group().unwrap_or(self.key), sender: self.key }
    }

    /// The hash of its address, for detecting loops.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// The login of a session.
    pub fn login(&self) -> Option<Arc<Login>> {
        // Most sessions have none; that needs no lock.
        self.user.get().and_then(|_| self.login.read().clone())
    }

    /// The user of a session, once logged in. A connection has at most one in its life.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// The session has logged in, or has later credentials. A second user is ignored.
    pub(crate) fn log_in(&self, login: &Login) -> LoginNews {
        let mut kept = self.login.write();
        match kept.as_deref() {
            Some(known) if known.user != login.user || known == login => return LoginNews::None,
            _ => {}
        }
        *kept = Some(Arc::new(login.clone()));
        if self.user.set(login.user.clone()).is_err() {
            return LoginNews::Credentials;
        }
        // From now on the user pays too.
        *self.owner.lock() = None;
        LoginNews::User
    }

    /// The owner to whom the store charges its messages. `make` makes it if it is unknown.
    pub fn owner(&self, make: impl FnOnce() -> Arc<Owner>) -> Arc<Owner> {
        Arc::clone(self.owner.lock().get_or_insert_with(make))
    }

    /// From now on nothing from it is routed, though its socket must still be closed.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    /// Whether it was cut off.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// It is registered: its frames are processed from now on.
    pub(crate) fn come_in(&self) {
        self.has_come.store(true, Relaxed);
        self.link.wake();
    }

    /// Whether its frames may be processed. An agent's connection waits until it is registered.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Relaxed)
    }

    /// Ends the wait of a connection that is not registered yet.
    pub(crate) fn call_in(&self) {
        self.called_in.notify_one();
    }

    /// Waits until the connection must be attached again. It may have been cut off by then.
    pub async fn called_in(&self) {
        self.called_in.notified().await;
    }

    /// Its inboxes: its own, and for a session its user's.
    pub fn inboxes(&self) -> impl Iterator<Item = ChannelName> + use<> {
        self.kind.inboxes(self.user_id())
    }

    /// The session it is a connection of.
    pub fn session_id(&self) -> Option<SessionId> {
        self.kind.session_id()
    }

    /// Takes so much of a shared table.
    ///
    /// # Errors
    /// The share of one of its payers is used up: the error for the peer.
    pub fn take(&self, table: Table, amount: usize) -> Result<Reservation, ClientError> {
        self.payers.take(table as u8, amount).map_err(|used| table.refusal(used))
    }

    /// Takes a place among the history reads that this peer may have in progress.
    ///
    /// # Errors
    /// `too_many_requests`.
    pub fn begin_read(self: &Arc<Self>) -> Result<ReadPlace, ClientError> {
        let before = self.reads.fetch_add(1, Relaxed);
        let mut place = ReadPlace { peer: Arc::clone(self), _shared: None };
        if before >= MAX_READS {
            let message =
                format!("This connection has {MAX_READS} history reads in progress, which is its limit. Wait for an answer.");
            return Err(ClientError::with_message(ErrorCode::TooManyRequests, message));
        }
        place._shared = Some(self.take(Table::Reads, 1)?);
        Ok(place)
    }

    /// Its IP address.
    pub fn origin(&self) -> Option<String> {
        match &self.kind {
            PeerKind::Agent(_) => self.pass.as_ref()?.address().map(|address| address.to_string()),
            PeerKind::Session(identity) => identity.ip.clone(),
        }
    }

    /// The broadcasts that it reads.
    pub fn broadcasts(&self) -> [ChannelName; 2] {
        self.kind.broadcasts()
    }

    /// Its address as a JSON string. Addresses contain no characters that need escapes.
    pub fn source_json(&self) -> &str {
        &self.source_json
    }

    /// Whether it is an agent.
    pub fn is_agent(&self) -> bool {
        self.kind.is_agent()
    }

    /// Sends a message of the bridge, ahead of the data that waits.
    pub fn answer(&self, message: &SystemMessage, correlation_id: Option<&str>) -> Sent {
        let text = message.encode(Speaker::Bridge, Some(self.address()), correlation_id);
        self.link.send(Lane::Control, Frame::text(&text))
    }

    /// Sends a message of the bridge, in the order of the data around it.
    pub fn tell(&self, message: &SystemMessage) -> Sent {
        self.link.send(Lane::Normal, Frame::text(&message.encode(Speaker::Bridge, Some(self.address()), None)))
    }

    /// Whether its pong to a mark counts for this channel: as an acknowledgement, or as a position
    /// that is stored.
    pub fn confirms_by_mark(&self, channel: &ChannelName) -> bool {
        if channel.family().is_inbox() { self.reading.acks == Acks::Automatic } else { self.consumer.is_some() }
    }

    /// Sends it a durable message, and a mark after each portion. `Dropped`: there is no room for
    /// it, in its window or in its outbox.
    pub fn give(&self, lane: Lane, frame: Frame) -> Sent {
        let bytes = frame.len();
        if !self.window.has_room(bytes) {
            return Sent::Dropped;
        }
        let sent = self.link.offer(lane, frame);
        if sent.is_queued() && self.window.on_given(bytes) {
            self.ask_what_has_come();
        }
        sent
    }

    /// Sends a mark behind what was sent since the last one.
    pub fn ask_what_has_come(&self) {
        self.ask(Marks::begin);
    }

    /// A regular check: sends a mark behind what was sent recently, and another one if a pong is
    /// overdue.
    pub fn ask_regularly(&self) {
        self.ask(Marks::begin_regular);
    }

    fn ask(&self, begin: impl FnOnce(&mut Marks, &Window, u64) -> Option<u64>) {
        let mut marks = self.marks.lock();
        if let Some(mark) = begin(&mut marks, &self.window, now_ms())
            && self.link.offer(Lane::Normal, Frame::ping_with(&mark_text(mark))) == Sent::Dropped
        {
            marks.not_sent(&self.window);
        }
    }

    /// It answered a mark: returns what has arrived.
    pub fn on_mark(&self, mark: u64) -> Option<Given> {
        let given = self.marks.lock().confirmed(mark, &self.window, now_ms())?;
        self.make_room();
        Some(given)
    }

    /// Wakes the tasks that wait for room or for a place: they check again.
    pub(crate) fn make_room(&self) {
        self.room.notify_waiters();
    }

    /// Resolves when there may be more room or places than at the time of this call.
    pub(crate) fn room_made(&self) -> Notified<'_> {
        self.room.notified()
    }

    /// Waits for room for so many bytes, or for a while: the caller checks again.
    pub async fn wait_for_room(&self, bytes: usize) {
        // Before the check: the pong that makes room may come right after it.
        let room = self.room_made();
        if !self.window.has_room(bytes) {
            let _ = tokio::time::timeout(ROOM_WAIT, room).await;
        }
    }

    /// Its connection is over: nobody waits for it any longer.
    pub fn let_go(&self) {
        self.make_room();
    }

    /// Works on the open requests.
    pub fn with_requests<T>(&self, work: impl FnOnce(&mut Requests) -> T) -> T {
        let mut requests = self.requests.lock();
        let result = work(&mut requests);
        self.has_requests.store(!requests.is_empty(), Relaxed);
        result
    }

    /// Whether requests are open, without a lock.
    pub fn has_requests(&self) -> bool {
        self.has_requests.load(Relaxed)
    }

    /// Makes the peer pause until `slow` keeps up again.
    pub fn hold(&self, slow: Arc<Link>) {
        *self.held_by.lock() = Some(slow);
        self.is_held.store(true, Relaxed);
    }

    /// The reader that this peer waits for.
    pub fn held_by(&self) -> Option<Arc<Link>> {
        if self.is_held.load(Relaxed) { self.held_by.lock().clone() } else { None }
    }

    /// The wait is over.
    pub fn release(&self) {
        self.is_held.store(false, Relaxed);
        *self.held_by.lock() = None;
    }
}
