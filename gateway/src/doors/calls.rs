//! The calls that wait for their answers. Pure.

use std::collections::{BTreeMap, HashMap};

use common::id::TopicName;

use super::{
    error::{BridgeError, DoorError},
    incoming::Incoming,
};

/// What a call waits for, and what happens to it if the connection is lost meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// The bridge's answer to a request that may be repeated: it is sent again.
    Ask,
    /// The same for a subscription, which is kept once it is answered.
    Subscribe {
        /// The topic.
        topic: TopicName,
        /// Whether with presence.
        presence: bool,
    },
    /// The first answer of a peer. The call fails: whether the request was carried out is unknown.
    Request {
        /// The only address whose answer counts; any, if the request names none.
        from: Option<String>,
    },
    /// The confirmation of a durable message. It is sent again under its id, which the broker
    /// recognises.
    Publish,
}

/// A call, in the order in which it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Waiting {
    id: String,
    call: Call,
    /// The text, to be sent again.
    text: String,
    due_ms: u64,
    is_sent: bool,
}

/// The outcome of a call.
pub type Outcome = Result<Incoming, DoorError>;

/// Who gets a message.
pub enum Addressee {
    /// A call, which it ends.
    Call {
        /// The id of the call's message.
        id: String,
        /// What it waited for.
        call: Call,
        /// Its outcome.
        outcome: Outcome,
    },
    /// The receiver.
    Receiver(Incoming),
}

/// See the module. Bounded.
#[derive(Debug)]
pub struct Calls {
    limit: usize,
    next: u64,
    waiting: BTreeMap<Ticket, Waiting>,
    by_id: HashMap<String, Ticket>,
}

impl Calls {
    /// No calls, and at most `limit` at a time.
    pub fn new(limit: usize) -> Self {
        Self { limit, next: 0, waiting: BTreeMap::new(), by_id: HashMap::new() }
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds a call that waits until `due_ms`.
    ///
    /// # Errors
    /// `TooManyPending`, `DuplicateId`.
    pub fn enter(&mut self, id: &str, call: Call, text: String, due_ms: u64) -> Result<Ticket, DoorError> {
        if self.waiting.len() >= self.limit {
            return Err(DoorError::TooManyPending { limit: self.limit });
        }
        if self.by_id.contains_key(id) {
            return Err(DoorError::DuplicateId);
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.by_id.insert(id.to_owned(), ticket);
        self.waiting.insert(ticket, Waiting { id: id.to_owned(), call, text, due_ms, is_sent: false });
        Ok(ticket)
    }

    /// The text of a call that is about to be sent; `None` if nobody waits for it any more.
    pub fn send(&mut self, ticket: Ticket) -> Option<String> {
        let waiting = self.waiting.get_mut(&ticket)?;
        waiting.is_sent = true;
        Some(match waiting.call {
            // Never sent again.
            Call::Request { .. } => std::mem::take(&mut waiting.text),
            Call::Ask | Call::Subscribe { .. } | Call::Publish => waiting.text.clone(),
        })
    }

    /// A message has arrived. Returns who gets it. A call that it ends is removed.
    pub fn on_message(&mut self, message: Incoming) -> Addressee {
        let is_error = message.kind == "system:error" && message.is_from_bridge();
        let ends = |waiting: &Waiting| {
            is_error
                || match &waiting.call {
                    Call::Ask | Call::Subscribe { .. } => message.is_from_bridge(),
                    Call::Request { from } => from.is_none() || *from == message.source,
                    Call::Publish => message.kind == "message:accepted" && message.is_from_bridge(),
                }
        };
        let ticket = message.correlation_id.as_ref().and_then(|id| self.by_id.get(id)).copied();
        let ticket = ticket.filter(|ticket| self.waiting.get(ticket).is_some_and(ends));
        match ticket.and_then(|ticket| self.remove(ticket)) {
            Some((id, call)) if is_error => {
                Addressee::Call { id, call, outcome: Err(DoorError::Refused(BridgeError::of(&message))) }
            }
            Some((id, call)) => Addressee::Call { id, call, outcome: Ok(message) },
            None => Addressee::Receiver(message),
        }
    }

    /// The connection is lost. Returns the requests that fail because of it, and the calls that
    /// must be sent again, in order.
    pub fn on_lost(&mut self) -> (Vec<String>, Vec<Ticket>) {
        let mut again = Vec::new();
        let mut failed = Vec::new();
        for (ticket, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.is_sent) {
            match waiting.call {
                Call::Request { .. } => failed.push(*ticket),
                Call::Ask | Call::Subscribe { .. } | Call::Publish => {
                    waiting.is_sent = false;
                    again.push(*ticket);
                }
            }
        }
        (failed.into_iter().filter_map(|ticket| self.remove(ticket)).map(|(id, _)| id).collect(), again)
    }

    /// Removes the calls whose time is up.
    pub fn expire(&mut self, now_ms: u64) -> Vec<String> {
        let due: Vec<_> =
            self.waiting.iter().filter(|(_, waiting)| waiting.due_ms <= now_ms).map(|(ticket, _)| *ticket).collect();
        due.into_iter().filter_map(|ticket| self.remove(ticket)).map(|(id, _)| id).collect()
    }

    /// When the next call's time is up.
    pub fn next_due(&self) -> Option<u64> {
        self.waiting.values().map(|waiting| waiting.due_ms).min()
    }

    /// Removes all calls.
    pub fn clear(&mut self) -> Vec<String> {
        self.by_id.clear();
        std::mem::take(&mut self.waiting).into_values().map(|waiting| waiting.id).collect()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<(String, Call)> {
        let Waiting { id, call, .. } = self.waiting.remove(&ticket)?;
        self.by_id.remove(&id);
        Some((id, call))
    }
}
