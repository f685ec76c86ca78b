//! The authority over sessions: registers, recognises, renews, logs in and ends them.
//!
//! Shared by all worker threads. Its one lock is held only for a look-up in a table. What it
//! revokes is in force at once, and on the disk before it reports success.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use common::{error::ErrorCode, secret::Secret, timestamp::unix_seconds};
use identity::revocations::{CAPACITY, Revocation, RevocationPage, RevocationStore, Revocations, Revoked, Standing};
use parking_lot::RwLock;
use tokio::sync::Notify;

use super::token::{Session, SessionLogin, Source, TokenFault, TokenKeys};

/// The file in the data folder.
const FILE: &str = "revoked-sessions.db";

/// See the module.
pub struct SessionAuthority {
    keys: TokenKeys,
    revocations: RwLock<Revocations>,
    store: Arc<RevocationStore>,
    has_revoked: Notify,
}

impl SessionAuthority {
    /// The authority that signs with this secret. `lifetime` is that of tokens. Revocations are
    /// stored in the folder.
    ///
    /// # Errors
    /// The stored revocations cannot be read.
    pub fn open(secret: &Secret, lifetime: Duration, folder: &Path) -> io::Result<Self> {
        let store = Arc::new(RevocationStore::open(folder.join(FILE))?);
        let revocations = Revocations::open(CAPACITY, Arc::clone(&store))?;
        Ok(Self {
            keys: TokenKeys::new(secret, lifetime),
            revocations: RwLock::new(revocations),
            store,
            has_revoked: Notify::new(),
        })
    }

    /// How long a session's token is valid.
    pub fn lifetime(&self) -> Duration {
        self.keys.lifetime()
    }

    /// A new session, and its token.
    ///
    /// # Errors
    /// `internal`.
    pub fn register(&self) -> Result<(Session, String), ErrorCode> {
        self.keys.register(SystemTime::now()).map_err(|_| ErrorCode::Internal)
    }

    /// The session that one of our tokens proves.
    ///
    /// # Errors
    /// `credentials_expired`, `session_ended`, `unauthorized`.
    pub fn recognise(&self, token: &str) -> Result<Session, ErrorCode> {
        let session = self.keys.verify(token, SystemTime::now()).map_err(|fault| match fault {
            TokenFault::Expired => ErrorCode::CredentialsExpired,
            TokenFault::Invalid | TokenFault::TooLong => ErrorCode::Unauthorized,
        })?;
        self.check(&session)?;
        Ok(session)
    }

    /// Checks that a recognised session is still valid.
    ///
    /// # Errors
    /// `session_ended`; `credentials_expired` if the session has logged in since and has newer
    /// credentials; `not_ready` if that cannot be read.
    pub fn check(&self, session: &Session) -> Result<(), ErrorCode> {
        self.check_standing(&session.standing()).map_err(|code| match session.source {
            Source::Edge => code,
            Source::Issuer if code == ErrorCode::CredentialsExpired => ErrorCode::SessionEnded,
            Source::Issuer => code,
        })
    }

    /// Checks that credentials of a session are still valid.
    ///
    /// # Errors
    /// See [`SessionAuthority::check`].
    pub fn check_standing(&self, standing: &Standing) -> Result<(), ErrorCode> {
        self.revocations.read().check(standing).map_err(|revoked| match revoked {
            Revoked::Ended => ErrorCode::SessionEnded,
            Revoked::Superseded => ErrorCode::CredentialsExpired,
            Revoked::Unknown => ErrorCode::NotReady,
        })
    }

    /// What was revoked after the change of this number, here or elsewhere.
    pub fn revoked_since(&self, number: u64, most: usize) -> RevocationPage {
        self.revocations.read().since(number, most)
    }

    /// Ready when something was revoked here since the last time.
    pub async fn has_revoked(&self) {
        self.has_revoked.notified().await;
    }

