//! A caller over HTTP as a peer: with an identity and payers, and without a connection.

use std::{future::poll_fn, rc::Rc, sync::Arc, time::SystemTime};

use common::{
    assertion::{Acks, ClientIdentity, Reading},
    close::CloseCode,
    envelope::Envelope,
    error::{ClientError, ErrorCode},
    id::AgentId,
    message::{AgentMessage, ClientMessage},
};
use tokio::{sync::oneshot, task::yield_now};
use transport::{Frame, Link, clock::now_ms};

use crate::{
    actors::outgoing,
    admissions::Admission,
    audit::Event,
    broker::Broker,
    peers::{ConnectionId, OPERATOR, Pass, Peer, PeerKind},
    routing::StampedMessage,
    services,
    shard::{Detach, Post, Shard, Work},
    side::Side,
};

/// Who calls.
#[derive(Clone, Debug)]
pub enum Who {
    /// A session that its edge vouches for.
    Session(Box<ClientIdentity>),
    /// An agent with its key.
    Agent(AgentId, Pass),
    /// An operator, from this address.
    Operator(String),
}

/// See the module.
#[derive(Debug)]
pub struct Caller {
    /// What remains of the caller for as long as it waits for an answer.
    pub line: Rc<Line>,
    admission: Admission,
    /// The address of an operator.
    operator: Option<String>,
}

/// The way from a caller to the router, and back.
#[derive(Debug)]
pub struct Line {
    /// The broker.
    pub broker: Arc<Broker>,
    /// The caller as a peer. Its link gets what the bridge tells the caller.
    pub peer: Arc<Peer>,
    shard: Rc<Shard>,
}

impl Who {
    /// Takes a place among the connections. It counts for the same holders as a socket.
    ///
    /// # Errors
    /// `not_ready`, `at_capacity`, `too_many_connections`; `session_ended` and
    /// `credentials_expired` for credentials that were revoked; `not_allowed` for an agent id that
    /// the key is not for.
    pub fn enter(self, broker: &Arc<Broker>) -> Result<Caller, ClientError> {
        let mut operator = None;
        let (admission, kind, pass) = match self {
            Self::Session(identity) => (broker.admit_session(&identity)?, PeerKind::Session(identity), None),
            Self::Agent(agent_id, pass) => {
                pass.check_id(&agent_id)?;
                let address = pass.address().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
                (broker.admit_agent(pass.name(), address)?, PeerKind::Agent(agent_id), Some(pass))
            }
            Self::Operator(address) => {
                operator = Some(address);
                let agent_id = AgentId::new(OPERATOR).map_err(|_| ErrorCode::Internal)?;
                (broker.admissions.admit_operator()?, PeerKind::Agent(agent_id), None)
            }
        };
        // It reads no inbox, and acknowledges what it has handed to its client.
        let reading = Reading { acks: Acks::Explicit, topics_only: true, ..Reading::default() };
        let link = Link::new(Arc::clone(&broker.link_policy));
        let peer = Peer::new(ConnectionId::next(), kind, link, reading, pass, Arc::clone(admission.payers()));
        if let Some(code) = broker.router.read().is_stranger(&peer) {
            return Err(ended(code).into());
        }
        let line = Rc::new(Line { broker: Arc::clone(broker), peer, shard: Shard::of(broker) });
        Ok(Caller { line, admission, operator })
    }
}

/// The error of credentials that ended with this close code.
fn ended(code: CloseCode) -> ErrorCode {
    if code == CloseCode::CREDENTIALS_EXPIRED { ErrorCode::CredentialsExpired } else { ErrorCode::SessionEnded }
}

impl Caller {
    /// The side of the bridge that it is on.
    pub fn side(&self) -> Side {
        if self.line.peer.is_agent() { Side::Agent } else { Side::Session }
    }

