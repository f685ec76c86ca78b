//! A door's life as a pure state machine: events and the time go in, effects and frames come out.
//!
//! It knows no socket, no clock and no random numbers; events carry them. Invariants, checked by
//! its tests: at most one connection at a time; nothing is sent before the broker's
//! `connection:ack`; what a new connection must restore is sent before everything else; every call
//! ends exactly once; `Closed` is final; what waits to be sent is bounded.

use std::{collections::VecDeque, time::Duration};

use common::{
    backoff::STABLE_AFTER,
    close::{Advice, CloseCode},
    id::ClientName,
    timestamp::millis,
};
use serde::Deserialize;

use super::{
    calls::{Addressee, Call, Calls, Outcome, Ticket},
    error::{DoorError, Ending},
    events::{Effect, Event, Moment, Rules},
    incoming::Incoming,
    outgoing::Outgoing,
    reading::{Positions, Reader},
    state::DoorState,
    way::{Fault, Opening},
};

/// Characters of a client name that are kept when a new name is made from it.
const MOST_OF_NAME: usize = 100;
/// How long the broker may be silent until its `connection:ack` says otherwise.
const DEFAULT_SILENCE_MS: u64 = 30_000;

/// Something that waits to be sent.
#[derive(Debug)]
enum Waiting {
    Text(String),
    Call(Ticket, usize),
}

impl Waiting {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Call(_, bytes) => *bytes,
        }
    }
}

/// The part of `connection:ack` that a client uses.
#[derive(Deserialize)]
struct Greeting {
    heartbeat: Heartbeat,
    limits: Limits,
}

#[derive(Deserialize)]
struct Heartbeat {
    timeout_ms: u64,
}

#[derive(Deserialize)]
struct Limits {
    max_frame_bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    state: DoorState,
    /// Whether there is a connection, with or without its `connection:ack`.
    is_connected: bool,
    /// Whether the broker holds messages back on this connection.
    holds_back: bool,
    is_draining: bool,
    /// The name of this connection or the next one: that of the rules, or one made from it.
    client: Option<ClientName>,
    reader: Reader,
    calls: Calls,
    /// What restores this connection. Bounded by the subscriptions.
    first: VecDeque<String>,
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    effects: VecDeque<Effect>,
    /// The id of this connection's `connection:resume`. Its answer goes to the receiver.
    resume_id: Option<String>,
    retry_at: Option<u64>,
    opened_ms: u64,
    heard_ms: u64,
    silence_ms: u64,
    frame_limit: usize,
    attempt: u32,
}

impl Machine {
    /// A door that begins to dial, with the positions of its receiver.
    pub fn start(rules: Rules, positions: Positions) -> Self {
        let reader = Reader::new(rules.acks, positions);
        let calls = Calls::new(rules.max_pending);
        let client = rules.client.clone();
        let mut machine = Self {
            client,
            rules,
            state: DoorState::Connecting { attempt: 0 },
            is_connected: false,
            holds_back: false,
            is_draining: false,
            reader,
            calls,
            first: VecDeque::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            effects: VecDeque::new(),
            resume_id: None,
            retry_at: None,
            opened_ms: 0,
            heard_ms: 0,
            silence_ms: DEFAULT_SILENCE_MS,
            frame_limit: usize::MAX,
            attempt: 0,
        };
        machine.connect();
        machine
    }

    /// The state.
    pub fn state(&self) -> &DoorState {
        &self.state
    }

    /// The receiver's positions.
    pub fn positions(&self) -> &Positions {
        self.reader.positions()
    }

    /// The client name. It differs from that of the rules after another client has taken that one
    /// over.
    pub fn client(&self) -> Option<&ClientName> {
        self.client.as_ref()
    }

    /// Whether it accepts more to be sent.
    pub fn has_room(&self) -> bool {
        self.queue.len() < self.rules.queue_messages && self.queued_bytes < self.rules.queue_bytes
    }

    /// The next effect.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The next frame to send, if one may be sent.
    pub fn next_frame(&mut self) -> Option<String> {
        if !self.state.is_open() {
            return None;
        }
        if let Some(text) = self.first.pop_front() {
            return Some(text);
        }
        if let Some(payload) = self.reader.next_ack() {
            return Some(Outgoing::new("message:ack").payload(payload).encode());
        }
        while let Some(waiting) = self.queue.pop_front() {
            self.queued_bytes = self.queued_bytes.saturating_sub(waiting.len());
            match waiting {
                Waiting::Text(text) => return Some(text),
                Waiting::Call(ticket, _) => {
                    if let Some(text) = self.calls.send(ticket) {
                        return Some(text);
                    }
                }
            }
        }
        None
    }

    /// Whether it accepts nothing more, and nothing waits to be sent or answered.
    pub fn is_drained(&self) -> bool {
        self.is_draining && self.calls.is_empty() && self.queue.is_empty() && !self.reader.owes_acks()
    }

