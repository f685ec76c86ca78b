//! The messages the bridge itself understands and says; everything else is routed by its target.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    envelope::{Envelope, longer_than},
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, TopicName, UserId},
    timestamp,
};

/// Longest description an agent may register, in bytes of JSON: every session hears it.
pub const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;

/// What a frame from a client session asks for.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// What any peer may ask.
    Common(PeerRequest),
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
        match PeerRequest::of(envelope)? {
            Some(request) => Ok(Self::Common(request)),
            None => Ok(Self::Route),
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
                Self::Subscribe { topic: ask.topic()?, presence: ask.presence }
            }
            "message:ack" => {
                let ask: AckAsk = read_payload(envelope.payload)?;
                if ask.through.is_none() == ask.seqs.is_empty() || ask.seqs.len() > Page::longest() {
                    let message = "an ack names either `through` or up to 1000 `seqs`";
                    return Err(ClientError::with_message(ErrorCode::InvalidPayload, message));
                }
                Self::Ack(ask)
            }
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
struct TopicAsk<'a> {
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(default)]
    presence: bool,
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

fn read_payload<'a, T: Deserialize<'a>>(payload: Option<&'a str>) -> Result<T, ClientError> {
    serde_json::from_str(payload.unwrap_or("{}"))
        .map_err(|error| ClientError::with_message(ErrorCode::InvalidPayload, format!("invalid payload: {error}")))
}

/// What an agent says of itself in `agent:register`. Every field is optional; unknown ones are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentDescription {
    /// The id it wants. Taken out before the description is passed on.
    #[serde(default, skip_serializing)]
    pub agent_id: Option<String>,
    /// A name for people.
    #[serde(default)]
    pub name: Option<String>,
    /// What kind of agent it is.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// The model behind it.
    #[serde(default)]
    pub model: Option<String>,
    /// What it can do.
    #[serde(default)]
    pub capabilities: Option<Vec<String>>,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// Labels to select it by.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// How many conversations it serves at once.
    #[serde(default)]
    pub max_concurrency: Option<u32>,
    /// Anything else it wants to be known.
    #[serde(default)]
    pub metadata: Option<Value>,
    /// Fields this version does not know.
    #[serde(flatten)]
    pub unknown: Map<String, Value>,
}

impl AgentDescription {
    fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        if payload.is_some_and(|payload| payload.len() > MAX_DESCRIPTION_BYTES) {
            return Err(ClientError::with_message(ErrorCode::InvalidPayload, "the description is longer than 64 KiB"));
        }
        let mut description: Self = read_payload(payload)?;
        for taken in ["status", "connected_at"] {
            description.unknown.remove(taken);
        }
        Ok(description)
    }

    /// The id it asks for.
    ///
    /// # Errors
    /// `invalid_agent_id`.
    pub fn wanted_id(&self) -> Result<Option<AgentId>, ClientError> {
        self.agent_id.as_deref().map(parse_agent_id).transpose()
    }
}

/// Parses an agent id a client wrote.
///
/// # Errors
/// `invalid_agent_id`, saying why.
pub fn parse_agent_id(text: &str) -> Result<AgentId, ClientError> {
    AgentId::new(text).map_err(|error| ClientError::with_message(ErrorCode::InvalidAgentId, format!("the agent id {error}")))
}

/// An agent as others see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentInfo {
    /// Its id.
    pub agent_id: AgentId,
    /// What it said of itself.
    #[serde(flatten)]
    pub description: AgentDescription,
    /// `idle`, `busy`, or whatever it last said; `idle` at first.
    pub status: String,
    /// When this connection was registered, RFC 3339.
    pub connected_at: String,
}

/// A session as agents see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionInfo {
    /// Its id.
    pub session_id: SessionId,
    /// The user, once logged in.
    pub user_id: Option<UserId>,
    /// The agent it named at connect.
    pub agent: Option<AgentId>,
    /// Whether a user stands behind it.
    pub authenticated: bool,
    /// When its first connection came, RFC 3339.
    pub connected_at: String,
    /// What the edge saw of the client.
    pub client: ClientInfo,
}

/// What the edge saw of a client.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientInfo {
    /// IP address.
    pub ip: Option<String>,
    /// `User-Agent`.
    pub user_agent: Option<String>,
}

