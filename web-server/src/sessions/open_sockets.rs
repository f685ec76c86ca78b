//! The open sockets of this edge, by session: admits them, counts them, and sends orders to them.
//!
//! Shared by all worker threads. A socket is entered before its upgrade, and removed when its
//! [`SocketTicket`] is dropped, whatever happened in between. This module does not own sockets and
//! does not wait for them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use actix::{Message, Recipient};
use common::{assertion::LoggedIn, close::CloseCode, error::ErrorCode, id::SessionId};
use parking_lot::Mutex;
use transport::Tab;
use uuid::Uuid;

use super::token::Session;

/// An order to a socket's actor.
#[derive(Clone, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Tell the client that the server drains, and that its socket will be closed within so many
    /// milliseconds.
    AnnounceDrain {
        /// The time left.
        close_within_ms: u64,
    },
    /// Tell the client that its credentials will expire at this time, so that it refreshes them.
    AnnounceExpiry {
        /// When.
        at: SystemTime,
    },
    /// The session has logged in, and the socket is the login's own.
    LogIn(Session, Arc<LoggedIn>),
    /// The session was ended: nothing passes any more. Another order closes the socket.
    Hush,
    /// Close the socket.
    Close {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: &'static str,
    },
}

/// The bounds on open sockets.
#[derive(Clone, Copy, Debug)]
pub struct SocketLimits {
    /// Of all sessions together.
    pub max_sockets: usize,
    /// Of one session.
    pub max_of_session: usize,
    /// How long before its token expires a socket is closed, at most a tenth of its time, so that
    /// the token can still be renewed.
    pub margin: Duration,
}

/// Clients are told that their token expires so many margins before, at most half of its time.
const NOTICE_MARGINS: u32 = 10;

/// See the module.
pub struct OpenSockets {
    limits: SocketLimits,
    table: Mutex<Table>,
    next: AtomicU64,
}

#[derive(Default)]
struct Table {
    by_session: HashMap<SessionId, Vec<Entry>>,
    count: usize,
    is_closed: bool,
}

struct Entry {
    number: u64,
    /// The lowest seat that no other socket of the session had when this one came. `None`: it has
    /// no seat.
    seat: Option<usize>,
    socket_id: Uuid,
    /// The generation of the token that it was opened with.
    generation: u64,
    /// When that token, or a later one, expires, and what happens before.
    end: End,
    actor: Option<Recipient<Order>>,
    /// Orders that arrived before the actor was attached.
    early: Vec<Order>,
}

/// What happens to a socket when its token expires.
#[derive(Clone, Copy)]
struct End {
    expires_at: SystemTime,
    tell_at: SystemTime,
    close_at: SystemTime,
    told: Told,
}

/// What a socket was told about its token's end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    /// That the token will expire.
    Expiry,
    /// To close.
    Close,
}

impl End {
    /// For a token that is valid from now on. Issuers' tokens may live for a minute only, so the
    /// margins are bounded by their time.
    fn of(expires_at: SystemTime, margin: Duration) -> Self {
        let left = expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        let before = |time: Duration| expires_at.checked_sub(time).unwrap_or(expires_at);
        Self {
            expires_at,
            tell_at: before((margin * NOTICE_MARGINS).min(left / 2)),
            close_at: before(margin.min(left / 10)),
            told: Told::Nothing,
        }
    }
}

/// One socket's place in the table. Dropping it gives it back.
pub struct SocketTicket {
    sockets: Arc<OpenSockets>,
    session: SessionId,
    number: u64,
    seat: Option<usize>,
    /// Its share of what its address may have.
    share: Option<Tab>,
    socket_id: Uuid,
}