    /// When [`Event::Due`] is needed, in milliseconds of the clock.
    pub fn next_due(&self) -> Option<u64> {
        let silence = self.is_connected.then(|| self.heard_ms.saturating_add(self.silence_ms));
        [silence, self.retry_at, self.calls.next_due()].into_iter().flatten().min()
    }

    /// Handles an event. An event that does not fit the state is late, and changes nothing.
    pub fn on_event(&mut self, event: Event, moment: Moment) {
        if matches!(self.state, DoorState::Closed(_)) {
            if let Event::Call(message, ..) = event {
                self.resolve(message.message_id().to_owned(), Err(DoorError::Closed));
            }
            return;
        }
        match event {
            Event::Connected => {
                self.is_connected = true;
                (self.opened_ms, self.heard_ms) = (moment.now_ms, moment.now_ms);
                self.silence_ms = DEFAULT_SILENCE_MS;
            }
            Event::NotConnected(fault) => self.on_fault(fault, moment),
            Event::Message(message) => {
                self.heard_ms = moment.now_ms;
                self.on_message(message);
            }
            Event::Heard => self.heard_ms = moment.now_ms,
            Event::Written => {}
            Event::CloseReceived { code, reason } if self.is_connected => self.on_close(code, reason, moment),
            Event::Lost(why) if self.is_connected => {
                tracing::debug!(why, "connection to the broker lost");
                self.lose(false, moment);
            }
            Event::CloseReceived { .. } | Event::Lost(_) => {}
            Event::Due => self.on_due(moment),
            Event::Send(message) => {
                let text = message.encode();
                if let Err(error) = self.check_length(text.len()) {
                    tracing::warn!(kind = message.kind(), %error, "a message was not sent");
                } else if !self.is_draining {
                    self.push(Waiting::Text(text));
                }
            }
            Event::Call(message, call, due_ms) => self.call(&message, call, due_ms),
            Event::Unsubscribe(topic) => self.reader.unsubscribe(&topic),
            Event::Acknowledge(channel, seq) => self.reader.acknowledge(&channel, seq),
            Event::Drain => self.is_draining = true,
            Event::Close => self.close(Ending::Ours, Some((CloseCode::NORMAL, "done"))),
        }
        if self.is_drained() && !matches!(self.state, DoorState::Closed(_)) {
            self.close(Ending::Ours, Some((CloseCode::NORMAL, "done")));
        }
    }

    /// The longest message that the broker accepts, in bytes, as far as it is known.
    pub fn frame_limit(&self) -> usize {
        self.frame_limit
    }

    fn check_length(&self, bytes: usize) -> Result<(), DoorError> {
        if bytes > self.frame_limit { Err(DoorError::TooBig { limit: self.frame_limit }) } else { Ok(()) }
    }

    fn call(&mut self, message: &Outgoing, call: Call, due_ms: u64) {
        let id = message.message_id().to_owned();
        if self.is_draining {
            return self.resolve(id, Err(DoorError::Closed));
        }
        let text = message.encode();
        let bytes = text.len();
        let entered = self.check_length(bytes).and_then(|()| self.calls.enter(&id, call, text, due_ms));
        match entered {
            Ok(ticket) => self.push(Waiting::Call(ticket, bytes)),
            Err(error) => self.resolve(id, Err(error)),
        }
    }

    fn push(&mut self, waiting: Waiting) {
        self.queued_bytes += waiting.len();
        self.queue.push_back(waiting);
    }

    fn resolve(&mut self, id: String, outcome: Outcome) {
        self.effects.push_back(Effect::Resolve(id, outcome));
    }

    fn enter(&mut self, state: DoorState) {
        if self.state != state {
            self.state = state;
            self.effects.push_back(Effect::Moved);
        }
    }

    fn connect(&mut self) {
        self.retry_at = None;
        self.holds_back = self.reader.resumes();
        self.enter(DoorState::Connecting { attempt: self.attempt });
        self.effects.push_back(Effect::Connect(Opening { resume: self.holds_back, client: self.client.clone() }));
    }

    fn on_message(&mut self, message: Incoming) {
        if !self.is_connected {
            return;
        }
        let is_bridge = message.is_from_bridge();
        match message.kind.as_str() {
            "connection:ack" if is_bridge => self.on_ack(&message),
            "system:draining" if is_bridge && self.state == DoorState::Open => self.enter(DoorState::Draining),
            "connection:resumed" if is_bridge => self.reader.on_resumed(&message),
            _ => {}
        }
        if self.resume_id.is_some() && message.correlation_id == self.resume_id {
            self.resume_id = None;
            return self.effects.push_back(Effect::Deliver(message));
        }
        match self.calls.on_message(message) {
            Addressee::Call { id, call, outcome } => {
                if let (Call::Subscribe { topic, presence }, Ok(answer)) = (call, &outcome) {
                    self.reader.on_subscribed(&topic, presence, answer);
                }
                self.resolve(id, outcome);
            }
            Addressee::Receiver(message) => {
                self.reader.on_message(&message);
                self.effects.push_back(Effect::Deliver(message));
            }
        }
    }

