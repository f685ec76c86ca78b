//! The sockets that are open at this edge, by session: admits them, counts them, and reaches them with orders.
//!
//! Shared by all worker threads. A socket is entered before its upgrade and leaves when its [`SocketTicket`] is dropped,
//! whatever became of it in between. Does not own sockets and does not wait for them.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use actix::{Message, Recipient};
use common::{close::CloseCode, error::ErrorCode, id::SessionId};
use parking_lot::Mutex;
use transport::Tab;

use super::token::Session;

/// What a socket's actor is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Order {
    /// Tell the client that the server drains, and that its socket will be closed within so many milliseconds.
    AnnounceDrain {
        /// The time left.
        close_within_ms: u64,
    },
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
pub struct Admission {
    /// In all.
    pub max_sockets: usize,
    /// Of one session.
    pub max_of_session: usize,
}

/// See the module.
pub struct OpenSockets {
    admission: Admission,
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
    /// When the token it was opened with stops being good.
    expires_at: SystemTime,
    actor: Option<Recipient<Order>>,
    /// The last order that came before the actor did.
    early: Option<Order>,
}

/// The place of one socket in the table; dropping it gives the place up.
pub struct SocketTicket {
    sockets: Arc<OpenSockets>,
    session: SessionId,
    number: u64,
    /// Its part in what its address may have.
    share: Option<Tab>,
}

impl OpenSockets {
    /// An empty table.
    pub fn new(admission: Admission) -> Arc<Self> {
        Arc::new(Self { admission, table: Mutex::default(), next: AtomicU64::new(1) })
    }

    /// Takes a place for a socket of this session, good until the session's token expires.
    ///
    /// # Errors
    /// `not_ready` while draining, `at_capacity`, `too_many_connections`.
    pub fn admit(self: &Arc<Self>, session: Session) -> Result<SocketTicket, ErrorCode> {
        let mut table = self.table.lock();
        if table.is_closed {
            return Err(ErrorCode::NotReady);
        }
        if table.count >= self.admission.max_sockets {
            return Err(ErrorCode::AtCapacity);
        }
        let sockets = table.by_session.entry(session.id).or_default();
        if sockets.len() >= self.admission.max_of_session {
            return Err(ErrorCode::TooManyConnections);
        }
        let number = self.next.fetch_add(1, Relaxed);
        sockets.push(Entry { number, expires_at: session.expires_at, actor: None, early: None });
        table.count += 1;
        Ok(SocketTicket { sockets: Arc::clone(self), session: session.id, number, share: None })
    }

    /// How many sockets a session has.
    pub fn of_session(&self, session: SessionId) -> usize {
        self.table.lock().by_session.get(&session).map_or(0, Vec::len)
    }

    /// How many sockets there are.
    pub fn count(&self) -> usize {
        self.table.lock().count
    }

    /// Gives an order to every socket of a session.
    pub fn order_session(&self, session: SessionId, order: Order) {
        if let Some(sockets) = self.table.lock().by_session.get_mut(&session) {
            sockets.iter_mut().for_each(|entry| entry.give(order));
        }
    }

    /// Gives an order to every socket.
    pub fn order_all(&self, order: Order) {
        let mut table = self.table.lock();
        table.by_session.values_mut().flatten().for_each(|entry| entry.give(order));
    }

    /// Gives an order to every socket whose token is no longer good at this time.
    pub fn order_expired(&self, time: SystemTime, order: Order) {
        let mut table = self.table.lock();
        let expired = table.by_session.values_mut().flatten().filter(|entry| entry.expires_at <= time);
        expired.for_each(|entry| entry.give(order));
    }

    /// Admits no socket any more.
    pub fn shut(&self) {
        self.table.lock().is_closed = true;
    }

    /// The tickets' numbers of all sockets there are.
    pub fn numbers(&self) -> Vec<(SessionId, u64)> {
        let table = self.table.lock();
        table.by_session.iter().flat_map(|(session, entries)| entries.iter().map(|entry| (*session, entry.number))).collect()
    }