    /// Takes over the revocations of other edges. Returns those that were new here. They are in
    /// force at once, and on the disk when the second part of the result is ready.
    pub fn learn(self: &Arc<Self>, revocations: Vec<Revocation>) -> (Vec<Revocation>, impl Future<Output = ()> + use<>) {
        let now = SystemTime::now();
        let mut news = revocations;
        {
            let mut table = self.revocations.write();
            news.retain(|revocation| table.load(*revocation, now));
        }
        let written = self.write_down(!news.is_empty());
        (news, written)
    }

    /// A later token of the same session, if half of this one's life is over. Otherwise none is
    /// needed.
    ///
    /// # Errors
    /// Those of [`SessionAuthority::refresh`].
    pub fn renew(&self, session: &Session) -> Result<Option<(Session, String)>, ErrorCode> {
        let left = session.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        if session.source == Source::Issuer || left > self.keys.lifetime() / 2 {
            return Ok(None);
        }
        self.refresh(session).map(Some)
    }

    /// A later token of the same session.
    ///
    /// # Errors
    /// `credentials_expired` if the login is over; `session_ended` or `credentials_expired` if the
    /// session has changed; `internal`.
    pub fn refresh(&self, session: &Session) -> Result<(Session, String), ErrorCode> {
        let signed = self.sign(session)?;
        // Revoked while it was signed: the new token is not returned.
        self.check(session)?;
        Ok(signed)
    }

    /// Logs a session in. Its earlier tokens are no longer valid at once, unless they were already
    /// this user's. The last part of the result is ready when that is on the disk.
    ///
    /// # Errors
    /// `already_logged_in`; `token_claim_invalid` for a login that is too large; `session_ended` or
    /// `credentials_expired` if the session has changed; `internal`.
    pub fn log_in(
        self: &Arc<Self>,
        session: &Session,
        login: SessionLogin,
    ) -> Result<(Session, String, impl Future<Output = ()> + use<>), ErrorCode> {
        let is_again = match session.login() {
            Some(known) if known.user != login.login.user => return Err(ErrorCode::AlreadyLoggedIn),
            known => known.is_some(),
        };
        if session.source == Source::Issuer {
            return Err(ErrorCode::AlreadyLoggedIn);
        }
        let generation = if is_again { session.generation } else { session.generation.saturating_add(1) };
        let (session_now, token) = self.sign(&Session { generation, login: Some(Arc::new(login)), ..session.clone() })?;
        let is_new = if is_again {
            self.check(session)?;
            false
        } else {
            let mut revocations = self.revocations.write();
            // Of two simultaneous logins, the second finds the session changed.
            if revocations.check(&session.standing()).is_err() {
                drop(revocations);
                return Err(self.check(session).err().unwrap_or(ErrorCode::CredentialsExpired));
            }
            self.revoke(&mut revocations, session, generation, SystemTime::now())
        };
        Ok((session_now, token, self.write_down(is_new)))
    }

    /// Ends a session with all of its tokens at once. A session that came with an issuer's token
    /// starts again with the next token. The result is ready when that is on the disk.
    pub fn end(self: &Arc<Self>, session: &Session) -> impl Future<Output = ()> + use<> {
        let now = SystemTime::now();
        let least = match session.source {
            Source::Edge => u64::MAX,
            // Also if the issuer's clock is ahead of ours.
            Source::Issuer => unix_seconds(now).max(session.generation).saturating_add(1),
        };
        let is_new = self.revoke(&mut self.revocations.write(), session, least, now);
        self.write_down(is_new)
    }

    /// Returns whether that is new.
    fn revoke(&self, revocations: &mut Revocations, session: &Session, least: u64, now: SystemTime) -> bool {
        self.has_revoked.notify_one();
        let newest = now.checked_add(self.keys.lifetime()).unwrap_or(now);
        revocations.revoke(&session.standing(), least, newest.max(session.expires_at), now)
    }

    fn sign(&self, session: &Session) -> Result<(Session, String), ErrorCode> {
        self.keys.sign(session, SystemTime::now()).map_err(|fault| match fault {
            TokenFault::Expired => ErrorCode::CredentialsExpired,
            TokenFault::TooLong => ErrorCode::TokenClaimInvalid,
            TokenFault::Invalid => ErrorCode::Internal,
        })
    }

