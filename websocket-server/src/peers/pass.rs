//! What an agent's key allows a connection.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use common::{
    close::CloseCode,
    error::{ClientError, ErrorCode},
    id::AgentId,
};
use identity::agent_keys::{Grant, Scopes};

/// The agent id under which operators send over HTTP. No agent may register under it.
pub const OPERATOR: &str = "@operator";

/// What an agent's key allows, as it was when the connection came.
#[derive(Clone, Debug)]
pub struct Pass {
    grant: Grant,
    checked_at: Instant,
    /// `None`: nothing is out of reach.
    bounds: Option<Arc<Scopes>>,
    /// The names of its certificate, if those bound the ids under which it may register.
    names: Option<Arc<[String]>>,
    /// The address from which it was presented.
    address: Option<IpAddr>,
}

impl Pass {
    /// For a valid key.
    pub fn new(grant: Grant, checked_at: Instant) -> Self {
        let bounds = (!grant.scopes.reach_everything()).then(|| Arc::clone(&grant.scopes));
        Self { grant, checked_at, bounds, names: None, address: None }
    }

    /// The same, for an agent whose certificate has these names: it may register under no other id.
    pub fn named(self, names: Arc<[String]>) -> Self {
        Self { names: Some(names), ..self }
    }

    /// The same, presented from an address.
    pub fn from(self, address: IpAddr) -> Self {
        Self { address: Some(address), ..self }
    }

    /// The address from which it was presented.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.grant.key
    }

    /// Its scopes; `None`: nothing is out of reach.
    pub fn bounds(&self) -> Option<&Scopes> {
        self.bounds.as_deref()
    }

    /// When it was checked.
    pub fn checked_at(&self) -> Instant {
        self.checked_at
    }

    /// Whether the key has expired.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.grant.expires_at.is_some_and(|end| end <= now)
    }

    /// Checks that the key, and the certificate if it counts, is for an agent with this id.
    ///
    /// # Errors
    /// `not_allowed`.
    pub fn check_id(&self, agent_id: &AgentId) -> Result<(), ClientError> {
        let names = self.names.as_deref();
        let message = if agent_id.as_str() == OPERATOR {
            "This id stands for operators. Register under another one."
        } else if !self.grant.scopes.may_connect_as(agent_id.as_str()) {
            "The agent key is not for an agent of this id. Register under one that it is for."
        } else if names.is_some_and(|names| !names.iter().any(|name| name == agent_id.as_str())) {
            "The agent's certificate does not name this id. Register under one of its names."
        } else {
            return Ok(());
        };
        Err(ClientError::with_message(ErrorCode::NotAllowed, message).about(format!("agent:{agent_id}")))
    }

    /// The code and reason for a connection that names no id for which its key is valid.
    pub const UNNAMED: (CloseCode, &'static str) = (CloseCode::SESSION_ENDED, "the agent key is for other agent ids");
}