/// The limits a peer is told in `connection:ack`.
#[derive(Clone, Debug, Serialize)]
pub struct AnnouncedLimits {
    /// Longest frame and message in bytes.
    pub max_frame_bytes: usize,
    /// Most fragments of one message.
    pub max_fragments: usize,
    /// Deepest nesting of JSON.
    pub max_depth: usize,
    /// Bytes that wait for this peer at most.
    pub outbox_bytes: usize,
    /// Most topics of one connection.
    pub max_subscriptions: usize,
    /// Most open requests of one connection.
    pub max_pending_requests: usize,
}

/// The heartbeat a peer is told in `connection:ack`.
#[derive(Clone, Debug, Serialize)]
pub struct AnnouncedHeartbeat {
    /// A ping is sent this often, in milliseconds.
    pub interval_ms: u64,
    /// A peer silent for this long is closed, in milliseconds.
    pub timeout_ms: u64,
}

/// The payload of `connection:ack`.
#[derive(Clone, Debug, Serialize)]
pub struct Ack {
    /// Protocol version.
    pub protocol: u32,
    /// Always `agent-bridge`.
    pub server: &'static str,
    /// The server's version.
    pub version: &'static str,
    /// Names this connection in logs and statistics.
    pub connection_id: String,
    /// The agent's id; for a session the agent it named.
    pub agent_id: Option<AgentId>,
    /// The session's id.
    pub session_id: Option<SessionId>,
    /// Always `connected`.
    pub status: &'static str,
    /// The heartbeat.
    pub heartbeat: AnnouncedHeartbeat,
    /// The limits in force.
    pub limits: AnnouncedLimits,
}

/// What the bridge says.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "the fields are the rows of docs/protocol.md, section 4")]
pub enum SystemMessage {
    Ack(Box<Ack>),
    Pong(Option<Box<serde_json::value::RawValue>>),
    AgentRegistered {
        agent_id: AgentId,
        agent: Box<AgentInfo>,
    },
    AgentListed {
        agents: Vec<AgentInfo>,
    },
    AgentConnected {
        agent: Box<AgentInfo>,
    },
    AgentUpdated {
        agent: Box<AgentInfo>,
    },
    AgentStatus {
        agent_id: AgentId,
        status: String,
        agent: Box<AgentInfo>,
    },
    AgentDisconnected {
        agent_id: AgentId,
        reason: String,
    },
    SessionConnected(Box<SessionInfo>),
    SessionDisconnected {
        session_id: SessionId,
        user_id: Option<UserId>,
        reason: String,
    },
    SessionListed {
        sessions: Vec<SessionInfo>,
        total: usize,
        next: Option<SessionId>,
    },
    TopicSubscribed {
        topic: TopicName,
        #[serde(skip_serializing_if = "Option::is_none")]
        member_count: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        members: Option<Vec<String>>,
    },
    TopicUnsubscribed {
        topic: TopicName,
    },
    PresenceJoin {
        topic: TopicName,
        member: String,
    },
    PresenceLeave {
        topic: TopicName,
        member: String,
    },
    Error(ClientError),
    Accepted {
        channel: String,
        epoch: String,
        seq: u64,
        duplicate: bool,
    },
    Expired {
        channel: String,
        seq: u64,
        reason: &'static str,
    },
    Lost {
        count: u64,
        bytes: u64,
        reason: &'static str,
    },
    Draining {
        reason: &'static str,
        close_within_ms: u64,
    },
    Upstream {
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
}

impl SystemMessage {
    /// The type on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ack(_) => "connection:ack",
            Self::Pong(_) => "connection:pong",
            Self::AgentRegistered { .. } => "agent:registered",
            Self::AgentListed { .. } => "agent:listed",
            Self::AgentConnected { .. } => "agent:connected",
            Self::AgentUpdated { .. } => "agent:updated",
            Self::AgentStatus { .. } => "agent:status",
            Self::AgentDisconnected { .. } => "agent:disconnected",
            Self::SessionConnected(_) => "session:connected",
            Self::SessionDisconnected { .. } => "session:disconnected",
            Self::SessionListed { .. } => "session:listed",
            Self::TopicSubscribed { .. } => "topic:subscribed",
            Self::TopicUnsubscribed { .. } => "topic:unsubscribed",
            Self::PresenceJoin { .. } => "presence:join",
            Self::PresenceLeave { .. } => "presence:leave",
            Self::Error(_) => "system:error",
            Self::Accepted { .. } => "message:accepted",
            Self::Expired { .. } => "message:expired",
            Self::Lost { .. } => "system:lost",
            Self::Draining { .. } => "system:draining",
            Self::Upstream { .. } => "system:upstream",
        }
    }

    /// Encodes the whole frame.
    pub fn encode(&self, source: Speaker, target: Option<&str>, correlation_id: Option<&str>) -> String {
        #[derive(Serialize)]
        struct Frame<'a> {
            id: String,
            #[serde(rename = "type")]
            kind: &'static str,
            timestamp: String,
            source: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            target: Option<&'a str>,
            correlation_id: Option<&'a str>,
            payload: &'a SystemMessage,
        }
        let frame = Frame {
            id: uuid::Uuid::new_v4().to_string(),
            kind: self.kind(),
            timestamp: timestamp::now_string(),
            source: source.as_str(),
            target,
            correlation_id,
            payload: self,
        };
        // Strings, numbers and maps with string keys: serialisation has no way to fail.
        serde_json::to_string(&frame).unwrap_or_default()
    }
}

