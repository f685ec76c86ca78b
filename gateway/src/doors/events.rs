//! What goes into a door's state machine and what comes out of it.

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
    /// The waits between tries.
    pub backoff: Backoff,
    /// How durable messages are acknowledged.
    pub acks: Acks,
    /// Calls that may wait for their answers.
    pub max_pending: usize,
    /// Messages that may wait to be sent.
    pub queue_messages: usize,
    /// Bytes of those.
    pub queue_bytes: usize,
    /// The payload of `agent:register`, which is the first frame on each connection of an agent.
    pub registration: Option<Value>,
    /// The client's name.
    pub client: Option<ClientName>,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// There is a connection.
    Connected,
    /// There is none.
    NotConnected(Fault),
    /// The broker sent a message.
    Message(Incoming),
    /// Something else was heard: a ping.
    Heard,
    /// Everything that [`super::machine::Machine::next_frame`] gave is written.
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
    /// A time has come that [`super::machine::Machine::next_due`] named.
    Due,
    /// Send this, at most once.
    Send(Outgoing),
    /// Send this and wait until `due_ms` for what ends the call.
    Call(Outgoing, Call, u64),
    /// Give a topic up.
    Unsubscribe(TopicName),
    /// Acknowledge a message of an inbox.
    Acknowledge(String, u64),
    /// Take nothing more, and close when nothing waits any more.
    Drain,
    /// Close now.
    Close,
}

/// What is to be done about it, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Dial the broker.
    Connect(Opening),
    /// Hand a message to the receiver.
    Deliver(Incoming),
    /// End the call with this id.
    Resolve(String, Outcome),
    /// Close the connection in order, with this code.
    HangUp(CloseCode, &'static str),
    /// Drop the connection: it is of no use any more.
    Drop,
    /// Tell that the state has changed.
    Moved,
}

/// When it happened, and a random number.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never goes back.
    pub now_ms: u64,
    /// Any number, each as likely as the others.
    pub dice: u64,
}
