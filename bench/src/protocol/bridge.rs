//! Agent Bridge: JSON envelopes in text frames, directly to the broker or through the edge.
//!
//! Publishers, responders and streamers are agents and always connect to the broker; the others are
//! sessions. On the hot path only the payload of a frame is read, at the offset that it had in the
//! last frame. The envelope is parsed whole if the payload is elsewhere, and for every request and
//! reply.

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;

use common::assertion::{ClientIdentity, mint};
use common::id::SessionId;
use common::secret::Secret;
use rustls::ClientConfig;
use serde::Deserialize;

use super::register::{Registered, register};
use super::{App, Confirmation, Delivery, Protocol, Role};
use crate::fault::{Fault, shown};
use crate::net::{Conns, Dial, Opcode};
use crate::payload::Payloads;

/// The key before a payload.
const PAYLOAD_KEY: &[u8] = br#""payload":"#;
/// How many messages one absent agent is sent: fewer than an inbox holds.
const INBOX: u32 = 8_192;
/// Sessions name this agent when they connect. It never connects, so no agent is notified of them.
const NOBODY: &str = "bench-nobody";

/// A broker, and the edge in front of it if sessions connect through one.
#[derive(Debug)]
pub struct BridgeProtocol {
    broker: SocketAddr,
    edge: Option<SocketAddr>,
    agent_key: String,
    bridge_secret: Secret,
    payload_size: usize,
    /// The sessions, in the order of their numbers.
    sessions: Vec<Registered>,
    /// The payload's offset in the last frame.
    offset: Cell<usize>,
    /// The TLS configuration for the broker, if it speaks TLS.
    tls: Option<Arc<ClientConfig>>,
}

impl BridgeProtocol {
    /// The broker at `broker`; with `edge`, sessions connect there instead.
    pub fn new(broker: SocketAddr, edge: Option<SocketAddr>, agent_key: &str, bridge_secret: &str, payload_size: usize) -> Self {
        Self {
            broker,
            edge,
            agent_key: agent_key.to_owned(),
            bridge_secret: Secret::new(bridge_secret),
            payload_size,
            sessions: Vec::new(),
            offset: Cell::new(0),
            tls: None,
        }
    }

    /// The same with a broker under TLS.
    pub fn under(self, tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, ..self }
    }

    fn session(&self, number: u32) -> Option<&Registered> {
        self.sessions.get(number as usize)
    }

    /// The payload in `message`, if it is one of this bench.
    fn payload<'a>(&self, conn: usize, message: &'a [u8]) -> Result<Option<&'a [u8]>, Fault> {
        let last = self.offset.get();
        let begins = |at: usize| message.get(at..).is_some_and(|rest| rest.starts_with(Payloads::PREFIX));
        if message.get(last.saturating_sub(PAYLOAD_KEY.len())..last) == Some(PAYLOAD_KEY) && begins(last) {
            return Ok(Some(self.cut(message, last)));
        }
        let Some(at) = message.windows(PAYLOAD_KEY.len()).position(|window| window == PAYLOAD_KEY) else {
            return Ok(None);
        };
        let at = at + PAYLOAD_KEY.len();
        if !begins(at) {
            return Ok(None);
        }
        let head = Head::parse(conn, message)?;
        if !head.kind.starts_with("message:") || head.id.is_none() || head.timestamp.is_none() || head.source.is_none() {
            return Err(Fault::Unexpected { conn, shown: shown(message) });
        }
        self.offset.set(at);
        Ok(Some(self.cut(message, at)))
    }

    /// The payload that begins at `at`. If the text after it is not the expected rest of the
    /// envelope, this returns everything to the end, and the comparison fails.
    fn cut<'a>(&self, message: &'a [u8], at: usize) -> &'a [u8] {
        let end = at + self.payload_size;
        let end = if matches!(message.get(end), Some(b',' | b'}')) { end } else { message.len() };
        message.get(at..end).unwrap_or_default()
    }
}

/// The part of an envelope that is read.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlation_id: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    fn parse(conn: usize, message: &'a [u8]) -> Result<Self, Fault> {
        serde_json::from_slice(message).map_err(|_| Fault::Unexpected { conn, shown: shown(message) })
    }

    /// Whether the bridge may send this at any time.
    fn is_notice(&self) -> bool {
        ["connection:", "agent:", "session:", "topic:", "presence:"].iter().any(|family| self.kind.starts_with(family))
    }
}

/// The payload of a confirmation that a message is stored.
#[derive(Deserialize)]
struct Accepted<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    correlation_id: Cow<'a, str>,
    payload: Stored,
}

#[derive(Deserialize)]
struct Stored {
    seq: u64,
    duplicate: bool,
}

