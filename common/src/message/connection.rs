//! The frames that a connection handles itself: `connection:*`. All others go to a bridge service,
//! or are routed by their target.

use serde::Deserialize;

use super::payload::read_secret;
use crate::{
    envelope::Envelope,
    error::{ClientError, ErrorCode},
    secret::Secret,
};

/// A frame from a client session, as its connection sees it.
#[derive(Debug)]
pub enum ClientMessage {
    /// `connection:ping`
    Ping,
    /// `connection:pong`
    Pong,
    /// `connection:identify`: the edge's assertion that the session has logged in.
    Identify(Secret),
    /// `connection:refresh`: later credentials, which the edge checks.
    Refresh(Secret),
    /// Not for the connection.
    Other,
}

/// A frame from an agent, as its connection sees it.
#[derive(Debug, PartialEq, Eq)]
pub enum AgentMessage {
    /// `connection:ping`
    Ping,
    /// `connection:pong`
    Pong,
    /// Not for the connection.
    Other,
}

impl ClientMessage {
    /// Reads a frame that no bridge service owns.
    ///
    /// # Errors
    /// `reserved_type`, `invalid_payload`.
    pub fn of(envelope: &Envelope<'_>) -> Result<Self, ClientError> {
        match envelope.kind.as_ref() {
            "connection:identify" => read_secret(envelope.payload).map(|IdentifyAsk { assertion }| Self::Identify(assertion)),
            "connection:refresh" => read_secret(envelope.payload).map(|RefreshAsk { token }| Self::Refresh(token)),
            _ => AgentMessage::of(envelope).map(|message| match message {
                AgentMessage::Ping => Self::Ping,
                AgentMessage::Pong => Self::Pong,
                AgentMessage::Other => Self::Other,
            }),
        }
    }
}

impl AgentMessage {
    /// Reads a frame that no bridge service owns.
    ///
    /// # Errors
    /// `reserved_type`.
    pub fn of(envelope: &Envelope<'_>) -> Result<Self, ClientError> {
        match envelope.kind.as_ref() {
            "connection:ping" => Ok(Self::Ping),
            "connection:pong" => Ok(Self::Pong),
            kind if kind.starts_with("connection:") || kind.starts_with("system:") => {
                Err(ClientError::new(ErrorCode::ReservedType))
            }
            _ => Ok(Self::Other),
        }
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
