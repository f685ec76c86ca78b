//! Delivers ephemeral messages to all their receivers.

use std::sync::{Arc, atomic::AtomicUsize};

use common::{
    address::{Address, Scope},
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, TopicName, UserId},
    message::{Speaker, SystemMessage},
};
use store::ChannelName;
use transport::{Frame, Lane, Link, Sent, Source};

use crate::{
    holders::Table,
    peers::{OpenError, Peer},
};

use super::{
    Destination, Route, Router, StampedMessage,
    router::{AgentEntry, SessionEntry},
};

/// The outcome for a message.
#[derive(Debug)]
pub struct Routed {
    /// The kinds of sender and receiver.
    pub route: Route,
    /// Connections that got it.
    pub deliveries: usize,
    /// A receiver that the sender should wait for.
    pub pause_for: Option<Arc<Link>>,
}

impl Router {
    /// Delivers an ephemeral message to all its receivers.
    ///
    /// # Errors
    /// The error for the sender; nobody got the message then.
    pub fn dispatch(&self, from: &Arc<Peer>, message: &StampedMessage) -> Result<Routed, ClientError> {
        let Destination { address, route } = self.destination(from, message)?;
        let source = from.source();
        let outcome = match &*address {
            Address::Agent(agent_id) => self.to_agent(from, agent_id, route, message),
            Address::Session(session_id) => self.to_session(from, *session_id, route, message),
            Address::User(user_id) => self.to_user(from, user_id, route, message),
            Address::Topic(name) => Ok(deliver(self.subscribers_of(from, name), route, |peer| send(source, peer, message))),
            Address::Broadcast(scope) => Ok(deliver(self.everyone_in(from, *scope), route, |peer| send(source, peer, message))),
            Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => Err(ErrorCode::ReservedType.into()),
        };
        match (outcome, self.hand_to_caller(from, &address, message, None)) {
            (Ok(routed), true) => Ok(Routed { deliveries: routed.deliveries + 1, ..routed }),
            (Err(_), true) => Ok(Routed { route, deliveries: 1, pause_for: None }),
            (outcome, false) => outcome.map_err(|error| error.about(address.to_string())),
        }
    }

    /// Hands a message to the caller over HTTP that waits for it as an answer, if there is one.
    /// `stored`: its place in the caller's inbox.
    pub fn hand_to_caller(
        &self,
        from: &Peer,
        address: &Address,
        message: &StampedMessage,
        stored: Option<(ChannelName, u64)>,
    ) -> bool {
        message.correlation_id.is_some()
            && self.callers.count() > 0
            && self.callers.hand(from, &address.to_string(), message, stored)
    }

    fn to_agent(
        &self,
        from: &Arc<Peer>,
        agent_id: &AgentId,
        route: Route,
        message: &StampedMessage,
    ) -> Result<Routed, ClientError> {
        let AgentEntry { peer, awaited, .. } = self.agents.get(agent_id).ok_or(ErrorCode::AgentNotFound)?;
        self.to_one(from, awaited, std::slice::from_ref(peer), route, message)
    }

    /// Every connection at an address of one agent, session or user.
    pub fn peers_at(&self, address: &Address) -> Vec<Arc<Peer>> {
        let of_session = |id: &SessionId| self.sessions.get(id).map(|entry| entry.peers.clone()).unwrap_or_default();
        match address {
            Address::Agent(agent_id) => self.agents.get(agent_id).map(|entry| Arc::clone(&entry.peer)).into_iter().collect(),
            Address::Session(session_id) => of_session(session_id),
            Address::User(user_id) => self.users.get(user_id).into_iter().flatten().flat_map(of_session).collect(),
            Address::Topic(_) | Address::Broadcast(_) => Vec::new(),
            Address::Bridge | Address::Run(_) | Address::Thread(_) | Address::Pool(_) => Vec::new(),
        }
    }

    /// Sends a message of the bridge to every connection at an address, ahead of the data that
    /// waits.
    pub fn tell(&self, address: &str, message: &SystemMessage, correlation_id: &str) {
        let Ok(target) = Address::parse(address) else { return };
        let peers = self.peers_at(&target);
        if !peers.is_empty() {
            let frame = Frame::text(&message.encode(Speaker::Bridge, Some(address), Some(correlation_id)));
            for peer in &peers {
                peer.link.send(Lane::Control, frame.clone());
            }
        }
    }

