//! The options of a door.

use std::time::Duration;

use common::{
    assertion::{Acks, ClientIdentity, Prefetch},
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

/// The connection for sessions.
#[derive(Clone)]
pub enum SessionEntrance {
    /// Over a socket. The broker accepts what is signed with the secret that it shares with its
    /// edges.
    Socket {
        /// The broker.
        address: BrokerAddress,
        /// The secret.
        secret: Secret,
    },
    /// In this process.
    Pipe(SessionPipe),
}

/// The connection for agents.
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
    /// The connection.
    pub entrance: SessionEntrance,
    /// Its identity. `tuning` says how it reads.
    pub identity: ClientIdentity,
    /// Further options.
    pub tuning: Tuning,
}

/// An agent at a door.
#[derive(Clone)]
pub struct AgentOptions {
    /// The connection.
    pub entrance: AgentEntrance,
    /// Its id.
    pub agent: AgentId,
    /// Its key.
    pub key: Secret,
    /// The payload of `agent:register`, which is the first frame on each connection.
    pub registration: Option<Value>,
    /// Further options.
    pub tuning: Tuning,
}

/// The options of both kinds of doors.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The waits between attempts to connect: random, up to a bound that doubles from `first` to
    /// `longest`.
    pub backoff: Backoff,
    /// How durable messages in inboxes are acknowledged. `Automatic`: a message counts as received
    /// when the connection has read it, at most [`Tuning::inbox_messages`] before the receiver
    /// takes it. `Explicit`: by [`super::Door::acknowledge`].
    pub acks: Acks,
    /// With `Explicit`: how many unacknowledged messages the bridge hands to this connection at
    /// most.
    pub prefetch: Prefetch,
    /// The client name, under which the broker stores subscriptions and positions, also for a later
    /// life of this program. If another client of the same session takes the name over, the door
    /// comes back under another one ([`super::Door::client`]), with its positions.
    pub client: Option<ClientName>,
    /// The receiver's positions in an earlier life, to continue there. Topics among them are
    /// subscribed to.
    pub positions: Positions,
    /// How long calls wait for the bridge's answers.
    pub call_limit: Duration,
    /// The most calls that wait at the same time. By default the broker allows 1024 open requests
    /// for a connection.
    pub max_pending: usize,
    /// The most messages that wait to be sent.
    pub queue_messages: usize,
    /// Bytes of those; one message is always allowed.
    pub queue_bytes: usize,
    /// The most messages that wait for the receiver to take them.
    pub inbox_messages: usize,
    /// The longest message that is read, in bytes. The broker's lists may be longer than any
    /// message of a peer.
    pub longest_message: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            backoff: Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) },
            acks: Acks::Automatic,
            prefetch: Prefetch::default(),
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
    /// The positions, and the rules for the machine.
    pub(super) fn into_rules(self, registration: Option<Value>) -> (Positions, Rules) {
        let Self { backoff, acks, client, positions, max_pending, queue_messages, queue_bytes, .. } = self;
        (positions, Rules { backoff, acks, max_pending, queue_messages, queue_bytes, registration, client })
    }
}
