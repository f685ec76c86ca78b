//! How a service describes a type of message that it handles.

use common::{
    envelope::Envelope,
    error::{ClientError, ErrorCode},
};

use crate::shard::Ask;

/// One type of message that the bridge answers itself.
#[derive(Debug)]
pub struct Kind {
    /// The exact type, `family:verb`.
    pub name: &'static str,
    /// Who may send it. From anyone else the type is a free message, which is routed.
    pub senders: Senders,
    /// Which targets make a frame of this type the bridge's.
    pub target: Target,
    /// Reads the payload.
    ///
    /// # Errors
    /// What the sender is told, with a code such as `invalid_payload`.
    pub read: fn(&Envelope<'_>) -> Result<Box<dyn Ask>, ClientError>,
}

/// Who may send a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Senders {
    /// Agents and sessions.
    All,
    /// Agents only.
    Agents,
}

/// Which targets make a frame the bridge's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Any: the target is ignored. The rule of the older types in section 4 of docs/protocol.md.
    Ignored,
    /// `bridge`, `run:<id>`, `thread:<id>` or `pool:<name>`. With another target, or none, the
    /// frame is a free message. The rule for every type that is added.
    Bridge,
}

/// What is wrong with a payload.
pub fn invalid_payload(message: &'static str) -> ClientError {
    ClientError::with_message(ErrorCode::InvalidPayload, message)
}
