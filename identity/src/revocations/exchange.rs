//! What an edge and its broker tell each other of revocations: `POST /api/v1/revocations` of the
//! broker.

use serde::{Deserialize, Serialize};

use super::entry::Revocation;

/// The most revocations in one request and in one answer.
pub const MOST_EXCHANGED: usize = 1000;

/// The request of an edge: its revocations, and the number up to which it knows the broker's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The broker's life that `after` refers to, from its last answer. Absent: the edge knows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// The number up to which the broker's revocations are known.
    #[serde(default)]
    pub after: u64,
    /// Revocations that the broker may not know. At most [`MOST_EXCHANGED`].
    #[serde(default)]
    pub revocations: Vec<Revocation>,
}

/// The broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Changes at each start of the broker: its numbers start again, and it may have lost what it
    /// was told.
    pub life: String,
    /// The number up to which the edge now knows the broker's revocations.
    pub upto: u64,
    /// Whether there are more.
    pub more: bool,
    /// What the broker has learned after the number in the request. At most [`MOST_EXCHANGED`].
    pub revocations: Vec<Revocation>,
}
