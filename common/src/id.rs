//! Ids as types: a value of such a type has been checked.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest agent id, user id, topic name, message id and correlation id, in characters.
pub const MAX_NAME: usize = 128;

/// Why a string is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty.
    #[error("is empty")]
    Empty,
    /// Longer than [`MAX_NAME`].
    #[error("is longer than 128 characters")]
    TooLong,
    /// The first character outside the allowed set.
    #[error("has {0:?}, which is not one of A-Z a-z 0-9 . _ - : / @ +")]
    Character(char),
    /// Characters outside the allowed set.
    #[error("has characters other than A-Z a-z 0-9 . _ - : / @ +")]
    BadCharacter,
    /// Not a UUID.
    #[error("is not a UUID")]
    NotAUuid,
}

/// Checks a name: 1 to 128 characters of `A-Z a-z 0-9 . _ - : / @ +`.
///
/// # Errors
/// The name is empty, too long, or has a character that names may not have.
pub fn check_name(name: &str) -> Result<(), IdError> {
    if name.is_empty() {
        return Err(IdError::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(IdError::TooLong);
    }
    let is_allowed = |character: char| character.is_ascii_alphanumeric() || "._-:/@+".contains(character);
    name.chars().find(|character| !is_allowed(*character)).map_or(Ok(()), |character| Err(IdError::Character(character)))
}

impl IdError {
    /// The message for a client that used this text as a query parameter.
    pub fn in_query(self, parameter: &str) -> String {
        match self {
            Self::Character(' ') => {
                format!("the parameter `{parameter}` {self}; in a query `+` stands for a space: write %2B for a plus sign")
            }
            _ => format!("the parameter `{parameter}` {self}"),
        }
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            /// See [`check_name`].
            pub fn new(name: &str) -> Result<Self, IdError> {
                check_name(name)?;
                Ok(Self(name.into()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = IdError;
            fn from_str(name: &str) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                let name = String::deserialize(input)?;
                Self::new(&name).map_err(serde::de::Error::custom)
            }
        }
    };
}

name_type! {
    /// The id of an agent.
    AgentId
}
name_type! {
    /// The id of a user, which a login establishes.
    UserId
}
name_type! {
    /// The name of a topic, without the `topic:` prefix.
    TopicName
}

name_type! {
    /// The id of a run: one piece of an agent's work.
    RunId
}
name_type! {
    /// The id of a thread: a conversation.
    ThreadId
}
name_type! {
    /// The name of a pool: agents that share work.
    PoolName
}

name_type! {
    /// A client name: identifies a tab or process when it connects again.
    ClientName
}

impl AgentId {
    /// A new id for an agent that named none.
    pub fn assigned() -> Self {
        Self(format!("agent-{}", Uuid::new_v4().simple()).into())
    }
}

/// The id of a client session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

impl SessionId {
    /// A new id.
    pub fn fresh() -> Self {
        Self(Uuid::new_v4())
    }
}

impl SessionId {
    /// Its bytes: a shorter form than its text.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl From<Uuid> for SessionId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for SessionId {
    type Err = IdError;
    /// Accepts the hyphenated form only, so that a session has one spelling, apart from case.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 36 {
            return Err(IdError::NotAUuid);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotAUuid)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(AgentId::new("team-a/planner:1").is_ok());
        assert_eq!(AgentId::new(""), Err(IdError::Empty));
        assert_eq!(AgentId::new("a b"), Err(IdError::Character(' ')));
        assert_eq!(AgentId::new("ä"), Err(IdError::Character('ä')));
        assert_eq!(
            IdError::Character('!').in_query("client"),
            "the parameter `client` has '!', which is not one of A-Z a-z 0-9 . _ - : / @ +"
        );
        assert!(IdError::Character(' ').in_query("agent_id").ends_with("write %2B for a plus sign"));
        assert_eq!(AgentId::new(&"x".repeat(129)), Err(IdError::TooLong));
    }

    #[test]
    fn session_ids_are_hyphenated_uuids() {
        let id = SessionId::fresh();
        assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
        assert!("not-a-uuid".parse::<SessionId>().is_err());
        assert!(id.0.simple().to_string().parse::<SessionId>().is_err());
    }
}
