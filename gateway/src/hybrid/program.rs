//! What all conversations and requests of the dialect share.

use std::sync::Arc;

use common::{
    assertion::ClientIdentity,
    error::{ClientError, ErrorCode},
    id::UserId,
};
use identity::escape_name;

use super::presence::Presence;
use crate::{
    dialects::{Caller, Guest, Host},
    doors::SessionOptions,
};

/// The longest id of a user.
const LONGEST_USER: usize = 128;

/// The dialect. See the module above.
pub struct Hybrid {
    host: Arc<dyn Host>,
    /// The sockets of this process.
    pub(super) presence: Presence,
}

impl Hybrid {
    /// The dialect, hosted by `host`.
    pub fn new(host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self { host, presence: Presence::default() })
    }

    pub(super) fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The guest that a token proves, and its user: one of a session, of the trusted issuer, or one
    /// without an issuer that was signed with the issuer's secret, as clients of this dialect have.
    pub(super) async fn guest(&self, caller: &Caller, token: &str) -> Result<(Box<dyn Guest>, UserId), ClientError> {
        let guest = match self.host.recognise_unissued(caller, token) {
            Some(guest) => guest?,
            None => self.host.recognise(caller, token).await?,
        };
        let user = guest.user().cloned().ok_or(ErrorCode::Unauthorized)?;
        Ok((guest, user))
    }

    /// The options of a session's door.
    pub(super) fn at_door(&self, mut identity: ClientIdentity) -> SessionOptions {
        // The user's inbox is for clients that can show what is in it.
        identity.reading.topics_only = true;
        SessionOptions { entrance: self.host.entrance(), identity, tuning: self.host.tuning() }
    }
}

/// Whether a user's id stands for the name that a client calls itself.
pub fn is_named(user: &UserId, name: &str) -> bool {
    user.as_str() == name || user.as_str() == escape_name(name, LONGEST_USER)
}

/// The id of a user with this name.
pub fn user_of(name: &str) -> Option<UserId> {
    UserId::new(&escape_name(name, LONGEST_USER)).ok()
}
