//! Signs tokens, for the command line and for tests: `agent-bridge token mint`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::secret::Secret;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::Algorithm;
use crate::{encoding::random_text, siwe::Address};

/// The key that signs a token.
pub enum MintKey {
    /// A shared secret, with an HS algorithm.
    Secret(Secret),
    /// A private key in PEM (PKCS#8), with any other algorithm.
    Pem(Secret),
}

/// How tokens are signed, and for whom.
pub struct MintSettings {
    /// The key.
    pub key: MintKey,
    /// The algorithm; it goes with the key.
    pub algorithm: Algorithm,
    /// The id under which the public key is published, if it is.
    pub key_id: Option<String>,
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
    /// How long the token is valid.
    pub lifetime: Duration,
}

/// The user of a token, and its further claims.
#[derive(Clone, Debug, Default)]
pub struct MintClaims {
    /// `sub`
    pub subject: String,
    /// `wallet`
    pub wallet: Option<Address>,
    /// `scope`, separated by spaces.
    pub scopes: Vec<String>,
    /// Further claims, except those above and `iss`, `aud`, `iat`, `nbf`, `exp`, `jti`.
    pub more: Map<String, Value>,
}

/// Why no token was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The algorithm is for another kind of key.
    #[error("{0} does not fit this key: HS256, HS384 and HS512 need a secret, all others a private key in PEM")]
    WrongKind(Algorithm),
    /// The key is not a key of this algorithm.
    #[error("the key is not a private key for {0} in PEM (PKCS#8)")]
    BadKey(Algorithm),
    /// A secret that can be guessed.
    #[error("the secret has fewer than 32 bytes")]
    ShortSecret,
    /// A claim was given twice.
    #[error("the claim {0:?} is set by the command itself")]
    Reserved(String),
    /// A scope with a space would be read as two.
    #[error("the scope {0:?} is empty or has a space")]
    BadScope(String),
    /// The subject is empty.
    #[error("the subject is empty")]
    NoSubject,
    /// The present time or the lifetime cannot be represented.
    #[error("the token would end after the year 9999")]
    BadTime,
    /// The system has no randomness for the token's id.
    #[error("the system has no random numbers")]
    Random,
}

/// Signs a token that is valid from now on.
///
/// # Errors
/// See [`MintError`].
pub fn mint(settings: &MintSettings, claims: &MintClaims, now: SystemTime) -> Result<Secret, MintError> {
    let key = encoding_key(settings)?;
    if claims.subject.is_empty() {
        return Err(MintError::NoSubject);
    }
    if let Some(scope) = claims.scopes.iter().find(|scope| scope.is_empty() || scope.contains(' ')) {
        return Err(MintError::BadScope(scope.clone()));
    }
    let issued = now.duration_since(UNIX_EPOCH).map_err(|_| MintError::BadTime)?.as_secs();
    let expires =
        issued.checked_add(settings.lifetime.as_secs()).filter(|end| *end < 253_402_300_800).ok_or(MintError::BadTime)?;
    let mut body = Map::new();
    body.insert("iss".into(), json!(settings.issuer));
    body.insert("aud".into(), json!(settings.audience));
    body.insert("sub".into(), json!(claims.subject));
    body.insert("iat".into(), json!(issued));
    body.insert("exp".into(), json!(expires));
    body.insert("jti".into(), json!(random_text(22).ok_or(MintError::Random)?));
    if let Some(wallet) = claims.wallet {
        body.insert("wallet".into(), json!(wallet));
    }
    if !claims.scopes.is_empty() {
        body.insert("scope".into(), json!(claims.scopes.join(" ")));
    }
    for (name, value) in &claims.more {
        if ["nbf", "wallet", "scope"].contains(&name.as_str()) || body.contains_key(name) {
            return Err(MintError::Reserved(name.clone()));
        }
        body.insert(name.clone(), value.clone());
    }
    let mut header = Header::new(settings.algorithm.inner());
    header.kid.clone_from(&settings.key_id);
    let signed = jsonwebtoken::encode(&header, &body, &key);
    signed.map(Secret::new).map_err(|_| MintError::BadKey(settings.algorithm))
}

fn encoding_key(settings: &MintSettings) -> Result<EncodingKey, MintError> {
    use super::algorithm::KeyKind;
    let algorithm = settings.algorithm;
    match (&settings.key, algorithm.kind()) {
        (MintKey::Secret(secret), KeyKind::Secret) if secret.reveal().len() < 32 => Err(MintError::ShortSecret),
        (MintKey::Secret(secret), KeyKind::Secret) => Ok(EncodingKey::from_secret(secret.reveal().as_bytes())),
        (MintKey::Secret(_), _) | (MintKey::Pem(_), KeyKind::Secret) => Err(MintError::WrongKind(algorithm)),
        (MintKey::Pem(pem), kind) => {
            let pem = pem.reveal().as_bytes();
            let key = match kind {
                KeyKind::Rsa => EncodingKey::from_rsa_pem(pem),
                KeyKind::P256 | KeyKind::P384 => EncodingKey::from_ec_pem(pem),
                KeyKind::Ed25519 | KeyKind::Secret => EncodingKey::from_ed_pem(pem),
            };
            key.map_err(|_| MintError::BadKey(algorithm))
        }
    }
}

#[cfg(test)]
#[path = "mint_tests.rs"]
mod tests;
