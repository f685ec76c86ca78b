//! `session:list`: agents list the sessions that they may see.

use common::{
    error::ClientError,
    id::SessionId,
    message::{SystemMessage, read_payload},
};
use serde::Deserialize;

use super::kind::{Kind, Senders, Target, invalid_payload};
use crate::shard::{Ask, Call};

pub(super) const KINDS: &[Kind] = &[Kind {
    name: "session:list",
    senders: Senders::Agents,
    target: Target::Ignored,
    read: |envelope| Ok(Box::new(SessionListAsk::from_payload(envelope.payload)?)),
}];

/// One page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct SessionListAsk {
    /// Only sessions after this one.
    #[serde(default)]
    pub after: Option<SessionId>,
    /// The most sessions in the answer, 1 to 1000.
    #[serde(default = "SessionListAsk::longest")]
    pub limit: usize,
}

impl SessionListAsk {
    /// The most sessions in one answer.
    pub const fn longest() -> usize {
        1000
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn from_payload(payload: Option<&str>) -> Result<Self, ClientError> {
        let page: Self = read_payload(payload)?;
        if page.limit == 0 || page.limit > Self::longest() {
            return Err(invalid_payload("`limit` must be 1 to 1000"));
        }
        Ok(page)
    }
}

impl Ask for SessionListAsk {
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError> {
        let Self { after, limit } = *self;
        Ok(Some(call.router.broker().router.read().list_sessions(call.peer, after, limit)))
    }
}
