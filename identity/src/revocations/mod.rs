//! Sessions' credentials that are good no longer before they expire: [`Revocations`], of which the newest are in memory and all on the disk
//! ([`RevocationStore`]), and how an edge and its broker tell each other ([`Exchange`]).
//!
//! An edge revokes, at a logout and at a login. The broker remembers what all its edges revoked, lets nobody in with it, and tells the
//! other edges. Both hold the same table and keep it in the same kind of file.

mod exchange;
mod store;
mod table;

use common::{assertion::ClientIdentity, id::SessionId};

pub use exchange::{Exchange, Exchanged, MOST_EXCHANGED};
pub use store::RevocationStore;
pub use table::{CAPACITY, Page, Revocation, Revocations};

/// What of a session's credentials decides whether they are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub session: SessionId,
    /// Rises when the session logs in. Of a session that came with an issuer's token: the second in which that was issued.
    pub generation: u64,
    /// Whether the session has a user.
    pub has_user: bool,
}

impl Standing {
    /// Of a client that an edge vouches for.
    pub fn of(identity: &ClientIdentity) -> Self {
        Self { session: identity.session_id, generation: identity.generation, has_user: identity.login.is_some() }
    }
}

/// Why credentials are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Their session was ended.
    Ended,
    /// Their session has later ones.
    Superseded,
    /// It cannot be read whether they are revoked.
    Unknown,
}