    /// Gives an order to one socket, if it is still there.
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
            // Unbounded by kind, bounded by use: a socket hears two or three orders in its life.
            Some(actor) => actor.do_send(order),
            None => self.early = Some(order),
        }
    }
}

impl SocketTicket {
    /// The same, with its part in what its address may have.
    pub fn with(mut self, share: Option<Tab>) -> Self {
        self.share = share;
        self
    }

    /// Names the actor that carries out the orders, and gives it the one that came too early.
    pub fn attach(&self, actor: Recipient<Order>) {
        let mut table = self.sockets.table.lock();
        if let Some(entry) = table.find(self.session, self.number) {
            if let Some(order) = entry.early.take() {
                actor.do_send(order);
            }
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
mod tests {
    use std::time::Duration;

    use actix::{Actor, Context, Handler};

    use super::*;

    const CLOSE: Order = Order::Close { code: CloseCode::SESSION_ENDED, reason: "the session was ended" };

    fn session() -> Session {
        let now = SystemTime::now();
        Session { id: SessionId::fresh(), created_at: now, issued_at: now, expires_at: now + Duration::from_secs(60) }
    }

    fn sockets() -> Arc<OpenSockets> {
        OpenSockets::new(Admission { max_sockets: 3, max_of_session: 2 })
    }

    struct Listener(tokio::sync::mpsc::UnboundedSender<Order>);

    impl Actor for Listener {
        type Context = Context<Self>;
    }

    impl Handler<Order> for Listener {
        type Result = ();
        fn handle(&mut self, order: Order, _: &mut Self::Context) {
            self.0.send(order).expect("the test listens");
        }
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let sockets = sockets();
        let mine = session();
        let first = sockets.admit(mine).expect("free");
        let _second = sockets.admit(mine).expect("free");
        assert_eq!(sockets.admit(mine).err(), Some(ErrorCode::TooManyConnections));
        let _third = sockets.admit(session()).expect("free");
        assert_eq!(sockets.admit(session()).err(), Some(ErrorCode::AtCapacity));
        assert_eq!((sockets.count(), sockets.of_session(mine.id)), (3, 2));
        drop(first);
        assert_eq!((sockets.count(), sockets.of_session(mine.id)), (2, 1));
        sockets.shut();
        assert_eq!(sockets.admit(mine).err(), Some(ErrorCode::NotReady));
    }

    #[actix_web::test]
    async fn orders_reach_the_sockets_of_their_session_only() {
        let sockets = sockets();
        let mine = session();
        let ticket = sockets.admit(mine).expect("free");
        let other = sockets.admit(session()).expect("free");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let (tell_other, mut told_other) = tokio::sync::mpsc::unbounded_channel();
        ticket.attach(Listener(tell).start().recipient());
        other.attach(Listener(tell_other).start().recipient());
        sockets.order_session(mine.id, CLOSE);
        assert_eq!(told.recv().await, Some(CLOSE));
        sockets.order_all(Order::AnnounceDrain { close_within_ms: 5 });
        assert_eq!(told_other.recv().await, Some(Order::AnnounceDrain { close_within_ms: 5 }));
    }

    #[actix_web::test]
    async fn sockets_whose_token_runs_out_are_told() {
        let sockets = sockets();
        let mine = session();
        let ticket = sockets.admit(mine).expect("free");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        ticket.attach(Listener(tell).start().recipient());
        sockets.order_expired(SystemTime::now(), CLOSE);
        sockets.order_expired(mine.expires_at, Order::AnnounceDrain { close_within_ms: 5 });
        assert_eq!(told.recv().await, Some(Order::AnnounceDrain { close_within_ms: 5 }));
    }

    #[actix_web::test]
    async fn an_order_that_comes_before_the_actor_is_kept_for_it() {
        let sockets = sockets();
        let mine = session();
        let ticket = sockets.admit(mine).expect("free");
        sockets.order_session(mine.id, CLOSE);
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        ticket.attach(Listener(tell).start().recipient());
        assert_eq!(told.recv().await, Some(CLOSE));
    }
}
