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
};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use store::{ChannelName, ConsumerId, Owner};
use tokio::sync::Notify;
use transport::{Frame, Lane, Link, Payers, Place, Sent, Source, clock::now_ms};

use crate::{
    durable::{Given, Marks, Window, mark_text},
    holders::Table,
};

use super::{Pass, chains::hash, requests::Requests};

/// Names a connection, and is its generation: a later connection has a greater one. Never used twice in a process.
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

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum PeerKind {
    /// An agent.
    Agent(AgentId),
    /// A client session.
    Session(Box<ClientIdentity>),
}

/// Readings of the past that one connection may have under way.
const MAX_READS: usize = 8;

/// How long to wait for a reader's confirmations before it is looked whether it is still there.
const ROOM_WAIT: Duration = Duration::from_millis(500);

/// A place among the readings of a peer. Given back when dropped.
#[derive(Debug)]
pub struct ReadPlace {
    peer: Arc<Peer>,
    _shared: Option<Place>,
}

impl Drop for ReadPlace {
    fn drop(&mut self) {
        self.peer.reads.fetch_sub(1, Relaxed);
    }
}

/// What a login is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginNews {
    /// Nothing new, or not its user's.
    None,
    /// It has a user now.
    User,
    /// Its user is the same, and what the login carries is not.
    Credentials,
}

/// One registered connection.
#[derive(Debug)]
pub struct Peer {
    /// The connection.
    pub id: ConnectionId,
    /// Who it is.
    pub kind: PeerKind,
    /// Where frames for it go.
    pub link: Arc<Link>,
    /// How it reads durable messages.
    pub reading: Reading,
    /// Under which name the positions are kept to which it has read logs.
    pub consumer: Option<ConsumerId>,
    /// What an agent's key opens.
    pub pass: Option<Pass>,
    /// Who pays for what it takes of the tables that all use.
    pub payers: Arc<Payers>,
    /// To whom the store charges what it sends, since it first sent something that is stored.
    owner: Mutex<Option<Arc<Owner>>>,
    /// The user of a session.
    user: OnceLock<UserId>,
    /// The login it has now; what it carries may change, its user does not.
    login: RwLock<Option<Arc<Login>>>,
    is_cut: AtomicBool,
    /// Whether it was registered. A session's is from the start: it never waits.
    has_come: AtomicBool,
    /// Its turn to be its agent has come, or there is nothing to wait for any more.
    called_in: Notify,
    address: String,
    key: u64,
    source_json: String,
    /// What it was given and has not confirmed.
    pub marks: Mutex<Marks>,
    /// How many bytes of durable messages may be on their way to it.
    pub window: Window,
    /// Wakes those who wait for room in the window.
    room: Notify,
    reads: AtomicUsize,
    has_requests: AtomicBool,
    requests: Mutex<Requests>,
    is_held: AtomicBool,
    held_by: Mutex<Option<Arc<Link>>>,
}

