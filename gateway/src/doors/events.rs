//! The events and effects of a door's state machine.

use common::{
    assertion::Acks,
    backoff::Backoff,
    close::CloseCode,
    id::{ClientName, TopicName},
};
use serde_json::Value;

use super::{
    calls::{Call, Outcome},
    incoming::Incoming,
    outgoing::Outgoing,
    way::{Fault, Opening},
};

/// The rules of one door.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The waits between attempts.
    pub backoff: Backoff,
    /// How durable messages are acknowledged.
    pub acks: Acks,
    /// The most calls that wait for their answers.
    pub max_pending: usize,
    /// The most messages that wait to be sent.
    pub queue_messages: usize,
    /// Bytes of those.
    pub queue_bytes: usize,
    /// The payload of `agent:register`, which is the first frame on each connection of an agent.
    pub registration: Option<Value>,
    /// The client name.
    pub client: Option<ClientName>,
}

/// An event.
#[derive(Debug)]
pub enum Event {
    /// The connection is open.
    Connected,
    /// The connection failed.
    NotConnected(Fault),
    /// The broker sent a message.
    Message(Incoming),
    /// Something else arrived: a ping.
    Heard,
    /// Everything that [`super::machine::Machine::next_frame`] returned is written.
    Written,
    /// The broker closed the connection.
    CloseReceived {
        /// With this code; [`CloseCode::NO_CODE`] without one.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
    /// The connection broke.
    Lost(String),
    /// The time that [`super::machine::Machine::next_due`] named has come.
    Due,
    /// Send this, at most once.
    Send(Outgoing),
    /// Send this and wait until `due_ms` for what ends the call.
    Call(Outgoing, Call, u64),
    /// End a subscription.
    Unsubscribe(TopicName),
    /// Acknowledge a message of an inbox.
    Acknowledge(String, u64),
    /// Accept nothing more, and close when nothing waits any more.
    Drain,
    /// Close now.
    Close,
}

/// What to do, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Dial the broker.
    Connect(Opening),
    /// Hand a message to the receiver.
    Deliver(Incoming),
    /// End the call with this id.
    Resolve(String, Outcome),
    /// Close the connection with this code and reason.
    HangUp(CloseCode, &'static str),
    /// Drop the connection: it is useless.
    Drop,
    /// Report that the state has changed.
    Moved,
}

/// The time of an event, and a random number.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never decreases.
    pub now_ms: u64,
    /// A uniformly distributed number.
    pub dice: u64,
}