/// The confirmation in `message`, if it is one.
fn confirmation(message: &[u8]) -> Option<Confirmation> {
    let accepted = serde_json::from_slice::<Accepted<'_>>(message).ok()?;
    let number = u32::from_str_radix(&accepted.correlation_id, 16).ok()?;
    let Stored { seq, duplicate } = accepted.payload;
    (accepted.kind == "message:accepted" && !duplicate).then_some(Confirmation { number, seq })
}

fn agent_id(role: Role) -> Option<String> {
    match role {
        Role::Publisher => Some("bench-publisher".into()),
        Role::Responder(number) => Some(format!("bench-responder-{number:05}")),
        Role::Streamer(number) => Some(format!("bench-streamer-{number:05}")),
        Role::Sender(number) => Some(format!("bench-sender-{number:05}")),
        Role::Subscriber(_) | Role::Requester(_) | Role::Viewer(_) | Role::Idle(_) => None,
    }
}

fn session_number(role: Role) -> Option<u32> {
    match role {
        Role::Subscriber(number) | Role::Requester(number) | Role::Viewer(number) | Role::Idle(number) => Some(number),
        Role::Publisher | Role::Responder(_) | Role::Streamer(_) | Role::Sender(_) => None,
    }
}

fn send(conns: &mut Conns, conn: usize, head: &str, payload: &[u8]) {
    conns.send(conn, Opcode::Text, &[head.as_bytes(), payload, b"}"]);
}

impl Protocol for BridgeProtocol {
    fn prepare(&mut self, roles: &[Role]) -> Result<(), Fault> {
        let count = roles.iter().filter_map(|&role| session_number(role)).map(|number| number as usize + 1).max().unwrap_or(0);
        self.sessions = match self.edge {
            Some(edge) => register(edge, count)?,
            None => std::iter::repeat_with(|| Registered { session_id: SessionId::fresh().to_string(), token: String::new() })
                .take(count)
                .collect(),
        };
        Ok(())
    }

    fn dial(&self, role: Role) -> Result<Dial, Fault> {
        if let Some(agent) = agent_id(role) {
            return Ok(
                Dial::new(self.broker, &format!("/ws/agent?agent_id={agent}"), Some(&self.agent_key)).under(self.tls.clone())
            );
        }
        let registered = session_number(role).and_then(|number| self.session(number));
        let Registered { session_id, token } =
            registered.ok_or_else(|| Fault::Io(std::io::Error::other("a session that was not prepared")))?;
        if let Some(edge) = self.edge {
            return Ok(Dial::new(edge, &format!("/ws/{session_id}?agent={NOBODY}"), Some(token)));
        }
        let id = session_id.parse::<SessionId>().map_err(std::io::Error::other)?;
        // The assertion is valid for seconds only, so it is signed when it is needed.
        let assertion = mint(&ClientIdentity::anonymous(id), &self.bridge_secret)
            .map_err(|error| std::io::Error::other(format!("signing an assertion: {error:?}")))?;
        Ok(Dial::new(self.broker, &format!("/ws/client/{session_id}?agent={NOBODY}"), Some(&assertion)).under(self.tls.clone()))
    }

    fn hello(&self, _: Role, _: &mut Conns, _: usize) -> bool {
        false
    }

