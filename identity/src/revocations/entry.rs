//! One revocation: as it is kept, written down and told.

use common::id::SessionId;
use serde::{Deserialize, Serialize};

use super::Standing;

/// A revocation as it is stored, and as edges and broker exchange it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The session.
    pub session: SessionId,
    /// The lowest valid generation; absent: none is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<u64>,
    /// When it was revoked, in seconds since 1970.
    pub at: u64,
    /// When the last of the revoked tokens expires, in seconds since 1970.
    pub until: u64,
    /// Whether the revoked tokens had a user.
    #[serde(default)]
    pub user: bool,
}

impl Revocation {
    /// The session whose connections this revocation ends, and the generation below which. `None`
    /// if the older tokens were anonymous: then nothing that is open ends.
    pub fn ended(&self) -> Option<(SessionId, u64)> {
        (self.user || self.least.is_none()).then_some((self.session, self.least.unwrap_or(u64::MAX)))
    }
}

/// One session's revocation in memory. Whole seconds, so that an entry is the same after it was
/// stored and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// [`ENDED`]: none is valid.
    pub(super) least: u64,
    pub(super) at: u64,
    pub(super) until: u64,
    pub(super) number: u64,
}

/// The lowest valid generation of a session that has ended: the greatest number that the database
/// holds.
pub(super) const ENDED: u64 = i64::MAX as u64;

impl Entry {
    /// An entry from the store.
    pub(super) fn read(least: u64, at: u64, until: u64, number: u64) -> Self {
        Self { least: least.min(ENDED), at, until, number }
    }

    pub(super) fn of(revocation: &Revocation) -> Self {
        Self::read(revocation.least.unwrap_or(ENDED), revocation.at, revocation.until, 0)
    }

    /// The number of its last change.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The entry as it is sent and stored.
    pub(super) fn told(&self, session: SessionId, user: bool) -> Revocation {
        Revocation { session, least: (self.least < ENDED).then_some(self.least), at: self.at, until: self.until, user }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.least == ENDED
    }

    pub(super) fn refuses(&self, of: &Standing) -> bool {
        of.generation < self.least
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            least: self.least.max(other.least),
            at: self.at.max(other.at),
            until: self.until.max(other.until),
            number: self.number,
        }
    }

    pub(super) fn says_no_less_than(&self, other: &Self) -> bool {
        self.least >= other.least && self.at >= other.at && self.until >= other.until
    }
}
