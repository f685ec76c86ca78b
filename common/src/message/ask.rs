//! What frames ask of the bridge.

use std::borrow::Cow;

use serde::Deserialize;

use super::{
    history::{HistoryAsk, ResumeAsk, Start},
    peer::AgentDescription,
};
use crate::{
    envelope::{Envelope, longer_than},
    error::{ClientError, ErrorCode},
    id::{SessionId, TopicName},
    secret::{Secret, json_fault},
};

/// What a frame from a client session asks for.
#[derive(Debug)]
pub enum ClientMessage {
    /// What any peer may ask.
    Common(PeerRequest),
    /// `connection:identify`: the edge's assertion that the session has logged in.
    Identify(Secret),
    /// `connection:refresh`: later credentials, for the edge to judge.
    Refresh(Secret),
    /// Route it by its target.
    Route,
}

/// What a frame from an agent asks for.
#[derive(Debug, PartialEq)]
pub enum AgentMessage {
    /// What any peer may ask.
    Common(PeerRequest),
    /// `agent:register`
    Register(Box<AgentDescription>),
    /// `agent:status`
    Status(String),
    /// `session:list`
    ListSessions(Page),
    /// Route it by its target.
    Route,
}

/// What agents and sessions alike may ask of the bridge.
#[derive(Debug, PartialEq)]
pub enum PeerRequest {
    /// `connection:ping`
    Ping,
    /// `connection:pong`
    Pong,
    /// `agent:list`
    ListAgents,
    /// `topic:subscribe`
    Subscribe {
        /// The topic.
        topic: TopicName,
        /// Whether the subscriber hears who comes and goes.
        presence: bool,
        /// Where to begin in the topic's log; with what comes from now on where absent.
        from: Option<Start>,
    },
    /// `topic:unsubscribe`
    Unsubscribe {
        /// The topic.
        topic: TopicName,
    },
    /// `message:ack`
    Ack(AckAsk),
    /// `message:nack`
    Nack(NackAsk),
    /// `channel:history`
    History(HistoryAsk),
    /// `connection:resume`
    Resume(ResumeAsk),
}

/// Which durable messages are acknowledged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct AckAsk {
    /// The inbox; its own where absent.
    #[serde(default)]
    pub channel: Option<String>,
    /// Everything up to this number.
    #[serde(default)]
    pub through: Option<u64>,
    /// These numbers.
    #[serde(default)]
    pub seqs: Vec<u64>,
}

/// Which durable message could not be used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NackAsk {
    /// The inbox; its own where absent.
    #[serde(default)]
    pub channel: Option<String>,
    /// The message.
    pub seq: u64,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// How long to wait before it is delivered again.
    #[serde(default)]
    pub delay_ms: u64,
}

impl ClientMessage {
    /// What the frame asks for.
    ///
    /// # Errors
    /// `reserved_type`, `invalid_payload`, `invalid_topic`.
    pub fn of(envelope: &Envelope<'_>) -> Result<Self, ClientError> {
        match envelope.kind.as_ref() {
            "connection:identify" => read_secret(envelope.payload).map(|IdentifyAsk { assertion }| Self::Identify(assertion)),
            "connection:refresh" => read_secret(envelope.payload).map(|RefreshAsk { token }| Self::Refresh(token)),
            _ => Ok(PeerRequest::of(envelope)?.map_or(Self::Route, Self::Common)),
        }
    }
}

impl AgentMessage {
    /// What the frame asks for.
    ///
    /// # Errors
    /// `reserved_type`, `invalid_payload`, `invalid_topic`, `invalid_agent_id`.
    pub fn of(envelope: &Envelope<'_>) -> Result<Self, ClientError> {
        match envelope.kind.as_ref() {
            "agent:register" => AgentDescription::from_payload(envelope.payload).map(|it| Self::Register(Box::new(it))),
            "agent:status" => status_of(envelope.payload).map(Self::Status),
            "session:list" => Page::from_payload(envelope.payload).map(Self::ListSessions),
            _ => Ok(PeerRequest::of(envelope)?.map_or(Self::Route, Self::Common)),
        }
    }
}

