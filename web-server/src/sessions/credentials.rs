//! All kinds of credentials that a client can present, checked in one place: the edge's own tokens,
//! and those of trusted issuers.
//!
//! An issuer's token names a user, not a session. A client that presents one itself, without
//! exchanging it, has the one session of that user, on every edge: its id is made from the issuer
//! and the user. Such a token must say when it was issued; otherwise a logout could not tell
//! earlier tokens from later ones. However long an issuer's tokens live, none is valid here for
//! longer than a session's token, because revocations are stored for that long.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{assertion::Login, error::ErrorCode, id::SessionId, secret::Secret, timestamp::unix_seconds};
use identity::tokens::{Renewals, TokenIdentity, TokenVerifier, verify_unissued};
use sha2::{Digest, Sha256};

use super::{
    authority::SessionAuthority,
    token::{Session, SessionLogin, Source},
};

/// See the module.
pub struct Credentials {
    authority: Arc<SessionAuthority>,
    issuers: TokenVerifier,
}

impl Credentials {
    /// Checks the edge's own tokens and those of these issuers.
    pub fn new(authority: Arc<SessionAuthority>, issuers: TokenVerifier) -> Self {
        Self { authority, issuers }
    }

    /// The session that a token proves.
    ///
    /// # Errors
    /// Those of [`SessionAuthority::recognise`]. If issuers are trusted: the fault of the token as
    /// one of theirs, and the error of `pay`, which is called before an issuer's signature is
    /// checked.
    pub async fn recognise(&self, token: &str, pay: impl FnOnce() -> Result<(), ErrorCode>) -> Result<Session, ErrorCode> {
        match self.authority.recognise(token) {
            Err(ErrorCode::Unauthorized) if !self.issuers.is_empty() => {
                let identity = self.verify(token, pay).await?;
                let issued_at = identity.issued_at.ok_or(ErrorCode::TokenClaimMissing)?;
                let session = session_of(&identity, issued_at, self.end(&identity, issued_at)?);
                self.authority.check(&session)?;
                Ok(session)
            }
            judged => judged,
        }
    }

    /// The session that a token proves which names no issuer and was signed with `secret`. `None`:
    /// the token is not one of these.
    ///
    /// # Errors
    /// The fault of the token; `session_ended`; the error of `pay`, which is called before its
    /// signature is checked.
    pub fn recognise_unissued(
        &self,
        token: &str,
        secret: &Secret,
        leeway: Duration,
        pay: impl FnOnce() -> Result<(), ErrorCode>,
    ) -> Option<Result<Session, ErrorCode>> {
        if secret.is_empty() || !names_no_issuer(token) {
            return None;
        }
        let recognised = || -> Result<Session, ErrorCode> {
            pay()?;
            let now = SystemTime::now();
            let identity = verify_unissued(token, secret, leeway, now).ok_or(ErrorCode::Unauthorized)??;
            let until = self.end(&identity, identity.issued_at.unwrap_or(now))?;
            // A token that does not say when it was issued counts as older than any logout.
            let session = session_of(&identity, identity.issued_at.unwrap_or(UNIX_EPOCH), until);
            self.authority.check(&session)?;
            Ok(session)
        };
        Some(recognised())
    }

    /// The login that an issuer's token proves.
    ///
    /// # Errors
    /// `login_not_offered` if no issuer is trusted; `session_ended` for a token whose own session
    /// was ended; the fault of the token; the error of `pay`, which is called before its signature
    /// is checked.
    pub async fn login(&self, token: &str, pay: impl FnOnce() -> Result<(), ErrorCode>) -> Result<SessionLogin, ErrorCode> {
        if self.issuers.is_empty() {
            return Err(ErrorCode::LoginNotOffered);
        }
        let identity = self.verify(token, pay).await?;
        let until = self.end(&identity, identity.issued_at.unwrap_or_else(SystemTime::now))?;
        // A token that does not say when it was issued counts as older than any logout.
        self.authority.check(&session_of(&identity, identity.issued_at.unwrap_or(UNIX_EPOCH), until))?;
        Ok(login_of(&identity, until))
    }

    /// How often new keys of the issuers have come.
    pub fn renewals(&self) -> Vec<Renewals> {
        self.issuers.renewals()
    }

    /// Fetches the issuers' keys before a login needs them, as long as it is polled.
    pub async fn keep_keys(&self) {
        crate::logins::keep_keys(&self.issuers).await;
    }

    /// When a token that was issued then ends: as it says, but no later than one of ours would.
    fn end(&self, identity: &TokenIdentity, issued_at: SystemTime) -> Result<SystemTime, ErrorCode> {
        let ours = issued_at.checked_add(self.authority.lifetime()).unwrap_or(identity.expires_at);
        let end = identity.expires_at.min(ours);
        if end > SystemTime::now() { Ok(end) } else { Err(ErrorCode::TokenExpired) }
    }

    async fn verify(&self, token: &str, pay: impl FnOnce() -> Result<(), ErrorCode>) -> Result<TokenIdentity, ErrorCode> {
        self.issuers.screen(token)?;
        pay()?;
        Ok(self.issuers.verify(token, SystemTime::now()).await?)
    }
}

/// Whether a token claims to be one without an issuer.
fn names_no_issuer(token: &str) -> bool {
    jsonwebtoken::dangerous::insecure_decode::<serde_json::Map<String, serde_json::Value>>(token)
        .is_ok_and(|said| ["iss", "aud"].iter().all(|claim| !said.claims.contains_key(*claim)))
}

fn login_of(identity: &TokenIdentity, until: SystemTime) -> SessionLogin {
    let login = Login {
        user: identity.user.clone(),
        wallet: identity.wallet.map(|wallet| wallet.to_string()),
        scopes: identity.scopes.clone(),
    };
    SessionLogin { login, until: Some(until) }
}

fn session_of(identity: &TokenIdentity, issued_at: SystemTime, until: SystemTime) -> Session {
    let id = session_id(&identity.issuer, identity.user.as_str());
    Session {
        generation: unix_seconds(issued_at),
        login: Some(Arc::new(login_of(identity, until))),
        source: Source::Issuer,
        ..Session::anonymous(id, issued_at, issued_at, until)
    }
}

/// The session of a user, the same on every edge. Not a secret: knowing a session's id gives no
/// access to it.
fn session_id(issuer: &str, user: &str) -> SessionId {
    // Each part with its length before it, so that no two pairs give the same bytes.
    let mut hash = Sha256::new();
    for part in ["agent-bridge session", issuer, user] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    SessionId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_of_every_issuer_has_one_session() {
        let id = session_id("keycloak", "ann");
        assert_eq!(id, session_id("keycloak", "ann"));
        for (issuer, user) in [("keycloak", "bob"), ("other", "ann"), ("keycloaka", "nn"), ("", "keycloakann")] {
            assert_ne!(id, session_id(issuer, user));
        }
        assert_eq!(id.to_string().as_bytes()[14], b'8', "a UUID of version 8: made of what its maker chose");
    }
}
