//! Session tokens: JWTs (HS256) with the edge as issuer and its own audience, so that no assertion to the broker passes
//! for one and the other way round.
//!
//! Signs and checks. The present time is handed in. Does not know which sessions were ended.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{id::SessionId, secret::Secret};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const ISSUER: &str = "edge";
const AUDIENCE: &str = "edge-session";
/// How far in the future a token may claim to have been issued: another edge's clock.
const LEEWAY: u64 = 60;
/// A real token has about 350 bytes.
const MAX_LENGTH: usize = 1024;

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It was good once.
    #[error("the session token has expired")]
    Expired,
    /// It never was.
    #[error("the session token is not valid")]
    Invalid,
}

/// A session, as its token states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id, made by the edge.
    pub id: SessionId,
    /// When the session was registered.
    pub created_at: SystemTime,
    /// When this token was signed.
    pub issued_at: SystemTime,
    /// When this token stops being good.
    pub expires_at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: SessionId,
    iat: u64,
    exp: u64,
    jti: Uuid,
    /// When the session was registered; later tokens of it keep this.
    created: u64,
}

/// The keys made of the session secret, and how long tokens live.
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
        // The times are checked here, against the time handed in.
        rules.validate_exp = false;
        Self {
            encoding: EncodingKey::from_secret(secret.reveal().as_bytes()),
            decoding: DecodingKey::from_secret(secret.reveal().as_bytes()),
            rules,
            lifetime,
        }
    }

    /// How long a token is good for.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Signs a token that starts now, for a session registered at `created_at`.
    ///
    /// # Errors
    /// Signing failed, which only a broken cryptography library does.
    pub fn sign(&self, id: SessionId, created_at: SystemTime, now: SystemTime) -> Result<(Session, String), TokenFault> {
        let issued = seconds(now);
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: id,
            iat: issued,
            exp: issued.saturating_add(self.lifetime.as_secs()),
            jti: Uuid::new_v4(),
            created: seconds(created_at),
        };
        let token =
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding).map_err(|_| TokenFault::Invalid)?;
        Ok((claims.session(), token))
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
        let now = seconds(now);
        if claims.iat > now.saturating_add(LEEWAY) || claims.created > claims.iat || claims.exp <= claims.iat {
            return Err(TokenFault::Invalid);
        }
        if claims.exp <= now { Err(TokenFault::Expired) } else { Ok(claims.session()) }
    }
}

impl Claims {
    fn session(&self) -> Session {
        let time = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
        Session { id: self.sub, created_at: time(self.created), issued_at: time(self.iat), expires_at: time(self.exp) }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: u64 = 1_800_000_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn keys() -> TokenKeys {
        TokenKeys::new(&Secret::new("a secret"), HOUR)
    }

    #[test]
    fn a_token_names_its_session_until_it_expires() {
        let id = SessionId::fresh();
        let (session, token) = keys().sign(id, at(NOW - 5), at(NOW)).expect("signs");
        assert_eq!(keys().verify(&token, at(NOW)), Ok(session));
        assert_eq!((session.id, session.created_at, session.expires_at), (id, at(NOW - 5), at(NOW) + HOUR));
        assert_eq!(keys().verify(&token, at(NOW + 3599)), Ok(session));
        assert_eq!(keys().verify(&token, at(NOW + 3600)), Err(TokenFault::Expired));
    }

    #[test]
    fn another_secret_or_a_changed_token_is_refused() {
        let (_, token) = keys().sign(SessionId::fresh(), at(NOW), at(NOW)).expect("signs");
        let other = TokenKeys::new(&Secret::new("another secret"), HOUR);
        assert_eq!(other.verify(&token, at(NOW)), Err(TokenFault::Invalid));
        let mut changed = token.into_bytes();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        assert_eq!(keys().verify(&String::from_utf8_lossy(&changed), at(NOW)), Err(TokenFault::Invalid));
        for rubbish in ["", "a.b.c", &"x".repeat(2000)] {
            assert_eq!(keys().verify(rubbish, at(NOW)), Err(TokenFault::Invalid));
        }
    }

    #[test]
    fn every_claim_counts() {
        let good = json!({
            "iss": "edge", "aud": "edge-session", "sub": SessionId::fresh(), "iat": NOW, "exp": NOW + 60,
            "jti": Uuid::new_v4(), "created": NOW,
        });
        let sign = |claims: &serde_json::Value, algorithm| {
            jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(b"a secret")).expect("signs")
        };
        let verify = |claims: &serde_json::Value| keys().verify(&sign(claims, Algorithm::HS256), at(NOW));
        assert!(verify(&good).is_ok());
        assert_eq!(keys().verify(&sign(&good, Algorithm::HS512), at(NOW)), Err(TokenFault::Invalid));
        for claim in ["iss", "aud", "sub", "iat", "exp", "jti", "created"] {
            let mut claims = good.clone();
            claims.as_object_mut().expect("object").remove(claim);
            assert_eq!(verify(&claims), Err(TokenFault::Invalid), "without {claim}");
        }
        for (claim, wrong) in [
            ("iss", json!("bridge")),
            ("aud", json!("broker")),
            ("sub", json!("me")),
            ("iat", json!(NOW + 61)),
            ("exp", json!(NOW)),
            ("jti", json!("1")),
            ("created", json!(NOW + 1)),
        ] {
            let mut claims = good.clone();
            claims[claim] = wrong;
            assert_eq!(verify(&claims), Err(TokenFault::Invalid), "wrong {claim}");
        }
    }

    #[test]
    fn a_token_without_signature_is_refused() {
        // {"alg":"none","typ":"JWT"}
        let (_, token) = keys().sign(SessionId::fresh(), at(NOW), at(NOW)).expect("signs");
        let claims = token.split('.').nth(1).expect("three parts");
        assert_eq!(keys().verify(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}."), at(NOW)), Err(TokenFault::Invalid));
    }
}
