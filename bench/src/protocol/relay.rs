//! The raw relay's protocol. A WebSocket message has one byte of operation, four of address (little
//! endian), and the payload.
//!
//! The relay itself is `src/bin/relay.rs`. Both sides share [`Op`].

use std::net::SocketAddr;

use super::{App, Delivery, Protocol, Role};
use crate::fault::{Fault, shown};
use crate::net::{Conns, Dial, Opcode};

/// The channel of the topic.
const CHANNEL: u32 = 1;

/// The operation of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Takes the address as the connection's own. The answer is the same message.
    Name,
    /// Subscribes to the address. The answer is the same message.
    Subscribe,
    /// For all subscribers of the address except the sender.
    Publish,
    /// For the connection that took the address. It arrives with the sender's address instead.
    Send,
}

impl Op {
    /// The operation's byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Name => 1,
            Self::Subscribe => 2,
            Self::Publish => 3,
            Self::Send => 4,
        }
    }

    /// Splits a message into operation, address and payload.
    pub fn parse(message: &[u8]) -> Option<(Self, u32, &[u8])> {
        let (&byte, rest) = message.split_first()?;
        let (address, payload) = rest.split_first_chunk::<4>()?;
        let op = match byte {
            1 => Self::Name,
            2 => Self::Subscribe,
            3 => Self::Publish,
            4 => Self::Send,
            _ => return None,
        };
        Some((op, u32::from_le_bytes(*address), payload))
    }

    /// The five bytes before the payload.
    pub fn head(self, address: u32) -> [u8; 5] {
        let [a, b, c, d] = address.to_le_bytes();
        [self.byte(), a, b, c, d]
    }
}

/// A raw relay at an address.
#[derive(Debug)]
pub struct RelayProtocol {
    addr: SocketAddr,
}

impl RelayProtocol {
    /// The relay that listens at `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }
}

fn address(role: Role) -> u32 {
    let (kind, number) = match role {
        Role::Publisher => (0, 0),
        Role::Subscriber(number) => (1, number),
        Role::Responder(number) => (2, number),
        Role::Requester(number) => (3, number),
        Role::Streamer(number) => (4, number),
        Role::Viewer(number) => (5, number),
        Role::Idle(number) => (6, number),
        Role::Sender(number) => (7, number),
    };
    kind << 24 | number
}

fn send(conns: &mut Conns, conn: usize, op: Op, address: u32, payload: &[u8]) {
    conns.send(conn, Opcode::Binary, &[&op.head(address), payload]);
}

impl Protocol for RelayProtocol {
    fn dial(&self, _role: Role) -> Result<Dial, Fault> {
        Ok(Dial::new(self.addr, "/", None))
    }

    fn hello(&self, role: Role, conns: &mut Conns, conn: usize) -> bool {
        send(conns, conn, Op::Name, address(role), b"");
        if matches!(role, Role::Subscriber(_)) {
            send(conns, conn, Op::Subscribe, CHANNEL, b"");
        }
        false
    }

    fn greet(&self, role: Role, _: &mut Vec<u8>, _: &mut Conns, conn: usize, message: &[u8]) -> Result<bool, Fault> {
        match Op::parse(message) {
            Some((Op::Name, _, _)) => Ok(!matches!(role, Role::Subscriber(_))),
            Some((Op::Subscribe, CHANNEL, _)) => Ok(true),
            _ => Err(Fault::Unexpected { conn, shown: shown(message) }),
        }
    }

    fn deliver(&self, _: &mut Vec<u8>, conns: &mut Conns, conn: usize, message: &[u8], app: &mut impl App) -> Result<(), Fault> {
        match Op::parse(message) {
            Some((Op::Publish | Op::Send, _, payload)) => {
                let origin = message.get(1..5).unwrap_or_default();
                app.on_payload(conns, conn, Delivery { payload, origin })
            }
            _ => Err(Fault::Unexpected { conn, shown: shown(message) }),
        }
    }

    fn publish(&self, conns: &mut Conns, conn: usize, _number: u32, payload: &[u8]) {
        send(conns, conn, Op::Publish, CHANNEL, payload);
    }

    fn request(&self, conns: &mut Conns, conn: usize, pair: u32, _number: u32, payload: &[u8]) {
        send(conns, conn, Op::Send, address(Role::Responder(pair)), payload);
    }

    fn reply(&self, conns: &mut Conns, conn: usize, origin: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let source = origin.first_chunk::<4>().ok_or_else(|| Fault::WrongReply { conn, shown: shown(origin) })?;
        send(conns, conn, Op::Send, u32::from_le_bytes(*source), payload);
        Ok(())
    }

    fn answers(&self, origin: &[u8], pair: u32, _number: u32) -> bool {
        origin == address(Role::Responder(pair)).to_le_bytes()
    }

    fn stream(&self, conns: &mut Conns, conn: usize, viewer: u32, _number: u32, payload: &[u8]) {
        send(conns, conn, Op::Send, address(Role::Viewer(viewer)), payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_apart_as_it_was_put_together() {
        for op in [Op::Name, Op::Subscribe, Op::Publish, Op::Send] {
            let message = [&op.head(0x0102_0304)[..], b"payload"].concat();
            assert_eq!(Op::parse(&message), Some((op, 0x0102_0304, &b"payload"[..])));
        }
        assert_eq!(Op::parse(&[3, 0, 0]), None);
        assert_eq!(Op::parse(&[9, 0, 0, 0, 0]), None);
    }
}
