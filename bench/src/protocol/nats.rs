//! NATS: its text protocol in binary WebSocket messages.
//!
//! A WebSocket message need not begin or end where a NATS operation does. An incomplete operation
//! waits in the connection's carry.

use std::net::SocketAddr;
use std::ops::ControlFlow;

use serde::Deserialize;

use super::{App, Confirmation, Delivery, Protocol, Role};
use crate::fault::{Fault, shown};
use crate::net::{Conns, Dial, Opcode};
use crate::plan::Durability;

/// The token that the server is started with.
pub const TOKEN: &str = "bench-nats-token";
/// The longest line of the protocol, in bytes. INFO is the longest.
const MAX_LINE: usize = 16 * 1024;

/// A nats-server's WebSocket listener.
#[derive(Debug)]
pub struct NatsProtocol {
    addr: SocketAddr,
    /// JetStream's storage for the stored messages.
    storage: &'static str,
}

impl NatsProtocol {
    /// The listener at `addr`.
    pub fn new(addr: SocketAddr, durability: Option<Durability>) -> Self {
        Self { addr, storage: if durability == Some(Durability::Memory) { "memory" } else { "file" } }
    }

    /// The request that creates the stream. Creating it again changes nothing.
    fn make_stream(&self, sender: u32) -> String {
        let config = format!(
            r#"{{"name":"BENCH","subjects":["store.*"],"retention":"limits","storage":"{}","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1}}"#,
            self.storage
        );
        format!("PUB $JS.API.STREAM.CREATE.BENCH stored.{sender}.made {}\r\n{config}\r\n", config.len())
    }
}

/// JetStream's answer to a stored message.
#[derive(Deserialize)]
struct Stored {
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// The confirmation that a message is stored. The message's number is the last token of the
/// subject.
fn confirmation(conn: usize, subject: &[u8], payload: &[u8]) -> Result<Confirmation, Fault> {
    let number = subject.rsplit(|&byte| byte == b'.').next().and_then(decimal).and_then(|number| u32::try_from(number).ok());
    let stored = serde_json::from_slice::<Stored>(payload).ok().filter(|stored| !stored.duplicate);
    match (number, stored) {
        (Some(number), Some(stored)) => Ok(Confirmation { number, seq: stored.seq }),
        _ => Err(Fault::Unexpected { conn, shown: shown(payload) }),
    }
}

/// One operation of the server.
#[derive(Debug, PartialEq, Eq)]
enum Operation<'a> {
    Message { subject: &'a [u8], reply_to: &'a [u8], payload: &'a [u8] },
    Info,
    Ping,
    Pong,
    Ok,
    Other(&'a [u8]),
}

/// Takes the operation at the start of `bytes`, and its length; `None` while it is not complete.
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
    let mut words = arguments.split(|&byte| byte == b' ');
    let subject = words.next().unwrap_or_default();
    let mut words = words.skip(1);
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
        Some(b"\r\n") => Ok(Some((Operation::Message { subject, reply_to, payload }, after + length + 2))),
        Some(_) => Err(line),
        None => Ok(None),
    }
}

fn decimal(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Calls `each` for the operations in `message` and what was carried before it.
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
        Role::Sender(sender) => Some(format!("stored.{sender}.*")),
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
                Operation::Pong => match role {
                    Role::Sender(sender) => send(conns, conn, &self.make_stream(sender)),
                    _ => ready = true,
                },
                Operation::Message { payload, .. } if matches!(role, Role::Sender(_)) && is_stream(payload) => ready = true,
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
                Operation::Message { subject, payload, .. } if subject.starts_with(b"stored.") => {
                    app.on_confirmed(conns, conn, confirmation(conn, subject, payload)?)?;
                }
                Operation::Message { reply_to, payload, .. } => {
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

    fn store(&self, conns: &mut Conns, conn: usize, sender: u32, number: u32, payload: &[u8]) {
        publish_to(conns, conn, &format!("store.{sender} stored.{sender}.{number}"), payload);
    }
}

/// Whether JetStream answers that the stream exists.
fn is_stream(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        config: serde::de::IgnoredAny,
    }
    serde_json::from_slice::<Answer>(answer).is_ok_and(|Answer { config: serde::de::IgnoredAny }| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(carry: &mut Vec<u8>, message: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        operations(carry, 0, message, |operation| {
            seen.push(match operation {
                Operation::Message { subject, reply_to, payload } => {
                    format!(
                        "{}:{}<{}",
                        String::from_utf8_lossy(subject),
                        String::from_utf8_lossy(payload),
                        String::from_utf8_lossy(reply_to)
                    )
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
            assert_eq!(seen, ["Ping", "bench:hello<", "s:\r\n<inbox.7", "Pong"], "cut at {cut}");
            assert!(carry.is_empty());
        }
    }

    #[test]
    fn a_confirmation_names_its_message_and_a_refusal_is_a_fault() {
        let stored = confirmation(0, b"stored.7.4096", br#"{"stream":"BENCH", "seq":99}"#).expect("valid");
        assert_eq!(stored, Confirmation { number: 4096, seq: 99 });
        for refused in [r#"{"error":{"code":503}}"#, r#"{"stream":"BENCH","seq":99,"duplicate":true}"#] {
            assert!(confirmation(0, b"stored.7.4096", refused.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_payload_longer_than_announced_is_a_fault() {
        assert!(operation(b"MSG bench 1 4\r\nhello\r\n").is_err());
        assert!(operation(b"MSG bench 1 x\r\n").is_err());
    }
}