    /// Charges a message of so many bytes to the caller's payers.
    ///
    /// # Errors
    /// `frame_too_big`, `rate_limited`.
    pub fn charge(&self, bytes: usize) -> Result<(), ClientError> {
        let limit = self.line.broker.max_frame_bytes(self.side());
        if bytes > limit {
            let message = format!("the message is longer than {limit} bytes");
            return Err(ClientError::with_message(ErrorCode::FrameTooBig, message));
        }
        self.admission.take(bytes, now_ms()).map_err(|wait| ClientError::new(ErrorCode::RateLimited).after(wait))
    }

    /// Reads the head of a message that the caller sends, and stamps it.
    ///
    /// # Errors
    /// `invalid_envelope`, `invalid_target`; `reserved_type` for messages that only a connection
    /// can send, such as subscriptions and acknowledgements.
    pub fn read(&self, text: &str) -> Result<StampedMessage, ClientError> {
        let envelope = Envelope::parse(text, self.line.broker.settings.limits.max_depth).map_err(|fault| fault.error)?;
        let is_routed = services::read(self.side(), &envelope)?.is_none()
            && match self.side() {
                Side::Agent => matches!(AgentMessage::of(&envelope)?, AgentMessage::Other),
                Side::Session => matches!(ClientMessage::of(&envelope)?, ClientMessage::Other),
            };
        if !is_routed {
            let message = "the bridge answers this type itself, on a connection only: over HTTP, messages go to other peers";
            return Err(ClientError::with_message(ErrorCode::ReservedType, message));
        }
        if let Some(address) = &self.operator {
            let target = envelope.target.as_ref().map(ToString::to_string).unwrap_or_default();
            self.line.broker.audit.note(Event::Admin, "operator", &format!("sent {} to {target}", envelope.kind), address);
        }
        outgoing(&self.line.broker.settings.store, &self.line.peer, &envelope)
    }

    /// Checks that the caller's credentials are still valid after a wait.
    ///
    /// # Errors
    /// `session_ended`, `credentials_expired`, `agent_key_revoked`, `agent_key_expired`.
    pub fn check_again(&self) -> Result<(), ClientError> {
        let authentication = &self.line.broker.authentication;
        match (&self.line.peer.kind, &self.line.peer.pass) {
            (PeerKind::Session(identity), _) => Ok(authentication.revocations.check(identity)?),
            (PeerKind::Agent(_), Some(pass)) if pass.has_expired(SystemTime::now()) => Err(ErrorCode::AgentKeyExpired.into()),
            (PeerKind::Agent(_), Some(pass)) if authentication.keys.closed_since(pass).is_some() => {
                Err(ErrorCode::AgentKeyRevoked.into())
            }
            (PeerKind::Agent(_), _) => Ok(()),
        }
    }
}

impl Line {
    /// Gives a message to the router of this thread. The answer resolves when the message is on its
    /// way, and is dropped if it is refused: then the link has the error.
    pub async fn submit(&self, message: StampedMessage) -> oneshot::Receiver<()> {
        let (routed, answer) = oneshot::channel();
        self.hand_over(Work::Post(Post { from: Arc::clone(&self.peer), message, routed })).await;
        answer
    }

    /// Gives work to the router, as soon as its mailbox has room.
    pub async fn hand_over(&self, mut work: Work) {
        while let Some(left) = self.shard.try_send(work) {
            work = left;
            // The router is on this thread and empties its mailbox before this task runs again.
            yield_now().await;
        }
    }

    /// Ends the caller's subscriptions.
    pub fn leave(&self) {
        self.peer.link.kill();
        let detach = Detach { peer: Arc::clone(&self.peer), reason: "the reader has gone".to_owned(), for_good: true };
        self.shard.detach(detach);
    }

    /// The next frames of the bridge for the caller.
    pub async fn frames(&self) -> Vec<Frame> {
        poll_fn(|task| self.peer.link.poll_frames(task)).await
    }

    /// Waits as long as a receiver that reads too slowly asks its senders to pause.
    pub async fn pause(&self) {
        if let Some(slow) = self.peer.held_by() {
            poll_fn(|task| slow.poll_open(task)).await;
            self.peer.release();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.peer.link.kill();
        self.peer.let_go();
    }
}
