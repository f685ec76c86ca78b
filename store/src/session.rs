//! Consumers and their ids, retained values, and what forgetting sessions did.

use std::fmt;

use bytes::Bytes;
use common::id::{ClientName, IdError, SessionId};

use crate::{dead::DeadLettered, owner::Standing};

/// The longest id of a consumer, in bytes.
pub const MAX_CONSUMER: usize = 320;

/// What one step of [`crate::Store::forget_sessions`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Forgotten sessions, with their inboxes and cursors.
    pub sessions: Vec<SessionId>,
    /// Unacknowledged records that were in their inboxes.
    pub dead_lettered: Vec<DeadLettered>,
    /// Whether there is more to do now.
    pub more: bool,
}

/// A reader whose positions the store keeps: `session:<id>`, `agent:<id>`, a client behind one of
/// them (`<address>#<client>#topics`, `<address>#<client>#presence`), or a name of its own.
///
/// The cursors of `session:<uuid>` and of the clients behind it are removed with their session,
/// those of [`ConsumerId::told_of_dead_letters`] with their channels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(String);

impl ConsumerId {
    /// Checks and takes an id: 1 to 320 bytes without control characters.
    ///
    /// # Errors
    /// The text is empty, too long, or has a character that ids may not have.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > MAX_CONSUMER {
            return Err(IdError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::BadCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// The consumer of a session.
    pub fn session(id: SessionId) -> Self {
        Self(format!("session:{id}"))
    }

    /// The server itself, which records how many dead letters of each inbox its receiver was last
    /// told of. These cursors are removed with their channels, whose count of dead letters then
    /// starts again.
    pub fn told_of_dead_letters() -> Self {
        Self("told-of-dead-letters".to_owned())
    }

    /// The positions of a named client in topics and broadcasts, by the address behind which it is.
    /// Topics with presence are under a separate id.
    pub fn of_client(address: &str, client: &ClientName, with_presence: bool) -> Self {
        let kind = if with_presence { "presence" } else { "topics" };
        // No name contains a '#'.
        Self(format!("{address}#{client}#{kind}"))
    }

    /// The address of a client, and its client name.
    pub fn client(&self) -> Option<(&str, &str)> {
        let (address, named) = self.0.split_once('#')?;
        let (client, _) = named.split_once('#')?;
        Some((address, client))
    }

    /// Its part of the disk's reserve is that of an agent, or that of everybody else.
    pub(crate) fn standing(&self) -> Standing {
        match self.client() {
            Some((address, _)) if !address.starts_with("agent:") => Standing::User,
            _ => Standing::Agent,
        }
    }

    /// The range of the ids of all clients behind the same address: from the first, up to but
    /// without the second. `None`: it is not such a client.
    pub(crate) fn siblings(&self) -> Option<(String, String)> {
        let (address, _) = self.client()?;
        // '$' follows '#'.
        Some((format!("{address}#"), format!("{address}$")))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The last value of a channel, for later subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Its number. A lower one never replaces a higher one.
    pub seq: u64,
    /// When it was stored, in milliseconds since 1970.
    pub stored_at: u64,
    /// When it is of no more use, in milliseconds since 1970. [`crate::Store::trim`] then removes
    /// it.
    pub expires_at: Option<u64>,
    /// The stamped envelope.
    pub frame: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_distinguished_whatever_their_names_contain() {
        let of = |address, client| ConsumerId::of_client(address, &ClientName::new(client).expect("a name"), false);
        let (one, other) = (of("agent:a", "b/c"), of("agent:a/b", "c"));
        assert_ne!(one, other);
        assert_eq!((one.client(), other.client()), (Some(("agent:a", "b/c")), Some(("agent:a/b", "c"))));
        assert_eq!(ConsumerId::told_of_dead_letters().client(), None);
    }
}