    fn on_ack(&mut self, message: &Incoming) {
        if let Ok(Greeting { heartbeat, limits }) = message.payload() {
            self.silence_ms = heartbeat.timeout_ms.max(1);
            self.frame_limit = limits.max_frame_bytes;
        }
        if self.state.is_open() {
            return;
        }
        if let Some(registration) = &self.rules.registration {
            self.first.push_back(Outgoing::new("agent:register").payload(registration.clone()).encode());
        }
        let (resumed, topics) = self.reader.resume();
        if self.holds_back {
            let resume = Outgoing::new("connection:resume").payload(resumed);
            self.resume_id = Some(resume.message_id().to_owned());
            self.first.push_back(resume.encode());
        }
        for (topic, start) in topics {
            let subscribe = Outgoing::subscription(&topic, self.reader.has_presence(&topic), start.as_ref());
            self.first.push_back(subscribe.encode());
        }
        self.enter(DoorState::Open);
    }

    fn on_due(&mut self, moment: Moment) {
        for id in self.calls.expire(moment.now_ms) {
            self.resolve(id, Err(DoorError::TimedOut));
        }
        if self.retry_at.is_some_and(|at| at <= moment.now_ms) {
            self.connect();
        }
        if self.is_connected && self.heard_ms.saturating_add(self.silence_ms) <= moment.now_ms {
            self.effects.push_back(Effect::Drop);
            self.lose(false, moment);
        }
    }

    fn on_fault(&mut self, fault: Fault, moment: Moment) {
        if !matches!(self.state, DoorState::Connecting { .. }) || self.is_connected {
            return;
        }
        match fault {
            Fault::Unreachable(why) => {
                tracing::debug!(why, "broker cannot be reached");
                self.wait(moment);
            }
            Fault::Refused { status, error } if is_for_now(status) => {
                tracing::debug!(status, %error, "broker refuses temporarily");
                self.wait(moment);
            }
            Fault::Refused { status, error } => self.close(Ending::Refused { status, error }, None),
            Fault::Misconfigured(why) => self.close(Ending::Misconfigured(why), None),
        }
    }

    fn on_close(&mut self, code: CloseCode, reason: String, moment: Moment) {
        self.effects.push_back(Effect::Drop);
        match code.advice() {
            _ if code == CloseCode::NO_CODE => self.lose(false, moment),
            Advice::ReconnectAtOnce => self.lose(true, moment),
            Advice::ReconnectWithBackoff => self.lose(false, moment),
            Advice::ReconnectRenamed => {
                tracing::info!(reason, "another client has taken over the name of this door");
                self.client = self.rules.client.as_ref().and_then(|name| renamed(name, moment.dice));
                self.lose(false, moment);
            }
            // The holder of the door renews the credentials, and opens another door.
            Advice::Never | Advice::RefreshCredentials => {
                self.is_connected = false;
                self.close(Ending::Closed { code, reason }, None);
            }
        }
    }

    /// The connection is lost. It is dialled again at once only if it lasted for a while, so that
    /// there is no tight loop.
    fn lose(&mut self, at_once: bool, moment: Moment) {
        self.is_connected = false;
        let lived = Duration::from_millis(moment.now_ms.saturating_sub(self.opened_ms));
        let is_stable = lived >= STABLE_AFTER;
        if is_stable {
            self.attempt = 0;
        }
        // What restores a connection is made again for the next one.
        self.resume_id = None;
        self.first.clear();
        let (failed, again) = self.calls.on_lost();
        for id in failed {
            self.resolve(id, Err(DoorError::Interrupted));
        }
        for ticket in again.into_iter().rev() {
            // Its bytes are counted among the calls.
            self.queue.push_front(Waiting::Call(ticket, 0));
        }
        if at_once && is_stable {
            return self.connect();
        }
        self.wait(moment);
    }

    fn wait(&mut self, moment: Moment) {
        let retry_in = self.rules.backoff.wait(self.attempt, moment.dice);
        self.attempt = self.attempt.saturating_add(1);
        self.retry_at = Some(moment.now_ms.saturating_add(millis(retry_in)));
        self.enter(DoorState::Waiting { attempt: self.attempt, retry_in });
    }

    fn close(&mut self, ending: Ending, hang_up: Option<(CloseCode, &'static str)>) {
        if let Some((code, reason)) = hang_up {
            self.effects.push_back(Effect::HangUp(code, reason));
        }
        self.is_connected = false;
        self.retry_at = None;
        self.queue.clear();
        self.queued_bytes = 0;
        for id in self.calls.clear() {
            self.resolve(id, Err(DoorError::Closed));
        }
        self.enter(DoorState::Closed(ending));
    }
}

/// A name that nobody else has, and that shows its origin.
fn renamed(name: &ClientName, dice: u64) -> Option<ClientName> {
    let begin: String = name.as_str().chars().take(MOST_OF_NAME).collect();
    ClientName::new(&format!("{begin}.{dice:016x}")).ok()
}

/// Whether a refusal with this status may be temporary.
const fn is_for_now(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