    fn greet(&self, role: Role, _: &mut Vec<u8>, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<bool, Fault> {
        let head = Head::parse(conn, message)?;
        let subscribes = matches!(role, Role::Subscriber(_));
        match head.kind.as_ref() {
            "connection:ack" if subscribes => {
                send(conns, conn, r#"{"type":"topic:subscribe","id":"subscribe","payload":"#, br#"{"topic":"bench"}"#);
                Ok(false)
            }
            "connection:ack" => Ok(true),
            "topic:subscribed" => Ok(subscribes),
            _ if head.is_notice() => Ok(false),
            _ => Err(Fault::Unexpected { conn, shown: shown(message) }),
        }
    }

    fn deliver(&self, _: &mut Vec<u8>, conns: &mut Conns, conn: usize, message: &[u8], app: &mut impl App) -> Result<(), Fault> {
        if let Some(confirmation) = confirmation(message) {
            return app.on_confirmed(conns, conn, confirmation);
        }
        match self.payload(conn, message)? {
            Some(payload) => app.on_payload(conns, conn, Delivery { payload, origin: message }),
            None if Head::parse(conn, message)?.is_notice() => Ok(()),
            None => Err(Fault::Unexpected { conn, shown: shown(message) }),
        }
    }

    fn publish(&self, conns: &mut Conns, conn: usize, number: u32, payload: &[u8]) {
        let head = format!(r#"{{"type":"message:send","id":"{number:08x}","target":"topic:bench","payload":"#);
        send(conns, conn, &head, payload);
    }

    fn request(&self, conns: &mut Conns, conn: usize, pair: u32, number: u32, payload: &[u8]) {
        let id = request_id(pair, number);
        let head = format!(
            r#"{{"type":"message:send","id":"{id}","delivery":"ephemeral","target":"agent:bench-responder-{pair:05}","payload":"#
        );
        send(conns, conn, &head, payload);
    }

    fn reply(&self, conns: &mut Conns, conn: usize, origin: &[u8], payload: &[u8]) -> Result<(), Fault> {
        let request = Head::parse(conn, origin)?;
        let (Some(source), Some(id)) = (request.source, request.id) else {
            return Err(Fault::WrongReply { conn, shown: shown(origin) });
        };
        let head = format!(
            r#"{{"type":"message:send","id":"re-{id}","delivery":"ephemeral","target":"{source}","correlation_id":"{id}","payload":"#
        );
        send(conns, conn, &head, payload);
        Ok(())
    }

    fn answers(&self, origin: &[u8], pair: u32, number: u32) -> bool {
        let head = serde_json::from_slice::<Head<'_>>(origin).ok();
        head.and_then(|head| head.correlation_id).is_some_and(|id| id == request_id(pair, number))
    }

    fn stream(&self, conns: &mut Conns, conn: usize, viewer: u32, number: u32, payload: &[u8]) {
        let session = self.session(viewer).map_or("", |registered| &registered.session_id);
        let head = format!(r#"{{"type":"message:delta","id":"{number:08x}","target":"session:{session}","payload":"#);
        send(conns, conn, &head, payload);
    }

    /// Sends to agents that are not connected, so that only storing is measured.
    fn store(&self, conns: &mut Conns, conn: usize, sender: u32, number: u32, payload: &[u8]) {
        let inbox = number / INBOX;
        let head = format!(
            r#"{{"type":"message:send","id":"{number:08x}","target":"agent:bench-absent-{sender:05}-{inbox}","delivery":"durable","payload":"#
        );
        send(conns, conn, &head, payload);
    }
}

fn request_id(pair: u32, number: u32) -> String {
    format!("{pair:05}-{number:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;

    struct Count(usize);

    impl App for Count {
        fn on_payload(&mut self, _: &mut Conns, _: usize, delivery: Delivery<'_>) -> Result<(), Fault> {
            assert!(Payloads::new(60).read(delivery.payload).is_some());
            self.0 += 1;
            Ok(())
        }
    }

    fn protocol() -> BridgeProtocol {
        let addr = SocketAddr::from(([127, 0, 0, 1], 1));
        BridgeProtocol::new(addr, None, "key", "secret", 60)
    }

    fn deliver(protocol: &BridgeProtocol, message: &str) -> Result<usize, Fault> {
        let mut count = Count(0);
        protocol.deliver(&mut Vec::new(), &mut Conns::default(), 0, message.as_bytes(), &mut count)?;
        Ok(count.0)
    }

    fn payload(number: u32) -> String {
        let mut out = Vec::new();
        Payloads::new(60).write(&mut out, Stamp { publisher: 0, number, time: 0 });
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn payloads_are_found_wherever_the_broker_puts_its_own_keys() {
        let protocol = protocol();
        for number in 0..3 {
            let payload = payload(number);
            for frame in [
                format!(r#"{{"source":"agent:p","timestamp":"t","type":"message:send","id":"1","payload":{payload}}}"#),
                format!(r#"{{"type":"message:send","id":"1","payload":{payload},"source":"agent:p","timestamp":"t"}}"#),
            ] {
                assert_eq!(deliver(&protocol, &frame).expect("valid"), 1);
                assert_eq!(deliver(&protocol, &frame).expect("valid"), 1);
            }
        }
    }

    #[test]
    fn notices_are_passed_over_and_errors_are_faults() {
        let protocol = protocol();
        let notice = r#"{"type":"agent:connected","source":"bridge","payload":{"agent":{"agent_id":"x"}}}"#;
        assert_eq!(deliver(&protocol, notice).expect("a notice"), 0);
        let lost = r#"{"type":"system:lost","source":"bridge","payload":{"count":3}}"#;
        assert!(matches!(deliver(&protocol, lost), Err(Fault::Unexpected { .. })));
        let unstamped = format!(r#"{{"type":"message:send","id":"1","payload":{}}}"#, payload(0));
        assert!(matches!(deliver(&protocol, &unstamped), Err(Fault::Unexpected { .. })));
    }

    #[test]
    fn a_reply_must_name_its_request() {
        let reply = r#"{"type":"message:send","correlation_id":"00003-0000000a"}"#;
        assert!(protocol().answers(reply.as_bytes(), 3, 10));
        assert!(!protocol().answers(reply.as_bytes(), 3, 11));
    }
}
