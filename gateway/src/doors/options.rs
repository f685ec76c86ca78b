//! How a door is opened.

use std::time::Duration;

use common::{
    assertion::{Acks, ClientIdentity},
    backoff::Backoff,
    id::{AgentId, ClientName},
    secret::Secret,
};
use serde_json::Value;

use super::{
    events::Rules,
    reading::Positions,
    way::{AgentPipe, BrokerAddress, SessionPipe},
};

/// Where the door of sessions is.
#[derive(Clone)]
pub enum SessionEntrance {
    /// Over a socket; the broker believes what is signed with the secret that it shares with its edges.
    Socket {
        /// The broker.
        address: BrokerAddress,
        /// The secret.
        secret: Secret,
    },
    /// In this process.
    Pipe(SessionPipe),
}

/// Where the door of agents is.
#[derive(Clone)]
pub enum AgentEntrance {
    /// Over a socket.
    Socket(BrokerAddress),
    /// In this process.
    Pipe(AgentPipe),
}

/// A session at a door.
#[derive(Clone)]
pub struct SessionOptions {
    /// Where.
    pub entrance: SessionEntrance,
    /// Who it is. How it reads is said in `tuning`.
    pub identity: ClientIdentity,
    /// The rest.
    pub tuning: Tuning,
}

/// An agent at a door.
#[derive(Clone)]
pub struct AgentOptions {
    /// Where.
    pub entrance: AgentEntrance,
    /// Its id.
    pub agent: AgentId,
    /// Its key.
    pub key: Secret,
    /// The payload of `agent:register`, which is the first frame on each connection.
    pub registration: Option<Value>,
    /// The rest.
    pub tuning: Tuning,
}

/// What both kinds of doors have in common.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The waits between tries to connect: random, up to a bound that doubles from `first` to `longest`.
    pub backoff: Backoff,
    /// How durable messages in inboxes are acknowledged. `Automatic`: a message counts as received when the connection has read it, at
    /// most [`Tuning::inbox_messages`] before the receiver takes it. `Explicit`: by [`super::Door::acknowledge`].
    pub acks: Acks,
    /// A name under which the broker keeps subscriptions and positions, also for a later life of this program. If another client of the
    /// same session takes the name over, the door comes back under another ([`super::Door::client`]), with its positions.
    pub client: Option<ClientName>,
    /// How far the receiver had come in an earlier life, if it goes on there: topics in it are subscribed to.
    pub positions: Positions,
    /// How long calls wait for the bridge's answers.
    pub call_limit: Duration,
    /// Calls that may wait at the same time. The broker takes 1024 open requests of a connection, where nothing else is set.
    pub max_pending: usize,
    /// Messages that may wait to be sent.
    pub queue_messages: usize,
    /// Bytes of those, one message more when there were none.
    pub queue_bytes: usize,
    /// Messages that may wait for the receiver to take them.
    pub inbox_messages: usize,
    /// Bytes of the longest message that is read. The broker's lists may be longer than any message of a peer.
    pub longest_message: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
            acks: Acks::Automatic,
            client: None,
            positions: Positions::new(),
            call_limit: Duration::from_secs(30),
            max_pending: 1024,
            queue_messages: 1024,
            queue_bytes: 4 * 1024 * 1024,
            inbox_messages: 256,
            longest_message: 16 * 1024 * 1024,
        }
    }
}

impl Tuning {
    /// The positions, and what the machine heeds.
    pub(super) fn into_rules(self, registration: Option<Value>) -> (Positions, Rules) {
        let Self { backoff, acks, client, positions, max_pending, queue_messages, queue_bytes, .. } = self;
        (positions, Rules { backoff, acks, max_pending, queue_messages, queue_bytes, registration, client })
    }
}
