//! Callers over HTTP that wait for an answer: who asked whom, under which id.
//!
//! A caller is not connected. It has no entry in the tables of the router, nobody is told that it
//! comes or goes, and only an answer to its request reaches it. The answer is also routed by its
//! target like any other message, so that a durable answer is stored and the session's connections
//! get it.
//!
//! Called under the router's lock, and changed under a lock of its own: a caller comes and goes
//! without taking the router's lock for writing. Bounded by the shares of open requests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use common::{
    envelope::Envelope,
    error::{ClientError, ErrorCode},
    id::UserId,
};
use foldhash::HashMap;
use parking_lot::Mutex;
use store::ChannelName;
use tokio::sync::oneshot;
use transport::Reservation;

use super::StampedMessage;
use crate::peers::Peer;

/// The answer of the peer that was asked.
#[derive(Clone, Debug)]
pub struct CallerAnswer {
    /// The stamped envelope.
    pub text: String,
    /// Its place in the caller's inbox, if it is durable.
    pub stored: Option<(ChannelName, u64)>,
}

/// What a caller gets.
pub type CallerOutcome = Result<CallerAnswer, ClientError>;

#[derive(Debug)]
struct Waiting {
    number: u64,
    id: String,
    /// The address that was asked.
    responder: String,
    user: Option<UserId>,
    outcome: oneshot::Sender<CallerOutcome>,
    /// Its place among all open requests.
    _place: Reservation,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Callers {
    /// By the address of the caller.
    waiting: Mutex<HashMap<String, Vec<Waiting>>>,
    count: AtomicUsize,
    next: AtomicU64,
}

/// A caller's place. Dropping it ends the wait.
#[derive(Debug)]
pub struct CallerTicket {
    callers: Arc<Callers>,
    address: String,
    number: u64,
    outcome: oneshot::Receiver<CallerOutcome>,
}

impl Callers {
    /// Waits for the answer of `responder` to the caller's message with this id.
    ///
    /// # Errors
    /// `duplicate_request`: the caller has an open request with this id.
    pub fn wait(
        self: &Arc<Self>,
        caller: &Peer,
        id: &str,
        responder: String,
        place: Reservation,
    ) -> Result<CallerTicket, ErrorCode> {
        let (tell, outcome) = oneshot::channel();
        let number = self.next.fetch_add(1, Relaxed);
        let mut waiting = self.waiting.lock();
        let own = waiting.entry(caller.address().to_owned()).or_default();
        if own.iter().any(|other| other.id == id) {
            return Err(ErrorCode::DuplicateRequest);
        }
        let user = caller.user_id().cloned();
        own.push(Waiting { number, id: id.to_owned(), responder, user, outcome: tell, _place: place });
        self.count.fetch_add(1, Relaxed);
        Ok(CallerTicket { callers: Arc::clone(self), address: caller.address().to_owned(), number, outcome })
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Whether a message from this peer to this address is an answer that a caller waits for.
    pub(super) fn expects(&self, from: &Peer, address: &str, message: &StampedMessage) -> bool {
        let Some(answered) = message.correlation_id.as_deref().filter(|_| self.count() > 0) else { return false };
        let waiting = self.waiting.lock();
        waiting.get(address).into_iter().flatten().any(|caller| caller.answers(answered, from))
    }

    /// Hands an answer to the caller that waits for it. Steps of an answer, such as text deltas,
    /// are passed over: the caller waits for what ends the answer. Returns whether a caller waits.
    pub(super) fn hand(&self, from: &Peer, address: &str, message: &StampedMessage, stored: Option<(ChannelName, u64)>) -> bool {
        let Some(answered) = message.correlation_id.as_deref().filter(|_| self.count() > 0) else { return false };
        let mut waiting = self.waiting.lock();
        let Some(own) = waiting.get_mut(address) else { return false };
        let Some(at) = own.iter().position(|caller| caller.answers(answered, from)) else { return false };
        let text = message.frame.payload_text();
        if Envelope::parse(text, usize::MAX).is_ok_and(|envelope| envelope.is_step()) {
            return true;
        }
        let caller = self.take(&mut waiting, address, at);
        drop(waiting);
        if let Some(caller) = caller {
            // One that has gone this moment does not need it.
            let _ = caller.outcome.send(Ok(CallerAnswer { text: text.to_owned(), stored }));
        }
        true
    }

    /// A peer has gone: those who wait for its answer are told.
    pub(super) fn fail(&self, responder: &str) {
        if self.count() == 0 {
            return;
        }
        let mut failed = Vec::new();
        self.waiting.lock().retain(|_, own| {
            failed.extend(own.extract_if(.., |caller| caller.responder == responder));
            !own.is_empty()
        });
        self.count.fetch_sub(failed.len(), Relaxed);
        for caller in failed {
            let _ = caller.outcome.send(Err(ClientError::new(ErrorCode::PeerGone).about(responder)));
        }
    }

    /// The user of a session that is not connected, but has a caller. `None`: it has none.
    pub(super) fn user_at(&self, address: &str) -> Option<Option<UserId>> {
        self.waiting.lock().get(address)?.first().map(|caller| caller.user.clone())
    }

    fn take(&self, waiting: &mut HashMap<String, Vec<Waiting>>, address: &str, at: usize) -> Option<Waiting> {
        let own = waiting.get_mut(address)?;
        let caller = (at < own.len()).then(|| own.swap_remove(at));
        if own.is_empty() {
            waiting.remove(address);
        }
        self.count.fetch_sub(usize::from(caller.is_some()), Relaxed);
        caller
    }
}

impl Waiting {
    fn answers(&self, answered: &str, from: &Peer) -> bool {
        self.id == answered && self.responder == from.address()
    }
}

impl CallerTicket {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// What the caller is told instead of an answer.
    pub async fn outcome(&mut self) -> CallerOutcome {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome,
            // The sender lives as long as the ticket, or until it has answered.
            Err(_) => Err(ErrorCode::Internal.into()),
        }
    }
}

impl Drop for CallerTicket {
    fn drop(&mut self) {
        let mut waiting = self.callers.waiting.lock();
        let own = waiting.get(&self.address);
        if let Some(at) = own.and_then(|own| own.iter().position(|caller| caller.number == self.number)) {
            let gone = self.callers.take(&mut waiting, &self.address, at);
            drop(waiting);
            drop(gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::{
        address::Address,
        assertion::{ClientIdentity, Reading},
        config::Settings,
        id::{AgentId, SessionId},
        message::AgentDescription,
        rate::Rate,
    };
    use identity::policy::Policy;
    use transport::{Frame, Link};

    use super::*;
    use crate::{
        holders::Table,
        peers::{ConnectionId, PeerKind},
        routing::{Router, RouterLimits},
    };

    fn router() -> Router {
        Router::new(RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED }, Policy::open())
    }

    fn peer(kind: PeerKind) -> Arc<Peer> {
        let link = Link::new(crate::links::link_policy(&Settings::for_tests()));
        Peer::new(ConnectionId::next(), kind, link, Reading::default(), None, Default::default())
    }

    fn agent(name: &str) -> Arc<Peer> {
        peer(PeerKind::Agent(AgentId::new(name).expect("a name")))
    }

    fn session() -> Arc<Peer> {
        peer(PeerKind::Session(Box::new(ClientIdentity::anonymous(SessionId::fresh()))))
    }

    fn wait(router: &Router, caller: &Peer, id: &str, responder: &str) -> Result<CallerTicket, ErrorCode> {
        let place = caller.take(Table::Requests, 1).expect("a place");
        router.callers().wait(caller, id, responder.to_owned(), place)
    }

    fn answer(to: &Peer, id: &str, kind: &str) -> StampedMessage {
        let text = format!(r#"{{"type":"{kind}","correlation_id":"{id}"}}"#);
        let mut message = StampedMessage::plain(&text, Some(Address::parse(to.address()).expect("an address")));
        message.correlation_id = Some(id.to_owned());
        message.frame = Frame::text(&text);
        message
    }

    #[tokio::test]
    async fn only_the_peer_that_was_asked_ends_a_wait_and_steps_do_not() {
        let mut router = router();
        let [asked, other] = ["asked", "other"].map(agent);
        for agent in [&asked, &other] {
            router.attach(agent, AgentDescription::default(), 0);
        }
        let caller = session();
        let mut ticket = wait(&router, &caller, "q", "agent:asked").expect("waits");
        assert_eq!(wait(&router, &caller, "q", "agent:asked").err(), Some(ErrorCode::DuplicateRequest));
        let refused = |from: &Arc<Peer>, id: &str| router.dispatch(from, &answer(&caller, id, "message:done")).err();
        assert_eq!(refused(&other, "q").map(|error| error.code), Some(ErrorCode::SessionNotFound));
        assert_eq!(refused(&asked, "another").map(|error| error.code), Some(ErrorCode::SessionNotFound));
        let step = router.dispatch(&asked, &answer(&caller, "q", "message:delta")).expect("expected");
        assert_eq!((step.deliveries, router.callers().count()), (1, 1));
        router.dispatch(&asked, &answer(&caller, "q", "message:done")).expect("answered");
        let text = ticket.outcome().await.expect("an answer").text;
        assert!(text.contains("message:done"), "{text}");
        drop(ticket);
        assert_eq!(router.callers().count(), 0);
        assert_eq!(refused(&asked, "q").map(|error| error.code), Some(ErrorCode::SessionNotFound), "answered once");
    }

    #[tokio::test]
    async fn a_caller_is_told_that_its_peer_has_gone_and_one_that_leaves_is_forgotten() {
        let mut router = router();
        let asked = agent("asked");
        router.attach(&asked, AgentDescription::default(), 0);
        let (one, other) = (session(), session());
        let mut ticket = wait(&router, &one, "q", "agent:asked").expect("waits");
        drop(wait(&router, &other, "q", "agent:asked").expect("waits"));
        assert_eq!(router.callers().count(), 1);
        router.detach(&asked, "gone", 0);
        assert_eq!(ticket.outcome().await.expect_err("gone").code, ErrorCode::PeerGone);
        drop(ticket);
        assert_eq!((router.callers().count(), router.callers().waiting.lock().len()), (0, 0));
    }
}