    /// Passes every connection that reads at an address to `work`, except the sender's if there are
    /// many.
    pub fn with_readers<T>(
        &self,
        from: &Peer,
        address: &Address,
        work: impl FnOnce(&mut dyn Iterator<Item = &Arc<Peer>>) -> T,
    ) -> T {
        match address {
            Address::Topic(name) => work(&mut self.subscribers_of(from, name)),
            Address::Broadcast(scope) => work(&mut self.everyone_in(from, *scope)),
            _ => work(&mut self.peers_at(address).iter()),
        }
    }

    fn subscribers_of<'a>(&'a self, from: &Peer, name: &TopicName) -> impl Iterator<Item = &'a Arc<Peer>> + use<'a> {
        let sender = from.id;
        self.topics.get(name).into_iter().flat_map(|topic| topic.subscribers()).filter(move |peer| peer.id != sender)
    }

    fn everyone_in<'a>(&'a self, from: &Peer, scope: Scope) -> impl Iterator<Item = &'a Arc<Peer>> + use<'a> {
        let sender = from.id;
        let agents = matches!(scope, Scope::Agents | Scope::All).then(|| self.agents.values().map(|entry| &entry.peer));
        let sessions =
            matches!(scope, Scope::Sessions | Scope::All).then(|| self.sessions.values().flat_map(|entry| &entry.peers));
        agents.into_iter().flatten().chain(sessions.into_iter().flatten()).filter(move |peer| peer.id != sender)
    }

    fn to_session(
        &self,
        from: &Arc<Peer>,
        session_id: SessionId,
        route: Route,
        message: &StampedMessage,
    ) -> Result<Routed, ClientError> {
        let SessionEntry { peers, awaited, .. } = self.sessions.get(&session_id).ok_or(ErrorCode::SessionNotFound)?;
        self.to_one(from, awaited, peers, route, message)
    }

    /// Delivers to the connections of one agent or session: opens the request before the frame can
    /// be answered.
    fn to_one(
        &self,
        from: &Arc<Peer>,
        awaited: &Arc<AtomicUsize>,
        peers: &[Arc<Peer>],
        route: Route,
        message: &StampedMessage,
    ) -> Result<Routed, ClientError> {
        self.open_request(from, awaited, peers.first().map_or("", |peer| peer.address()), message)?;
        let routed = deliver(peers.iter(), route, |peer| send_answer(from, peer, message));
        if routed.deliveries == 0 {
            cancel_request(from, message);
            return Err(ErrorCode::ReceiverOverloaded.into());
        }
        Ok(routed)
    }

    fn open_request(
        &self,
        from: &Arc<Peer>,
        awaited: &Arc<AtomicUsize>,
        responder: &str,
        message: &StampedMessage,
    ) -> Result<(), ClientError> {
        let Some((deadline_ms, id)) = message.deadline_ms.zip(message.id.as_deref()) else { return Ok(()) };
        let limit = self.limits.max_requests;
        let place = || from.payers.take(Table::Requests as u8, 1).map(Some);
        let opened = from.with_requests(|requests| requests.open(id, responder, deadline_ms, awaited, limit, place));
        opened.map_err(|error| match error {
            OpenError::TooMany => {
                let message = format!("This connection has as many open requests as it may: {limit}. Wait for answers.");
                ClientError::with_message(ErrorCode::TooManyRequests, message)
            }
            OpenError::Duplicate => ErrorCode::DuplicateRequest.into(),
            OpenError::ShareUsed(used) => Table::Requests.refusal(used),
        })
    }

    /// Opens the request, if a durable message is one; also if nobody is connected yet who could
    /// answer.
    ///
    /// # Errors
    /// `too_many_requests`, `duplicate_request`.
    pub fn open_durable_request(&self, from: &Arc<Peer>, address: &Address, message: &StampedMessage) -> Result<(), ClientError> {
        if message.deadline_ms.is_none() {
            return Ok(());
        }
        let awaited = match address {
            Address::Agent(agent_id) => self.agents.get(agent_id).map(|entry| &entry.awaited),
            Address::Session(session_id) => self.sessions.get(session_id).map(|entry| &entry.awaited),
            _ => None,
        };
        self.open_request(from, awaited.unwrap_or(&Arc::default()), &address.to_string(), message)
    }

    /// A durable message was accepted: a peer that waited for it as an answer no longer waits.
    pub fn answer_requests(&self, from: &Peer, address: &Address, message: &StampedMessage) {
        if message.correlation_id.is_some() {
            self.peers_at(address).iter().for_each(|peer| answer_request(from, peer, message));
        }
    }

    fn to_user(&self, from: &Peer, user_id: &UserId, route: Route, message: &StampedMessage) -> Result<Routed, ClientError> {
        let source = from.source();
        let sessions = self.users.get(user_id).ok_or(ErrorCode::UserNotFound)?;
        let peers = sessions.iter().filter_map(|id| self.sessions.get(id)).flat_map(|entry| &entry.peers);
        Ok(deliver(peers, route, |peer| send(source, peer, message)))
    }
}

