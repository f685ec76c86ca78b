//! What an edge and its broker tell each other of revocations: `POST /api/v1/revocations` of the broker.

use serde::{Deserialize, Serialize};

use super::table::Revocation;

/// Most revocations in one question and in one answer.
pub const MOST_EXCHANGED: usize = 1000;

/// What an edge says: what it has revoked, and up to where it knows the broker's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The life of the broker that `after` is about, as the last answer told; absent: nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// The number up to which the broker's revocations are known.
    #[serde(default)]
    pub after: u64,
    /// What the broker may not know. At most [`MOST_EXCHANGED`].
    #[serde(default)]
    pub revocations: Vec<Revocation>,
}

/// What the broker answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    /// Another one after each start of the broker: its numbers begin anew, and what it was told may be lost.
    pub life: String,
    /// The number up to which the edge knows now.
    pub upto: u64,
    /// Whether there are more.
    pub more: bool,
    /// What the broker has learned after the number that the edge named. At most [`MOST_EXCHANGED`].
    pub revocations: Vec<Revocation>,
}
