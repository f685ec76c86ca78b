//! The authority over sessions: registers, recognises, renews and ends them.
//!
//! Shared by all worker threads; its one lock is held for a look into a table.

use std::time::SystemTime;

use common::{error::ErrorCode, id::SessionId, secret::Secret};
use parking_lot::RwLock;

use super::{
    revocations::{self, Revocations},
    token::{Session, TokenFault, TokenKeys},
};

/// See the module.
pub struct SessionAuthority {
    keys: TokenKeys,
    revocations: RwLock<Revocations>,
}

impl SessionAuthority {
    /// The authority that signs with this secret; `lifetime` is that of tokens.
    pub fn new(secret: &Secret, lifetime: std::time::Duration) -> Self {
        Self {
            keys: TokenKeys::new(secret, lifetime),
            revocations: RwLock::new(Revocations::new(revocations::CAPACITY, lifetime)),
        }
    }

    /// A new session, and its token.
    ///
    /// # Errors
    /// `internal`.
    pub fn register(&self) -> Result<(Session, String), ErrorCode> {
        let now = SystemTime::now();
        self.keys.sign(SessionId::fresh(), now, now).map_err(|_| ErrorCode::Internal)
    }

    /// The session that a token proves.
    ///
    /// # Errors
    /// `credentials_expired`, `session_ended`, `unauthorized`.
    pub fn recognise(&self, token: &str) -> Result<Session, ErrorCode> {
        let session = self.keys.verify(token, SystemTime::now()).map_err(|fault| match fault {
            TokenFault::Expired => ErrorCode::CredentialsExpired,
            TokenFault::Invalid => ErrorCode::Unauthorized,
        })?;
        if self.is_ended(&session) { Err(ErrorCode::SessionEnded) } else { Ok(session) }
    }

    /// Whether a session that was recognised has been ended since.
    pub fn is_ended(&self, session: &Session) -> bool {
        self.revocations.read().is_ended(session.id, session.issued_at)
    }

    /// A later token of the same session, once half of this one's life is over; until then there is no need for one.
    ///
    /// # Errors
    /// `internal`.
    pub fn renew(&self, session: &Session) -> Result<Option<(Session, String)>, ErrorCode> {
        let now = SystemTime::now();
        let left = session.expires_at.duration_since(now).unwrap_or_default();
        if left > self.keys.lifetime() / 2 {
            return Ok(None);
        }
        self.keys.sign(session.id, session.created_at, now).map(Some).map_err(|_| ErrorCode::Internal)
    }

    /// Ends a session: every token of it.
    pub fn end(&self, id: SessionId) {
        self.revocations.write().end(id, SystemTime::now());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_session_is_recognised_until_it_is_ended() {
        let authority = SessionAuthority::new(&Secret::new("a secret"), Duration::from_secs(3600));
        let (session, token) = authority.register().expect("signs");
        assert_eq!(authority.recognise(&token), Ok(session));
        assert_eq!(authority.renew(&session), Ok(None));
        authority.end(session.id);
        assert_eq!(authority.recognise(&token), Err(ErrorCode::SessionEnded));
        assert_eq!(authority.recognise("rubbish"), Err(ErrorCode::Unauthorized));
    }

    #[test]
    fn a_session_past_half_its_life_is_renewed_under_its_id() {
        let authority = SessionAuthority::new(&Secret::new("a secret"), Duration::from_secs(3600));
        let (session, _) = authority.register().expect("signs");
        let half_gone = Session { expires_at: SystemTime::now() + Duration::from_secs(1799), ..session };
        let (renewed, token) = authority.renew(&half_gone).expect("signs").expect("due");
        assert_eq!((renewed.id, renewed.created_at), (session.id, session.created_at));
        assert_eq!(authority.recognise(&token), Ok(renewed));
    }
}
