//! What the bridge says.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{
    history::{HistoryPage, LostRecords, Recovery},
    peer::{AgentInfo, SessionInfo},
};
use crate::{
    error::ClientError,
    id::{AgentId, SessionId, TopicName, UserId},
    timestamp,
};

/// Bytes at most that the bridge adds to a message on its way: the source, the id and the time
/// where they are absent, and where a durable message stands. Ids, addresses and channels are
/// bounded, and so is this.
pub const MAX_ADDED_BYTES: usize = 4 * 1024;

/// The limits a peer is told in `connection:ack`.
#[derive(Clone, Debug, Serialize)]
pub struct AnnouncedLimits {
    /// Longest frame and message that this peer may send, in bytes.
    pub max_frame_bytes: usize,
    /// Longest message of another peer that this one may be sent, in bytes: what the sender's limit
    /// allows and [`MAX_ADDED_BYTES`].
    pub max_receive_bytes: usize,
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
    /// What the edge calls the client's socket: it stays the same when the edge reconnects.
    pub socket_id: Option<Uuid>,
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
    SessionIdentified(Box<SessionInfo>),
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
        epoch: String,
        seq: u64,
        #[serde(flatten)]
        recovery: Option<Recovery>,
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
    Delivered {
        channel: String,
        seq: u64,
    },
    Acknowledged {
        channel: String,
        seq: u64,
    },
    Records(Box<HistoryPage>),
    Resumed {
        epoch: String,
        channels: BTreeMap<String, Recovery>,
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
    LostRecords {
        channel: String,
        reason: &'static str,
        #[serde(flatten)]
        lost: LostRecords,
    },
    Draining {
        reason: &'static str,
        close_within_ms: u64,
    },
    Expiring {
        expires_at: String,
    },
    Refreshed {
        expires_at: String,
    },
    Upstream {
        state: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_in_ms: Option<u64>,
    },
    /// Of a bridge service that defines its own types; see [`SystemMessage::of_service`].
    Service(ServiceMessage),
}

/// A message in the words of one bridge service.
#[derive(Clone, Debug)]
pub struct ServiceMessage {
    kind: &'static str,
    payload: serde_json::Value,
}

impl Serialize for ServiceMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.payload.serialize(serializer)
    }
}

impl SystemMessage {
    /// A message of a bridge service: its type, `family:verb`, and its payload.
    pub fn of_service(kind: &'static str, payload: serde_json::Value) -> Self {
        Self::Service(ServiceMessage { kind, payload })
    }

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
            Self::SessionIdentified(_) => "session:identified",
            Self::SessionDisconnected { .. } => "session:disconnected",
            Self::SessionListed { .. } => "session:listed",
            Self::TopicSubscribed { .. } => "topic:subscribed",
            Self::TopicUnsubscribed { .. } => "topic:unsubscribed",
            Self::PresenceJoin { .. } => "presence:join",
            Self::PresenceLeave { .. } => "presence:leave",
            Self::Error(_) => "system:error",
            Self::Accepted { .. } => "message:accepted",
            Self::Delivered { .. } => "message:delivered",
            Self::Acknowledged { .. } => "message:acknowledged",
            Self::Records(_) => "channel:records",
            Self::Resumed { .. } => "connection:resumed",
            Self::Expired { .. } => "message:expired",
            Self::Lost { .. } | Self::LostRecords { .. } => "system:lost",
            Self::Draining { .. } => "system:draining",
            Self::Expiring { .. } => "connection:expiring",
            Self::Refreshed { .. } => "connection:refreshed",
            Self::Upstream { .. } => "system:upstream",
            Self::Service(message) => message.kind,
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
