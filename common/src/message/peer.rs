//! Agents and sessions as others see them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::payload::read_payload;
use crate::{
    error::{ClientError, ErrorCode},
    id::{AgentId, ClientName, SessionId, UserId},
};

/// Longest description an agent may register, in bytes of JSON: every session hears it.
pub const MAX_DESCRIPTION_BYTES: usize = 64 * 1024;
/// What an agent says of itself in `agent:register`. Every field is optional; unknown ones are
/// kept.
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
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
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

/// Parses an agent id in a parameter of a query.
///
/// # Errors
/// `invalid_agent_id`, naming the parameter and what is wrong in it.
pub fn agent_id_in_query(parameter: &str, text: &str) -> Result<AgentId, ClientError> {
    AgentId::new(text).map_err(|error| ClientError::with_message(ErrorCode::InvalidAgentId, error.in_query(parameter)))
}

/// Parses a client's name in a parameter of a query.
///
/// # Errors
/// `bad_request`, naming the parameter and what is wrong in it.
pub fn client_name_in_query(parameter: &str, text: &str) -> Result<ClientName, ClientError> {
    ClientName::new(text).map_err(|error| ClientError::with_message(ErrorCode::BadRequest, error.in_query(parameter)))
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
    /// The wallet of the login, if there is one.
    pub wallet_address: Option<String>,
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