impl OpenSockets {
    /// An empty table.
    pub fn new(limits: SocketLimits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default(), next: AtomicU64::new(1) })
    }

    /// Takes a place for a socket of this session, until the session's token expires.
    ///
    /// # Errors
    /// `not_ready` while draining, `at_capacity`, `too_many_connections`.
    pub fn admit(self: &Arc<Self>, session: &Session) -> Result<SocketTicket, ErrorCode> {
        self.admit_with(session, true)
    }

    /// The same for a socket that need not be recognized when it reconnects, and so gets no seat.
    ///
    /// # Errors
    /// See [`OpenSockets::admit`].
    pub fn admit_nameless(self: &Arc<Self>, session: &Session) -> Result<SocketTicket, ErrorCode> {
        self.admit_with(session, false)
    }

    fn admit_with(self: &Arc<Self>, session: &Session, has_seat: bool) -> Result<SocketTicket, ErrorCode> {
        let mut table = self.table.lock();
        if table.is_closed {
            return Err(ErrorCode::NotReady);
        }
        if table.count >= self.limits.max_sockets {
            return Err(ErrorCode::AtCapacity);
        }
        let sockets = table.by_session.entry(session.id).or_default();
        if sockets.len() >= self.limits.max_of_session {
            return Err(ErrorCode::TooManyConnections);
        }
        let number = self.next.fetch_add(1, Relaxed);
        let is_free = |seat: &usize| sockets.iter().all(|entry| entry.seat != Some(*seat));
        let seat = if has_seat { (0..).find(is_free) } else { None };
        let socket_id = Uuid::new_v4();
        sockets.push(Entry {
            number,
            seat,
            socket_id,
            generation: session.generation,
            end: End::of(session.expires_at, self.limits.margin),
            actor: None,
            early: Vec::new(),
        });
        table.count += 1;
        Ok(SocketTicket { sockets: Arc::clone(self), session: session.id, number, seat, socket_id, share: None })
    }

    /// How many sockets a session has.
    pub fn of_session(&self, session: SessionId) -> usize {
        self.table.lock().by_session.get(&session).map_or(0, Vec::len)
    }

    /// How many sockets are open.
    pub fn count(&self) -> usize {
        self.table.lock().count
    }

    /// A session was ended: nothing passes over its sockets any more. Returns these sockets, so
    /// that the caller closes them.
    pub fn hush(&self, session: SessionId) -> Vec<(SessionId, u64)> {
        let mut table = self.table.lock();
        let sockets = table.by_session.get_mut(&session).into_iter().flatten();
        sockets
            .map(|entry| {
                entry.give(Order::Hush);
                (session, entry.number)
            })
            .collect()
    }

    /// A session has logged in. The sockets to keep belong to the login from now on. The others
    /// were opened with older credentials, and are closed.
    pub fn log_in(&self, session: &Session, logged_in: &Arc<LoggedIn>, otherwise: &Order) {
        let mut table = self.table.lock();
        for entry in table.by_session.get_mut(&session.id).into_iter().flatten() {
            if logged_in.keep.contains(&entry.socket_id) {
                // Also if it is earlier: a login may end before its session's tokens would.
                (entry.generation, entry.end) = (session.generation, End::of(session.expires_at, self.limits.margin));
                entry.give(Order::LogIn(session.clone(), Arc::clone(logged_in)));
            } else if entry.generation < session.generation {
                entry.give(otherwise.clone());
            }
        }
    }

    /// A session has later credentials. Its sockets last as long as those, if they were opened with
    /// the same login.
    pub fn prolong(&self, session: &Session) {
        let mut table = self.table.lock();
        let sockets = table.by_session.get_mut(&session.id).into_iter().flatten();
        let end = End::of(session.expires_at, self.limits.margin);
        sockets.filter(|entry| entry.generation == session.generation).for_each(|entry| entry.prolong(end));
    }

    /// Sends an order to the sockets of a session that were opened with a token below a generation.
    pub fn order_older(&self, session: SessionId, least: u64, order: &Order) {
        if let Some(sockets) = self.table.lock().by_session.get_mut(&session) {
            sockets.iter_mut().filter(|entry| entry.generation < least).for_each(|entry| entry.give(order.clone()));
        }
    }

    /// Sends an order to every socket.
    pub fn order_all(&self, order: Order) {
        let mut table = self.table.lock();
        table.by_session.values_mut().flatten().for_each(|entry| entry.give(order.clone()));
    }

    /// Tells every client whose token expires soon, and sends `close` to the sockets whose token is
    /// about to expire: once each for a token.
    pub fn keep_house(&self, now: SystemTime, close: &Order) {
        let mut table = self.table.lock();
        for entry in table.by_session.values_mut().flatten() {
            let End { expires_at, tell_at, close_at, told } = entry.end;
            if close_at <= now && told < Told::Close {
                entry.end.told = Told::Close;
                entry.give(close.clone());
            } else if tell_at <= now && told < Told::Expiry {
                entry.end.told = Told::Expiry;
                entry.give(Order::AnnounceExpiry { at: expires_at });
            }
        }
    }

    /// Admits no more sockets.
    pub fn shut(&self) {
        self.table.lock().is_closed = true;
    }

    /// The ticket numbers of all open sockets.
    pub fn numbers(&self) -> Vec<(SessionId, u64)> {
        let table = self.table.lock();
        table.by_session.iter().flat_map(|(session, entries)| entries.iter().map(|entry| (*session, entry.number))).collect()
    }

    /// Sends an order to one socket, if it still exists.
    pub fn order_one(&self, (session, number): (SessionId, u64), order: Order) {
        if let Some(entry) = self.table.lock().find(session, number) {
            entry.give(order);
        }
    }
}

