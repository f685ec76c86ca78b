//! The protocol of each peer: one [`Protocol`] for each kind of server, with the same scenarios for
//! all.
//!
//! A protocol turns roles into connections, and payloads into the server's messages and back. It
//! owns no socket and measures nothing. It also handles or skips what a server sends by itself:
//! acknowledgements, notices, pings.

mod bridge;
mod nats;
mod register;
mod relay;

pub use bridge::BridgeProtocol;
pub use nats::{NatsProtocol, TOKEN as NATS_TOKEN};
pub use relay::{Op, RelayProtocol};

use crate::fault::Fault;
use crate::net::{Conns, Dial, Ending};

/// The purpose of a connection. The number distinguishes those of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends to the topic.
    Publisher,
    /// Receives from the topic.
    Subscriber(u32),
    /// Answers the requests of the requester with its number.
    Responder(u32),
    /// Asks the responder with its number.
    Requester(u32),
    /// Streams to the viewer with its number.
    Streamer(u32),
    /// Receives the stream of the streamer with its number.
    Viewer(u32),
    /// Sends messages that are stored.
    Sender(u32),
    /// Does nothing.
    Idle(u32),
}

/// One payload that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The payload, not checked yet.
    pub payload: &'a [u8],
    /// What the protocol needs to answer the payload, or to know which request it answers. Only the
    /// protocol reads it.
    pub origin: &'a [u8],
}

/// The confirmation of a stored message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmation {
    /// The message's number among its sender's.
    pub number: u32,
    /// The position that the message was given.
    pub seq: u64,
}

/// The scenario's side of the connections, once they are set up.
pub trait App {
    /// A payload arrived.
    fn on_payload(&mut self, conns: &mut Conns, conn: usize, delivery: Delivery<'_>) -> Result<(), Fault>;

    /// A message that this connection sent is stored.
    fn on_confirmed(&mut self, _conns: &mut Conns, conn: usize, confirmation: Confirmation) -> Result<(), Fault> {
        Err(Fault::Unexpected { conn, shown: format!("{confirmation:?}") })
    }

    /// A connection ended. Most scenarios do not expect this.
    fn on_end(&mut self, conn: usize, ending: Ending) -> Result<(), Fault> {
        Err(Fault::Closed { conn, ending })
    }
}

/// One kind of server.
pub trait Protocol {
    /// Called once before the clock starts, with every role that will be dialled.
    fn prepare(&mut self, _roles: &[Role]) -> Result<(), Fault> {
        Ok(())
    }

    /// How to open the connection for `role`.
    fn dial(&self, role: Role) -> Result<Dial, Fault>;

    /// The upgrade succeeded: sends what the client sends first. Returns `true` if the connection
    /// is ready at once.
    fn hello(&self, role: Role, conns: &mut Conns, conn: usize) -> bool;

    /// A message arrived while the connection is being set up. Returns `true` once it is ready.
    /// `carry` is scratch space of the connection.
    fn greet(&self, role: Role, carry: &mut Vec<u8>, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<bool, Fault>;

    /// A message arrived on a connection that is ready. Hands each payload in it to `app`.
    fn deliver(
        &self,
        carry: &mut Vec<u8>,
        conns: &mut Conns,
        conn: usize,
        message: &[u8],
        app: &mut impl App,
    ) -> Result<(), Fault>;

    /// Sends to the topic.
    fn publish(&self, conns: &mut Conns, conn: usize, number: u32, payload: &[u8]);

    /// Sends a request to responder `pair`, as requester `pair`.
    fn request(&self, conns: &mut Conns, conn: usize, pair: u32, number: u32, payload: &[u8]);

    /// Answers the request that came with `origin`.
    fn reply(&self, conns: &mut Conns, conn: usize, origin: &[u8], payload: &[u8]) -> Result<(), Fault>;

    /// Whether `origin` names request `number` of requester `pair` as the one that it answers.
    /// `true` if the protocol has no such names; the payload is compared in any case.
    fn answers(&self, _origin: &[u8], _pair: u32, _number: u32) -> bool {
        true
    }

    /// Sends to viewer `viewer`, as streamer `viewer`.
    fn stream(&self, conns: &mut Conns, conn: usize, viewer: u32, number: u32, payload: &[u8]);

    /// Sends a message to be stored and confirmed, as sender `sender`. Does nothing if the server
    /// cannot store.
    fn store(&self, _conns: &mut Conns, _conn: usize, _sender: u32, _number: u32, _payload: &[u8]) {}
}