/// Who says a [`SystemMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The broker.
    Bridge,
    /// The edge.
    Edge,
}

impl Speaker {
    /// The `source` on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Edge => "edge",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent_message(frame: &Value) -> Result<AgentMessage, ErrorCode> {
        let text = frame.to_string();
        let envelope = Envelope::parse(&text, 64).expect("valid envelope");
        AgentMessage::of(&envelope).map_err(|error| error.code)
    }

    #[test]
    fn registration_keeps_unknown_fields_and_drops_what_the_bridge_states() {
        let frame = json!({"type":"agent:register","payload":{"agent_id":"a","name":"A","colour":"red","status":"x"}});
        let Ok(AgentMessage::Register(description)) = agent_message(&frame) else { panic!("not a registration") };
        assert_eq!(description.wanted_id().expect("valid").expect("named").as_str(), "a");
        let info = AgentInfo {
            agent_id: AgentId::new("a").expect("valid"),
            description: *description,
            status: "idle".to_owned(),
            connected_at: String::new(),
        };
        let seen = serde_json::to_value(&info).expect("json");
        assert_eq!(seen["colour"], "red");
        assert_eq!(seen["status"], "idle");
        assert_eq!(seen["agent_id"], "a");
        assert_eq!(seen["model"], Value::Null);
    }

    #[test]
    fn reserved_families_are_refused_and_unknown_types_routed() {
        assert_eq!(agent_message(&json!({"type":"system:reboot"})), Err(ErrorCode::ReservedType));
        assert_eq!(agent_message(&json!({"type":"connection:ack"})), Err(ErrorCode::ReservedType));
        assert_eq!(agent_message(&json!({"type":"agent:handoff"})), Ok(AgentMessage::Route));
        assert_eq!(agent_message(&json!({"type":"no:such"})), Ok(AgentMessage::Route));
    }

    #[test]
    fn topics_are_named_with_or_without_prefix() {
        let subscribe = |topic: &str| agent_message(&json!({"type":"topic:subscribe","payload":{"topic":topic}}));
        let expected =
            AgentMessage::Common(PeerRequest::Subscribe { topic: TopicName::new("t").expect("valid"), presence: false });
        assert_eq!(subscribe("t").as_ref(), Ok(&expected));
        assert_eq!(subscribe("topic:t").as_ref(), Ok(&expected));
        assert_eq!(subscribe("").err(), Some(ErrorCode::InvalidTopic));
        assert_eq!(agent_message(&json!({"type":"topic:subscribe"})), Err(ErrorCode::InvalidPayload));
    }

    #[test]
    fn system_messages_have_the_envelope() {
        let frame = SystemMessage::Error(ErrorCode::NoAgent.into()).encode(Speaker::Bridge, None, Some("7"));
        let value: Value = serde_json::from_str(&frame).expect("json");
        assert_eq!(value["type"], "system:error");
        assert_eq!(value["source"], "bridge");
        assert_eq!(value["correlation_id"], "7");
        assert_eq!(value["payload"]["code"], "no_agent");
    }
}
