//! `agent:*`: agents describe themselves, and anyone lists them.

use std::sync::Arc;

use common::{
    envelope::{Envelope, longer_than},
    error::{ClientError, ErrorCode},
    message::{AgentDescription, SystemMessage, read_payload},
};
use serde::Deserialize;
use transport::clock::now_ms;

use super::kind::{Kind, Senders, Target, invalid_payload};
use crate::shard::{Ask, Call};

const REGISTER: &str = "agent:register";

/// The longest `status` of an agent, in characters.
const MAX_STATUS: usize = 64;

pub(super) const KINDS: &[Kind] = &[
    Kind { name: "agent:list", senders: Senders::All, target: Target::Ignored, read: |_| Ok(Box::new(List)) },
    Kind {
        name: REGISTER,
        senders: Senders::Agents,
        target: Target::Ignored,
        read: |envelope| Ok(Box::new(Register(Box::new(AgentDescription::from_payload(envelope.payload)?)))),
    },
    Kind {
        name: "agent:status",
        senders: Senders::Agents,
        target: Target::Ignored,
        read: |envelope| Ok(Box::new(StatusAsk::from_payload(envelope.payload)?)),
    },
];

/// The description in a frame that registers an agent; `None` for any other frame.
///
/// # Errors
/// `invalid_payload`.
pub(crate) fn registration(envelope: &Envelope<'_>) -> Result<Option<AgentDescription>, ClientError> {
    (envelope.kind == REGISTER).then(|| AgentDescription::from_payload(envelope.payload)).transpose()
}

#[derive(Debug)]
struct List;

impl Ask for List {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let agents = call.router.broker().router.read().agents_seen_by(call.peer);
        Ok(Some(SystemMessage::AgentListed { agents }))
    }
}

/// A registered agent updates its description.
#[derive(Debug)]
struct Register(Box<AgentDescription>);

impl Ask for Register {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Self(description) = *self;
        let current = call.peer.address().strip_prefix("agent:");
        if description.wanted_id()?.is_some_and(|wanted| Some(wanted.as_str()) != current) {
            return Err(ErrorCode::AlreadyRegistered.into());
        }
        let agent = call.router.broker().router.write().describe(call.peer, *description, now_ms());
        Ok(agent.map(|agent| SystemMessage::AgentRegistered { agent_id: agent.agent_id.clone(), agent: Box::new(agent) }))
    }
}

/// An agent's status: `idle`, `busy`, `error` or any other text.
#[derive(Debug, Deserialize)]
pub struct StatusAsk {
    /// 1 to 64 characters.
    pub status: String,
}

impl StatusAsk {
    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let ask: Self = read_payload(payload)?;
        if ask.status.is_empty() || longer_than(&ask.status, MAX_STATUS) {
            return Err(invalid_payload("`status` must be 1 to 64 characters"));
        }
        Ok(ask)
    }
}

impl Ask for StatusAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let broker = Arc::clone(call.router.broker());
        broker.router.write().set_status(call.peer, &self.status, now_ms());
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_1_to_64_characters() {
        let read = |status: &str| StatusAsk::from_payload(Some(&format!(r#"{{"status":"{status}"}}"#)));
        assert!(read("busy").is_ok());
        assert!(read(&"ä".repeat(64)).is_ok());
        for bad in [String::new(), "ä".repeat(65)] {
            assert_eq!(read(&bad).err().map(|error| error.code), Some(ErrorCode::InvalidPayload), "{bad}");
        }
        assert!(StatusAsk::from_payload(None).is_err());
    }
}