/// The receiver may have waited for this message.
fn answer_request(from: &Peer, receiver: &Peer, message: &StampedMessage) {
    if let Some(answered) = &message.correlation_id
        && receiver.has_requests()
    {
        receiver.with_requests(|requests| requests.answer(answered, from.address()));
    }
}

/// The message was not sent: its sender need not wait for an answer.
pub fn cancel_request(from: &Peer, message: &StampedMessage) {
    if let Some((_, id)) = message.deadline_ms.zip(message.id.as_deref()) {
        from.with_requests(|requests| requests.cancel(id));
    }
}

/// Sends the shared frame.
fn send(source: Source, receiver: &Peer, message: &StampedMessage) -> Sent {
    receiver.link.send_from(source, message.lane, message.frame.clone(), message.overflow)
}

/// Sends a message that the receiver may have waited for. If there is room for it, the wait ends
/// before the receiver can have read it: then the id of its request is free again.
fn send_answer(from: &Peer, receiver: &Peer, message: &StampedMessage) -> Sent {
    let Some(answered) = message.correlation_id.as_deref().filter(|_| receiver.has_requests()) else {
        return send(from.source(), receiver, message);
    };
    receiver.with_requests(|requests| {
        let sent = send(from.source(), receiver, message);
        if sent.is_queued() {
            requests.answer(answered, from.address());
        }
        sent
    })
}

/// Calls `send` for each peer, and counts who got it.
fn deliver<'a>(peers: impl Iterator<Item = &'a Arc<Peer>>, route: Route, send: impl Fn(&Peer) -> Sent) -> Routed {
    let mut routed = Routed { route, deliveries: 0, pause_for: None };
    for peer in peers {
        let sent = send(peer);
        routed.deliveries += usize::from(sent.is_queued());
        if sent == Sent::QueuedButPause {
            routed.pause_for = Some(Arc::clone(&peer.link));
        }
    }
    routed
}

#[cfg(test)]
mod tests {
    use common::{assertion::Reading, config::Settings, message::AgentDescription, rate::Rate};
    use identity::policy::Policy;

    use super::*;
    use crate::peers::ConnectionId;
    use crate::peers::PeerKind;
    use crate::routing::RouterLimits;

    fn router() -> Router {
        let limits = RouterLimits { max_subscriptions: 10, max_requests: 10, answers: Rate::UNLIMITED };
        Router::new(limits, Policy::open())
    }

    #[test]
    fn an_answer_for_which_there_is_no_room_leaves_the_request_open() {
        let mut router = router();
        let links = crate::links::link_policy(&Settings::for_tests());
        let id = |name: &str| AgentId::new(name).expect("a name");
        let [asker, responder] = ["asker", "responder"].map(|name| {
            let link = Link::new(Arc::clone(&links));
            let peer =
                Peer::new(ConnectionId::next(), PeerKind::Agent(id(name)), link, Reading::default(), None, Default::default());
            router.attach(&peer, AgentDescription::default(), 0);
            peer
        });
        let mut question = StampedMessage::plain("?", Some(Address::Agent(id("responder"))));
        question.id = Some("q".to_owned());
        question.deadline_ms = Some(u64::MAX);
        router.dispatch(&asker, &question).expect("asked");

        let to_asker = Some(Address::Agent(id("asker")));
        let large = "x".repeat(links.outbox_bytes / 8);
        while router.dispatch(&responder, &StampedMessage::plain(&large, to_asker.clone())).is_ok() {}
        let answer = StampedMessage { correlation_id: Some("q".to_owned()), ..StampedMessage::plain(&large, to_asker) };
        let refused = router.dispatch(&responder, &answer).expect_err("no room");
        assert_eq!(refused.code, ErrorCode::ReceiverOverloaded);
        assert!(asker.has_requests(), "it still waits");
        asker.link.drain();
        router.dispatch(&responder, &answer).expect("answered");
        assert!(!asker.has_requests());
    }
}
