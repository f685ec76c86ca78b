//! NATS: its text protocol inside binary WebSocket messages.
//!
//! A WebSocket message need not begin or end where a NATS operation does; what is left over waits in the connection's carry.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use super::{App, Delivery, Protocol, Role};
use crate::fault::{Fault, shown};
use crate::net::{Conns, Dial, Opcode};

/// The token the server is started with.
pub const TOKEN: &str = "bench-nats-token";
/// Longest line of the protocol, in bytes: INFO is the longest.
const MAX_LINE: usize = 16 * 1024;

/// A nats-server's WebSocket listener.
#[derive(Debug)]
pub struct NatsProtocol {
    addr: SocketAddr,
}

impl NatsProtocol {
    /// The listener at `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }
}

/// One operation of the server.
#[derive(Debug, PartialEq, Eq)]
enum Operation<'a> {
    Message { reply_to: &'a [u8], payload: &'a [u8] },
    Info,
    Ping,
    Pong,
    Ok,
    Other(&'a [u8]),
}

/// Takes the operation at the start of `bytes`; `None` while it is not all there. Also how many bytes it has.
fn operation(bytes: &[u8]) -> Result<Option<(Operation<'_>, usize)>, &[u8]> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\r') else {
        return if bytes.len() > MAX_LINE { Err(bytes) } else { Ok(None) };
    };
    let (line, rest) = bytes.split_at(end);
    if rest.len() < 2 {
        return Ok(None);
    }
    let after = end + 2;
    let Some(arguments) = line.strip_prefix(b"MSG ") else {
        let operation = match line {
            b"PING" => Operation::Ping,
            b"PONG" => Operation::Pong,
            b"+OK" => Operation::Ok,
            line if line.starts_with(b"INFO ") => Operation::Info,
            line => Operation::Other(line),
        };
        return Ok(Some((operation, after)));
    };
    // subject, subscription, reply subject (where there is one), length
    let mut words = arguments.split(|&byte| byte == b' ').skip(2);
    let (reply_to, length) = match (words.next(), words.next()) {
        (Some(length), None) => (&b""[..], length),
        (Some(reply_to), Some(length)) => (reply_to, length),
        _ => return Err(line),
    };
    let length = decimal(length).ok_or(line)?;
    let Some(payload) = bytes.get(after..after + length) else {
        return Ok(None);
    };
    match bytes.get(after + length..after + length + 2) {
        Some(b"\r\n") => Ok(Some((Operation::Message { reply_to, payload }, after + length + 2))),
        Some(_) => Err(line),
        None => Ok(None),
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Runs `each` over the operations in `message` and what was carried before it.
fn operations(
    carry: &mut Vec<u8>,
    conn: usize,
    message: &[u8],
    mut each: impl FnMut(Operation<'_>) -> Result<ControlFlow<()>, Fault>,
) -> Result<(), Fault> {
    let mut joined = std::mem::take(carry);
    let bytes = if joined.is_empty() {
        message
    } else {
        joined.extend_from_slice(message);
        &joined
    };
    let mut used = 0;
    while let Some((operation, length)) =
        operation(bytes.get(used..).unwrap_or_default()).map_err(|line| Fault::Unexpected { conn, shown: shown(line) })?
    {
        used += length;
        if each(operation)?.is_break() {
            break;
        }
    }
    carry.extend_from_slice(bytes.get(used..).unwrap_or_default());
    Ok(())
}

fn send(conns: &mut Conns, conn: usize, text: &str) {
    conns.send(conn, Opcode::Binary, &[text.as_bytes()]);
}

fn publish_to(conns: &mut Conns, conn: usize, arguments: &str, payload: &[u8]) {
    let head = format!("PUB {arguments} {}\r\n", payload.len());
    conns.send(conn, Opcode::Binary, &[head.as_bytes(), payload, b"\r\n"]);
}

fn subject(role: Role) -> Option<String> {
    match role {
        Role::Subscriber(_) => Some("bench".into()),
        Role::Responder(pair) => Some(format!("service.{pair}")),
        Role::Requester(pair) => Some(format!("inbox.{pair}")),
        Role::Viewer(viewer) => Some(format!("viewer.{viewer}")),
        Role::Publisher | Role::Streamer(_) | Role::Idle(_) => None,
    }
}

impl Protocol for NatsProtocol {
    fn dial(&self, _role: Role) -> Result<Dial, Fault> {
        Ok(Dial::new(self.addr, "/", None))
    }

    fn hello(&self, _: Role, _: &mut Conns, _: usize) -> bool {
        false
    }

    fn greet(&self, role: Role, carry: &mut Vec<u8>, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<bool, Fault> {
        let mut ready = false;
        operations(carry, conn, message, |operation| {
            match operation {
                Operation::Info => {
                    let subscribe = subject(role).map(|subject| format!("SUB {subject} 1\r\n")).unwrap_or_default();
                    let connect = format!(
                        "CONNECT {{\"auth_token\":\"{TOKEN}\",\"verbose\":false,\"pedantic\":false,\"echo\":false,\
                         \"lang\":\"bench\",\"version\":\"1\",\"protocol\":1}}\r\n{subscribe}PING\r\n"
                    );
                    send(conns, conn, &connect);
                }
                Operation::Pong => ready = true,
                Operation::Ping => send(conns, conn, "PONG\r\n"),
                Operation::Ok => {}
                Operation::Message { payload: line, .. } | Operation::Other(line) => {
                    return Err(Fault::Unexpected { conn, shown: shown(line) });
                }
            }
            Ok(if ready { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(ready)
    }

    fn deliver(
        &self,
        carry: &mut Vec<u8>,
        conns: &mut Conns,
        conn: usize,
        message: &[u8],
        app: &mut impl App,
    ) -> Result<(), Fault> {
        operations(carry, conn, message, |operation| {
            match operation {
                Operation::Message { reply_to, payload } => {
                    app.on_payload(conns, conn, Delivery { payload, origin: reply_to })?;
                }
                Operation::Ping => send(conns, conn, "PONG\r\n"),
                Operation::Pong | Operation::Ok | Operation::Info => {}
                Operation::Other(line) => return Err(Fault::Unexpected { conn, shown: shown(line) }),
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn publish(&self, conns: &mut Conns, conn: usize, _number: u32, payload: &[u8]) {
        publish_to(conns, conn, "bench", payload);
    }

    fn request(&self, conns: &mut Conns, conn: usize, pair: u32, _number: u32, payload: &[u8]) {
        publish_to(conns, conn, &format!("service.{pair} inbox.{pair}"), payload);
    }

    fn reply(&self, conns: &mut Conns, conn: usize, origin: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let inbox = std::str::from_utf8(origin).ok().filter(|inbox| !inbox.is_empty());
        let inbox = inbox.ok_or_else(|| Fault::WrongReply { conn, shown: shown(origin) })?;
        publish_to(conns, conn, inbox, payload);
        Ok(())
    }

    fn stream(&self, conns: &mut Conns, conn: usize, viewer: u32, _number: u32, payload: &[u8]) {
        publish_to(conns, conn, &format!("viewer.{viewer}"), payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(carry: &mut Vec<u8>, message: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        operations(carry, 0, message, |operation| {
            seen.push(match operation {
                Operation::Message { reply_to, payload } => {
                    format!("{}<{}", String::from_utf8_lossy(payload), String::from_utf8_lossy(reply_to))
                }
                other => format!("{other:?}"),
            });
            Ok(ControlFlow::Continue(()))
        })
        .expect("valid");
        seen
    }

    #[test]
    fn operations_are_found_however_the_bytes_are_cut() {
        let stream = b"PING\r\nMSG bench 1 5\r\nhello\r\nMSG s 1 inbox.7 2\r\n\r\n\r\nPONG\r\n";
        for cut in 0..stream.len() {
            let mut carry = Vec::new();
            let mut seen = collect(&mut carry, &stream[..cut]);
            seen.extend(collect(&mut carry, &stream[cut..]));
            assert_eq!(seen, ["Ping", "hello<", "\r\n<inbox.7", "Pong"], "cut at {cut}");
            assert!(carry.is_empty());
        }
    }

    #[test]
    fn a_payload_longer_than_announced_is_a_fault() {
        assert!(operation(b"MSG bench 1 4\r\nhello\r\n").is_err());
        assert!(operation(b"MSG bench 1 x\r\n").is_err());
    }
}
