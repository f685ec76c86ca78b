//! Revoked credentials of sessions. [`Revocations`] holds the newest in memory, [`RevocationStore`]
//! all of them on the disk, and [`Exchange`] is how an edge and its broker tell each other.
//!
//! An edge revokes at a logout and at a login. The broker stores what all its edges revoked,
//! refuses those credentials, and tells the other edges. Both use the same table and the same kind
//! of file.

mod entry;
mod exchange;
mod store;
mod table;

use common::{assertion::ClientIdentity, id::SessionId};

pub use entry::Revocation;
pub use exchange::{Exchange, Exchanged, MOST_EXCHANGED};
pub use store::RevocationStore;
pub use table::{CAPACITY, RevocationPage, Revocations};

/// The properties of a session's credentials that decide whether they are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The session.
    pub session: SessionId,
    /// Rises when the session logs in. For a session with an issuer's token: the second in which
    /// the token was issued.
    pub generation: u64,
    /// Whether the session has a user.
    pub has_user: bool,
}

impl Standing {
    /// The standing of a client that an edge vouches for.
    pub fn of(identity: &ClientIdentity) -> Self {
        Self { session: identity.session_id, generation: identity.generation, has_user: identity.login.is_some() }
    }
}

/// Why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// The session was ended.
    Ended,
    /// The session has later credentials.
    Superseded,
    /// The disk cannot be read, so it is unknown whether they are revoked.
    Unknown,
}