impl Table {
    fn find(&mut self, session: SessionId, number: u64) -> Option<&mut Entry> {
        self.by_session.get_mut(&session)?.iter_mut().find(|entry| entry.number == number)
    }
}

impl Entry {
    fn give(&mut self, order: Order) {
        match &self.actor {
            // The mailbox is unbounded, but bounded by use: a socket gets few orders in its life,
            // and a close is the last.
            Some(actor) => actor.do_send(order),
            None => self.early.push(order),
        }
    }

    fn prolong(&mut self, end: End) {
        if end.expires_at > self.end.expires_at {
            self.end = end;
        }
    }
}

impl SocketTicket {
    /// The same, with its share of what its address may have.
    pub fn with(mut self, share: Option<Tab>) -> Self {
        self.share = share;
        self
    }

    /// The socket's seat among those of its session: the lowest free one, 0 for a single socket.
    /// `None` for a socket without a name.
    pub fn seat(&self) -> Option<usize> {
        self.seat
    }

    /// The id of the socket for its client and the broker.
    pub fn socket_id(&self) -> Uuid {
        self.socket_id
    }

    /// The client has presented later credentials of its session: the socket lasts as long as
    /// those.
    pub fn prolong(&self, expires_at: SystemTime) {
        if let Some(entry) = self.sockets.table.lock().find(self.session, self.number) {
            entry.prolong(End::of(expires_at, self.sockets.limits.margin));
        }
    }

    /// Sends an order to the socket itself, to be carried out after its present work.
    pub fn order(&self, order: Order) {
        self.sockets.order_one((self.session, self.number), order);
    }

    /// Names the actor that carries out the orders, and sends it those that came too early.
    pub fn attach(&self, actor: Recipient<Order>) {
        let mut table = self.sockets.table.lock();
        if let Some(entry) = table.find(self.session, self.number) {
            entry.early.drain(..).for_each(|order| actor.do_send(order));
            entry.actor = Some(actor);
        }
    }
}

impl Drop for SocketTicket {
    fn drop(&mut self) {
        let mut table = self.sockets.table.lock();
        let Some(sockets) = table.by_session.get_mut(&self.session) else { return };
        let before = sockets.len();
        sockets.retain(|entry| entry.number != self.number);
        let left = sockets.len();
        if left == 0 {
            table.by_session.remove(&self.session);
        }
        table.count -= before - left;
    }
}

#[cfg(test)]
#[path = "open_sockets_tests.rs"]
mod tests;
