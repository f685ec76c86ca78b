//! Session tokens: JWTs (HS256) with the edge as issuer and its own audience. So an assertion to
//! the broker does not pass for a session token, nor the reverse.
//!
//! Signs and checks. The caller passes the present time. This module does not know which sessions
//! were ended.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use common::{
    assertion::{ClientIdentity, Login},
    id::SessionId,
    secret::Secret,
    timestamp::{from_unix_seconds, unix_seconds},
};
use identity::revocations::Standing;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ISSUER: &str = "edge";
const AUDIENCE: &str = "edge-session";
/// How far in the future a token may claim to have been issued, by another edge's clock.
const LEEWAY: u64 = 60;
/// A token without scopes has about 500 bytes. Browsers keep cookies of up to 4096, including name
/// and attributes.
const MAX_LENGTH: usize = 3500;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It was valid once.
    #[error("the session token has expired")]
    Expired,
    /// It never was valid.
    #[error("the session token is not valid")]
    Invalid,
    /// The login does not fit into a cookie.
    #[error("the login is too large for a session token")]
    TooLong,
}

/// A session, as its token states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, made by the edge.
    pub id: SessionId,
    /// When the session was registered.
    pub created_at: SystemTime,
    /// When this token was signed.
    pub issued_at: SystemTime,
    /// When this token expires.
    pub expires_at: SystemTime,
    /// Rises when the session logs in; older tokens are then no longer valid. For a session with an
    /// issuer's token: the second in which that was issued.
    pub generation: u64,
    /// Its user, once logged in.
    pub login: Option<Arc<SessionLogin>>,
    /// Who signed its token.
    pub source: Source,
}

/// Who signed a session's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// This edge, or another one with the same secret.
    Edge,
    /// A trusted issuer.
    Issuer,
}

/// The login of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLogin {
    /// The user.
    pub login: Login,
    /// When the login ends, whatever the session's tokens say; `None`: with the session.
    pub until: Option<SystemTime>,
}

impl Session {
    /// A session that nobody logged in to.
    pub fn anonymous(id: SessionId, created_at: SystemTime, issued_at: SystemTime, expires_at: SystemTime) -> Self {
        Self { id, created_at, issued_at, expires_at, generation: 0, login: None, source: Source::Edge }
    }

    /// The user, once logged in.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref().map(|login| &login.login)
    }

    /// The properties that decide whether its token is revoked.
    pub fn standing(&self) -> Standing {
        let Self { id, generation, .. } = *self;
        Standing { session: id, generation, has_user: self.login.is_some() }
    }

    /// The identity for the broker.
    pub fn identity(&self) -> ClientIdentity {
        let mut identity = ClientIdentity { login: self.login().cloned(), ..ClientIdentity::anonymous(self.id) };
        self.vouch(&mut identity);
        identity
    }

    /// A client of the session has presented this token: the broker is told about it from now on.
    pub fn vouch(&self, identity: &mut ClientIdentity) {
        identity.generation = self.generation;
        identity.issued_at = unix_seconds(self.issued_at);
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: SessionId,
    iat: u64,
    exp: u64,
    jti: Uuid,
    /// When the session was registered; later tokens keep this.
    created: u64,
    #[serde(default, rename = "gen", skip_serializing_if = "is_zero")]
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login: Option<Login>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login_until: Option<u64>,
}

fn is_zero(generation: &u64) -> bool {
    *generation == 0
}

/// The keys made from the session secret, and the lifetime of tokens.
pub struct TokenKeys {
    encoding: EncodingKey,
    decoding: DecodingKey,
    rules: Validation,
    lifetime: Duration,
}

impl TokenKeys {
    /// The keys of this secret.
    pub fn new(secret: &Secret, lifetime: Duration) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // The times are checked below, against the caller's time.
        rules.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(secret.reveal().as_bytes()),
            decoding: DecodingKey::from_secret(secret.reveal().as_bytes()),
            rules,
            lifetime,
        }
    }

    /// How long a token is valid.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token that is valid from now on, for a new session.
    ///
    /// # Errors
    /// Signing failed, which only a broken cryptography library does.
    pub fn register(&self, now: SystemTime) -> Result<(Session, String), TokenFault> {
        self.sign(&Session::anonymous(SessionId::fresh(), now, now, now), now)
    }

    /// Signs a token that is valid from now on, for an existing session. It does not outlive the
    /// session's login.
    ///
    /// # Errors
    /// The login is too large, or signing failed, which only a broken cryptography library does.
    pub fn sign(&self, session: &Session, now: SystemTime) -> Result<(Session, String), TokenFault> {
        let issued = unix_seconds(now);
        let login_until = session.login.as_ref().and_then(|login| login.until).map(unix_seconds);
        let exp = issued.saturating_add(self.lifetime.as_secs());
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: session.id,
            iat: issued,
            exp: login_until.map_or(exp, |until| until.min(exp)),
            jti: Uuid::new_v4(),
            created: unix_seconds(session.created_at).min(issued),
            generation: session.generation,
            login: session.login().cloned(),
            login_until,
        };
        if claims.exp <= issued {
            return Err(TokenFault::Expired);
        }
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|_| TokenFault::Invalid)?;
        if token.len() > MAX_LENGTH { Err(TokenFault::TooLong) } else { Ok((claims.session(), token)) }
    }

    /// Checks a token: signature, algorithm, issuer, audience, subject, times.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Session, TokenFault> {
        if token.len() > MAX_LENGTH {
            return Err(TokenFault::Invalid);
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &self.rules).map_err(|_| TokenFault::Invalid)?.claims;
        let now = unix_seconds(now);
        if claims.iat > now.saturating_add(LEEWAY) || claims.created > claims.iat || claims.exp <= claims.iat {
            return Err(TokenFault::Invalid);
        }
        if claims.exp <= now { Err(TokenFault::Expired) } else { Ok(claims.session()) }
    }
}

impl Claims {
    fn session(self) -> Session {
        let until = self.login_until.map(from_unix_seconds);
        Session {
            generation: self.generation,
            login: self.login.map(|login| Arc::new(SessionLogin { login, until })),
            ..Session::anonymous(
                self.sub,
                from_unix_seconds(self.created),
                from_unix_seconds(self.iat),
                from_unix_seconds(self.exp),
            )
        }
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