impl PeerRequest {
    fn of(envelope: &Envelope<'_>) -> Result<Option<Self>, ClientError> {
        let kind = envelope.kind.as_ref();
        let request = match kind {
            "connection:ping" => Self::Ping,
            "connection:pong" => Self::Pong,
            "agent:list" => Self::ListAgents,
            "topic:subscribe" => {
                let ask = TopicAsk::from_payload(envelope.payload)?;
                Self::Subscribe { topic: ask.topic()?, presence: ask.presence, from: ask.from }
            }
            "message:ack" => {
                let ask: AckAsk = read_payload(envelope.payload)?;
                if ask.through.is_none() == ask.seqs.is_empty() || ask.seqs.len() > Page::longest() {
                    let message = "an ack names either `through` or up to 1000 `seqs`";
                    return Err(ClientError::with_message(ErrorCode::InvalidPayload, message));
                }
                Self::Ack(ask)
            }
            "channel:history" => Self::History(HistoryAsk::from_payload(envelope.payload)?),
            "connection:resume" => Self::Resume(ResumeAsk::from_payload(envelope.payload)?),
            "message:nack" => Self::Nack(read_payload(envelope.payload)?),
            "topic:unsubscribe" => Self::Unsubscribe { topic: TopicAsk::from_payload(envelope.payload)?.topic()? },
            _ if kind.starts_with("connection:") || kind.starts_with("system:") => {
                return Err(ClientError::new(ErrorCode::ReservedType));
            }
            _ => return Ok(None),
        };
        Ok(Some(request))
    }
}

#[derive(Deserialize)]
struct IdentifyAsk {
    assertion: Secret,
}

#[derive(Deserialize)]
struct RefreshAsk {
    token: Secret,
}

#[derive(Deserialize)]
struct TopicAsk<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default)]
    presence: bool,
    #[serde(default)]
    from: Option<Start>,
}

impl<'a> TopicAsk<'a> {
    fn from_payload(payload: Option<&'a str>) -> Result<Self, ClientError> {
        read_payload(payload)
    }

    fn topic(&self) -> Result<TopicName, ClientError> {
        let name = self.topic.strip_prefix("topic:").unwrap_or(&self.topic);
        TopicName::new(name)
            .map_err(|error| ClientError::with_message(ErrorCode::InvalidTopic, format!("the topic's name {error}")))
    }
}

/// Which part of a list is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Page {
    /// Only sessions after this one.
    #[serde(default)]
    pub after: Option<SessionId>,
    /// At most so many.
    #[serde(default = "Page::longest")]
    pub limit: usize,
}

impl Page {
    /// The most one answer lists.
    pub const fn longest() -> usize {
        1000
    }

    fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let page: Self = read_payload(payload)?;
        if page.limit == 0 || page.limit > Self::longest() {
            return Err(ClientError::with_message(ErrorCode::InvalidPayload, "`limit` must be 1 to 1000"));
        }
        Ok(page)
    }
}

fn status_of(payload: Option<&str>) -> Result<String, ClientError> {
    #[derive(Deserialize)]
    struct StatusAsk {
        status: String,
    }
    let ask: StatusAsk = read_payload(payload)?;
    if ask.status.is_empty() || longer_than(&ask.status, 64) {
        return Err(ClientError::with_message(ErrorCode::InvalidPayload, "`status` must be 1 to 64 characters"));
    }
    Ok(ask.status)
}

pub(super) fn read_payload<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    serde_json::from_str(payload.unwrap_or("{}"))
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidPayload, format!("invalid payload: {error}")))
}

/// The same where the fault must not quote what was sent.
fn read_secret<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    serde_json::from_str(payload.unwrap_or("{}"))
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidPayload, format!("invalid payload: {}", json_fault(&error))))
}
