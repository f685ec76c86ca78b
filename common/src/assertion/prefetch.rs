//! How many unacknowledged messages a receiver is handed at most.

use serde::{Deserialize, Serialize};

use super::Acks;
use crate::error::{ClientError, ErrorCode};

/// The most unacknowledged messages of inboxes that a connection with `ack=explicit` is handed at a
/// time: 1 to 10,000, by default 64. The query parameter `prefetch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Prefetch(u16);

impl Prefetch {
    /// The greatest value.
    pub const GREATEST: u16 = 10_000;

    /// The prefetch of so many messages; `None` outside of 1 to 10,000.
    pub fn new(messages: u16) -> Option<Self> {
        (1..=Self::GREATEST).contains(&messages).then_some(Self(messages))
    }

    /// How many messages.
    pub fn messages(self) -> usize {
        usize::from(self.0)
    }

    /// Whether it is the default.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the query parameter `prefetch` of a connection that acknowledges so.
    ///
    /// # Errors
    /// `bad_request`: it is no number from 1 to 10,000, or the connection does not acknowledge
    /// explicitly.
    pub fn in_query(text: Option<&str>, acks: Acks) -> Result<Self, ClientError> {
        let refused = |message| ClientError::with_message(ErrorCode::BadRequest, message);
        let Some(text) = text else { return Ok(Self::default()) };
        if acks != Acks::Explicit {
            return Err(refused("the query parameter `prefetch` needs `ack=explicit`"));
        }
        let messages = text.parse().ok().and_then(Self::new);
        messages.ok_or_else(|| refused("the query parameter `prefetch` must be a number from 1 to 10000"))
    }
}

impl Default for Prefetch {
    fn default() -> Self {
        Self(64)
    }
}

impl TryFrom<u16> for Prefetch {
    type Error = &'static str;

    fn try_from(messages: u16) -> Result<Self, Self::Error> {
        Self::new(messages).ok_or("a prefetch is a number from 1 to 10000")
    }
}

impl From<Prefetch> for u16 {
    fn from(prefetch: Prefetch) -> Self {
        prefetch.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_number_in_bounds_and_only_with_explicit_acknowledgement() {
        let read = |text| Prefetch::in_query(text, Acks::Explicit).map(Prefetch::messages).ok();
        let texts = [None, Some("1"), Some("10000"), Some("0"), Some("10001"), Some("70000"), Some("-1"), Some("many"), Some("")];
        assert_eq!(texts.map(read), [Some(64), Some(1), Some(10_000), None, None, None, None, None, None]);
        assert!(Prefetch::in_query(Some("1"), Acks::Automatic).is_err());
        assert!(Prefetch::in_query(None, Acks::Automatic).is_ok());
    }
}
