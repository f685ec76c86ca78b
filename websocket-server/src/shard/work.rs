//! The work that connections give to the router of their thread.

use std::sync::Arc;

use actix::Message;
use common::{envelope::Family, message::AgentDescription};

use tokio::sync::oneshot;

use super::{ask::Ask, dispatch::Dispatch, login::Identify};
use crate::{
    peers::{Given, Peer},
    routing::StampedMessage,
};

/// Work for a connection. As much may wait as the mailbox holds.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub enum Work {
    /// Route a message.
    Dispatch(Dispatch),
    /// Route a message of a caller over HTTP, which has no connection.
    Post(Post),
    /// Serve its request to a bridge service.
    Ask(Asked),
    /// Record what has reached it.
    Mark(Marked),
    /// Log its session in.
    Identify(Identify),
}

impl Work {
    /// The connection that the work is for.
    pub fn peer(&self) -> &Peer {
        match self {
            Self::Dispatch(Dispatch { from: peer, .. })
            | Self::Post(Post { from: peer, .. })
            | Self::Ask(Asked { peer, .. })
            | Self::Mark(Marked { peer, .. })
            | Self::Identify(Identify { peer, .. }) => peer,
        }
    }
}

/// A message to be routed, whose sender wants to know that it was.
#[derive(Debug)]
pub struct Post {
    /// The sender.
    pub from: Arc<Peer>,
    /// The message.
    pub message: StampedMessage,
    /// Resolves when the message is on its way. Dropped if the message is refused; the sender's
    /// link then has the error.
    pub routed: oneshot::Sender<()>,
}

/// Register this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Attach {
    /// The connection.
    pub peer: Arc<Peer>,
    /// An agent's description of itself.
    pub description: AgentDescription,
    /// The `agent:register` frame that asked for the registration, if one did.
    pub asked_by: Option<RegisterFrame>,
}

/// A frame that is answered with `agent:registered`.
#[derive(Debug)]
pub struct RegisterFrame {
    /// The frame's id, if it had one.
    pub id: Option<String>,
}

/// Unregister this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Detach {
    /// The connection.
    pub peer: Arc<Peer>,
    /// The reason, for the others.
    pub reason: String,
    /// Whether it has left for good.
    pub for_good: bool,
}

/// The connection has answered a mark.
#[derive(Debug)]
pub struct Marked {
    /// The connection.
    pub peer: Arc<Peer>,
    /// What has reached it.
    pub given: Given,
}

/// A frame for a bridge service.
#[derive(Debug)]
pub struct Asked {
    /// The sender.
    pub peer: Arc<Peer>,
    /// The request.
    pub ask: Box<dyn Ask>,
    /// The id of the frame.
    pub id: Option<String>,
    /// The family of the frame, for the counters.
    pub family: Family,
    /// Bytes of the frame.
    pub bytes: usize,
}
