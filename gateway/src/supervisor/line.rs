//! One session's way to the agent: asks it, and puts streamed answers together.

use std::{cell::RefCell, collections::HashMap, rc::Rc, time::Duration};

use common::{address::Address, envelope::Delivery, error::ErrorCode};
use serde_json::Value;
use tokio::{sync::oneshot, time::timeout};

use super::{
    answers::{Answer, text_of},
    frames::Request,
};
use crate::doors::{Door, DoorError, Incoming, Outgoing};

/// The longest answer that is put together, in bytes.
const LONGEST_ANSWER: usize = 256 * 1024;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The agent has answered.
    Answered(Answer),
    /// No agent is there. Whether the message waits for it.
    Alone {
        /// The bridge keeps it for the agent.
        is_kept: bool,
    },
    /// It failed.
    Failed {
        /// The reason, for the client.
        message: String,
        /// The bridge's code.
        code: String,
    },
}

/// An answer of which the beginning has come.
#[derive(Debug)]
struct Stream {
    text: String,
    done: Option<oneshot::Sender<Answer>>,
}

type Streams = Rc<RefCell<HashMap<String, Stream>>>;

/// See the module. Clones are the same line. Lives on one thread.
#[derive(Clone)]
pub struct Line {
    door: Door,
    agent: Address,
    limit: Duration,
    streams: Streams,
}

/// Removes a stream when nobody waits for it any more.
struct Waiting {
    streams: Streams,
    id: String,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.streams.borrow_mut().remove(&self.id);
    }
}

impl Line {
    /// The line through a door to `agent`, which answers within `limit`.
    pub fn new(door: Door, agent: Address, limit: Duration) -> Self {
        Self { door, agent, limit, streams: Streams::default() }
    }

    /// The door.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Asks the agent. If it is not there and the request is one to keep, the bridge keeps it for
    /// the agent under `keep_as`, or under a name of its own.
    pub async fn ask(&self, request: &Request, is_to_keep: bool, keep_as: Option<String>) -> Outcome {
        timeout(self.limit, self.ask_untimed(request, is_to_keep, keep_as)).await.unwrap_or_else(|_| timed_out())
    }

    async fn ask_untimed(&self, request: &Request, is_to_keep: bool, keep_as: Option<String>) -> Outcome {
        let message = Outgoing::new("message:send").to(&self.agent).payload(request.payload());
        let (sender, done) = oneshot::channel();
        let id = message.message_id().to_owned();
        self.streams.borrow_mut().insert(id.clone(), Stream { text: String::new(), done: Some(sender) });
        let waiting = Waiting { streams: Rc::clone(&self.streams), id };
        match self.door.request(message, self.limit).await {
            Ok(first) if Answer::is_partial(&first.kind) => {
                self.add(&waiting.id, &first, true);
                done.await.map_or_else(|_| timed_out(), Outcome::Answered)
            }
            Ok(answer) => Outcome::Answered(whole(&answer, "")),
            Err(DoorError::Refused(error)) if error.code == Some(ErrorCode::AgentNotFound) => {
                Outcome::Alone { is_kept: is_to_keep && self.keep(request, keep_as).await }
            }
            Err(error) => failed(error),
        }
    }

    /// Stores a request for an agent that is away. Returns whether it is stored: an agent that the
    /// bridge has never seen has no inbox for sessions.
    async fn keep(&self, request: &Request, keep_as: Option<String>) -> bool {
        let message = Outgoing::new("message:send").to(&self.agent).delivery(Delivery::Durable).payload(request.payload());
        let message = match keep_as {
            Some(id) => message.id(id),
            None => message,
        };
        self.door
            .publish(message)
            .await
            .inspect_err(|error| tracing::debug!(%error, "a message is not kept for the agent"))
            .is_ok()
    }

    /// Takes a message from the inbox if it is part of a streamed answer; otherwise returns it.
    pub fn take(&self, message: Incoming) -> Option<Incoming> {
        let Some(id) = message.correlation_id.clone().filter(|id| self.streams.borrow().contains_key(id)) else {
            return Some(message);
        };
        if Answer::is_partial(&message.kind) {
            self.add(&id, &message, false);
            return None;
        }
        if let Some(stream) = self.streams.borrow_mut().get_mut(&id)
            && let Some(done) = stream.done.take()
        {
            // If nobody waits any more, nobody needs it.
            let _ = done.send(whole(&message, &stream.text));
        }
        None
    }

    fn add(&self, id: &str, part: &Incoming, is_first: bool) {
        let Ok(payload) = part.payload::<Value>() else { return };
        if let (Some(stream), Some(text)) = (self.streams.borrow_mut().get_mut(id), text_of(&payload))
            && stream.text.len() + text.len() <= LONGEST_ANSWER
        {
            stream.text.insert_str(if is_first { 0 } else { stream.text.len() }, text);
        }
    }
}

/// The answer in its last message. If that has no text, its text is what came before.
fn whole(message: &Incoming, before: &str) -> Answer {
    let mut payload = message.payload::<Value>().unwrap_or_default();
    if !before.is_empty() && text_of(&payload).is_none() {
        match &mut payload {
            Value::Object(fields) => drop(fields.insert("text".to_owned(), before.into())),
            other => *other = before.into(),
        }
    }
    Answer { kind: message.kind.clone(), id: message.id.clone(), payload }
}

fn timed_out() -> Outcome {
    failed(DoorError::Refused(ErrorCode::ReplyTimeout.into()))
}

fn failed(error: DoorError) -> Outcome {
    let code = match &error {
        DoorError::Refused(refused) => {
            return Outcome::Failed { message: refused.message.clone(), code: refused.code_text.clone() };
        }
        DoorError::TimedOut => ErrorCode::ReplyTimeout,
        DoorError::TooBig { .. } => ErrorCode::FrameTooBig,
        DoorError::TooManyPending { .. } => ErrorCode::TooManyRequests,
        DoorError::Interrupted | DoorError::Closed | DoorError::Full => ErrorCode::UpstreamUnavailable,
        DoorError::DuplicateId => ErrorCode::DuplicateRequest,
    };
    Outcome::Failed { message: error.to_string(), code: code.as_str().to_owned() }
}