impl Peer {
    /// A peer of a fresh connection.
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
        let window = Window::new(u64::try_from(link.policy().silence_timeout.as_millis()).unwrap_or(u64::MAX));
        let consumer = reading.client.as_ref().map(|client| ConsumerId::of_client(&address, client, false));
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
            source_json: format!("\"{address}\""),
            address,
            marks: Mutex::default(),
            window,
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
        &self.address
    }

    /// Who it is where senders take turns.
    pub(super) fn source(&self) -> Source {
        Source { group: self.payers.group().unwrap_or(self.key), sender: self.key }
    }

    /// The hash of its address, for those who look for loops.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Who stands behind a session, once it has logged in.
    pub fn login(&self) -> Option<Arc<Login>> {
        // Most sessions have none, and need no lock to say so.
        self.user.get().and_then(|_| self.login.read().clone())
    }

    /// The user of a session, once logged in. A connection has at most one in its life.
    pub fn user_id(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// The session has logged in, or has later credentials. A second user is not taken.
    pub(super) fn log_in(&self, login: &Login) -> LoginNews {
        let mut kept = self.login.write();
        match kept.as_deref() {
            Some(known) if known.user != login.user || known == login => return LoginNews::None,
            _ => {}
        }
        *kept = Some(Arc::new(login.clone()));
        if self.user.set(login.user.clone()).is_err() {
            return LoginNews::Credentials;
        }
        // From here on the user pays too.
        *self.owner.lock() = None;
        LoginNews::User
    }

    /// To whom the store charges what it sends; made by `make` when it is not known.
    pub fn owner(&self, make: impl FnOnce() -> Arc<Owner>) -> Arc<Owner> {
        Arc::clone(self.owner.lock().get_or_insert_with(make))
    }

    /// From here on nothing that came from it is routed, though its socket is still to be closed.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Relaxed);
    }

    /// Whether it was cut off.
    pub fn is_cut(&self) -> bool {
        self.is_cut.load(Relaxed)
    }

    /// It is registered: what it sends is worked on from here on.
    pub(super) fn come_in(&self) {
        self.has_come.store(true, Relaxed);
        self.link.wake();
    }

    /// Whether what it sends may be worked on. An agent's connection waits with that until it is registered.
    pub fn has_come(&self) -> bool {
        self.has_come.load(Relaxed)
    }

    /// Ends the wait of a connection that is not registered yet.
    pub(super) fn call_in(&self) {
        self.called_in.notify_one();
    }

    /// Waits until the connection is to be attached once more. It may have been cut off by then.
    pub async fn called_in(&self) {
        self.called_in.notified().await;
    }

    /// The inboxes it reads: its own, and for a session its user's.
    pub fn inboxes(&self) -> impl Iterator<Item = ChannelName> {
        let (own, user) = match &self.kind {
            PeerKind::Agent(agent_id) => (ChannelName::agent(agent_id), None),
            PeerKind::Session(identity) => (ChannelName::session(identity.session_id), self.user_id().map(ChannelName::user)),
        };
        std::iter::once(own).chain(user)
    }

    /// The session it is a connection of.
    pub fn session_id(&self) -> Option<SessionId> {
        match &self.kind {
            PeerKind::Agent(_) => None,
            PeerKind::Session(identity) => Some(identity.session_id),
        }
    }

    /// Takes so much of a table that all use.
    ///
    /// # Errors
    /// The share of one of its payers is used up: what to tell the peer.
    pub fn take(&self, table: Table, amount: usize) -> Result<Place, ClientError> {
        self.payers.take(table as u8, amount).map_err(|used| table.refusal(used))
    }

    /// Takes a place among the readings of the past that this peer may have under way.
    ///
    /// # Errors
    /// `too_many_requests`: there are as many as may be.
    pub fn begin_read(self: &Arc<Self>) -> Result<ReadPlace, ClientError> {
        let before = self.reads.fetch_add(1, Relaxed);
        let mut place = ReadPlace { peer: Arc::clone(self), _shared: None };
        if before >= MAX_READS {
            let message =
                format!("This connection has {MAX_READS} readings of the past under way, as many as it may. Wait for an answer.");
            return Err(ClientError::with_message(ErrorCode::TooManyRequests, message));
        }
        place._shared = Some(self.take(Table::Reads, 1)?);
        Ok(place)
    }

    /// Where it comes from: an IP address.
    pub fn origin(&self) -> Option<String> {
        match &self.kind {
            PeerKind::Agent(_) => self.pass.as_ref()?.address().map(|address| address.to_string()),
            PeerKind::Session(identity) => identity.ip.clone(),
        }
    }

    /// The broadcasts it reads.
    pub fn broadcasts(&self) -> [ChannelName; 2] {
        let own = if self.is_agent() { Scope::Agents } else { Scope::Sessions };
        [ChannelName::broadcast(own), ChannelName::broadcast(Scope::All)]
    }

    /// Its address as a JSON string. Addresses have no characters that need escapes.
    pub fn source_json(&self) -> &str {
        &self.source_json
    }

    /// Whether it is an agent.
    pub fn is_agent(&self) -> bool {
        matches!(self.kind, PeerKind::Agent(_))
    }

    /// Says something to the peer, past the data that waits for it.
    pub fn answer(&self, message: &SystemMessage, correlation_id: Option<&str>) -> Sent {
        let text = message.encode(Speaker::Bridge, Some(&self.address), correlation_id);
        self.link.send(Lane::Control, Frame::text(&text))
    }

    /// Says something to the peer, in the order of the data around it.
    pub fn tell(&self, message: &SystemMessage) -> Sent {
        self.link.send(Lane::Normal, Frame::text(&message.encode(Speaker::Bridge, Some(&self.address), None)))
    }

    /// Whether its answer to a mark counts: as an acknowledgement, or as a position that is kept.
    pub fn confirms_by_mark(&self, channel: &ChannelName) -> bool {
        if channel.family().is_inbox() { self.reading.acks == Acks::Automatic } else { self.consumer.is_some() }
    }

    /// Gives it a durable message, and after each portion asks what has come. `Dropped`: there is no room for it, in its window or in
    /// its outbox.
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

    /// Sends a ping behind what it was given since the last one.
    pub fn ask_what_has_come(&self) {
        self.ask(Marks::begin);
    }

    /// A regular look: asks behind what was given lately, and once more where an answer is overdue.
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

    /// It answered a mark: what has reached it.
    pub fn on_mark(&self, mark: u64) -> Option<Given> {
        let given = self.marks.lock().confirmed(mark, &self.window, now_ms())?;
        self.room.notify_waiters();
        Some(given)
    }

    /// Waits for room for so many bytes, or a while: who waits looks again.
    pub async fn wait_for_room(&self, bytes: usize) {
        // Before the look: the answer that makes room may come right after it.
        let room = self.room.notified();
        if !self.window.has_room(bytes) {
            let _ = tokio::time::timeout(ROOM_WAIT, room).await;
        }
    }

    /// Its connection is over: nobody waits for it any longer.
    pub fn let_go(&self) {
        self.room.notify_waiters();
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

    /// Has the peer pause until `slow` keeps up again.
    pub fn hold(&self, slow: Arc<Link>) {
        *self.held_by.lock() = Some(slow);
        self.is_held.store(true, Relaxed);
    }

    /// The reader this peer should wait for.
    pub fn held_by(&self) -> Option<Arc<Link>> {
        if self.is_held.load(Relaxed) { self.held_by.lock().clone() } else { None }
    }

    /// The wait is over.
    pub fn release(&self) {
        self.is_held.store(false, Relaxed);
        *self.held_by.lock() = None;
    }
}