    /// Starts at once, whether or not anybody waits for its end. If the disk does not accept it,
    /// the session is revoked all the same, while this process lives.
    fn write_down(self: &Arc<Self>, is_needed: bool) -> impl Future<Output = ()> + use<> {
        let this = Arc::clone(self);
        let write = move || {
            if let Err(error) = this.store.write_changes(&this.revocations) {
                tracing::error!(%error, "a revocation could not be stored: it may not outlive this process");
            }
        };
        let writing = is_needed.then(|| tokio::task::spawn_blocking(write));
        async move {
            if let Some(writing) = writing
                && writing.await.is_err()
            {
                tracing::error!("the task that stores a revocation failed");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::assertion::Login;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn authority(folder: &Path) -> Arc<SessionAuthority> {
        Arc::new(SessionAuthority::open(&Secret::new("a secret"), HOUR, folder).expect("opens"))
    }

    fn login(user: &str) -> SessionLogin {
        let login = Login { user: user.parse().expect("a name"), wallet: None, scopes: Default::default() };
        SessionLogin { login, until: None }
    }

    #[actix_web::test]
    async fn a_session_is_recognised_until_it_is_ended_and_after_a_restart_too() {
        let folder = tempfile::tempdir().expect("temp dir");
        let first = authority(folder.path());
        let (session, token) = first.register().expect("signs");
        assert_eq!(first.recognise(&token), Ok(session.clone()));
        assert_eq!(first.renew(&session), Ok(None));
        first.end(&session).await;
        for authority in [first, authority(folder.path())] {
            assert_eq!(authority.recognise(&token), Err(ErrorCode::SessionEnded));
            assert_eq!(authority.refresh(&session).err(), Some(ErrorCode::SessionEnded));
        }
        assert_eq!(authority(folder.path()).recognise("rubbish"), Err(ErrorCode::Unauthorized));
    }

    #[actix_web::test]
    async fn a_session_past_half_its_life_is_renewed_under_its_id() {
        let folder = tempfile::tempdir().expect("temp dir");
        let authority = authority(folder.path());
        let (session, _) = authority.register().expect("signs");
        let half_gone = Session { expires_at: SystemTime::now() + Duration::from_secs(1799), ..session.clone() };
        let (renewed, token) = authority.renew(&half_gone).expect("signs").expect("due");
        assert_eq!((renewed.id, renewed.created_at), (session.id, session.created_at));
        assert_eq!(authority.recognise(&token), Ok(renewed));
    }

    #[actix_web::test]
    async fn a_login_leaves_the_id_and_ends_the_tokens_before_it() {
        let folder = tempfile::tempdir().expect("temp dir");
        let first = authority(folder.path());
        let (before, old) = first.register().expect("signs");
        let (after, new, written) = first.log_in(&before, login("ann")).expect("logs in");
        written.await;
        assert_eq!((after.id, after.created_at), (before.id, before.created_at));
        for authority in [Arc::clone(&first), authority(folder.path())] {
            assert_eq!(authority.recognise(&old), Err(ErrorCode::CredentialsExpired));
            assert_eq!(authority.recognise(&new), Ok(after.clone()));
            assert_eq!(authority.refresh(&before).err(), Some(ErrorCode::CredentialsExpired));
            let twice = authority.log_in(&before, login("bob"));
            assert_eq!(twice.err(), Some(ErrorCode::CredentialsExpired), "a second login with the older token");
        }
        assert_eq!(first.log_in(&after, login("bob")).err(), Some(ErrorCode::AlreadyLoggedIn));
        let (again, _, _) = first.log_in(&after, login("ann")).expect("the same user again");
        assert_eq!(again.generation, after.generation);
        assert_eq!(first.recognise(&new), Ok(after.clone()), "its tokens stay good then");
        first.end(&after).await;
        assert_eq!(first.recognise(&new), Err(ErrorCode::SessionEnded));
    }
}
