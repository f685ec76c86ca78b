//! Verifies tokens of the trusted issuers.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use common::secret::Secret;
use jsonwebtoken::{DecodingKey, crypto};
use serde_json::Value;

use super::{
    Algorithm, IssuerSettings, KeyRing, KeySourceFault, Renewals, TokenError, TokenIdentity, Trust, claims, settings,
    unverified::Unverified,
};

/// The issuer of tokens that name none.
const UNISSUED: &str = "unissued";

/// See the module. Shared by all threads.
pub struct TokenVerifier {
    issuers: Vec<Issuer>,
    /// By `iss`: the index in the list.
    by_name: HashMap<String, usize>,
}

struct Issuer {
    settings: IssuerSettings,
    algorithms: Vec<Algorithm>,
    keys: Keys,
}

enum Keys {
    Secret(DecodingKey),
    Published(Box<KeyRing>),
}

impl TokenVerifier {
    /// The verifier for these issuers.
    ///
    /// # Errors
    /// All faults of the settings.
    pub fn new(issuers: Vec<(IssuerSettings, Trust)>) -> Result<Self, Vec<String>> {
        let faults = settings::faults(&issuers);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut verifier = Self { issuers: Vec::new(), by_name: HashMap::new() };
        for (settings, trust) in issuers {
            let place = verifier.issuers.len();
            verifier.by_name.extend(settings.issuers.iter().map(|name| (name.clone(), place)));
            let algorithms = settings.algorithms(&trust);
            let keys = match trust {
                Trust::Secret(secret) => Keys::Secret(DecodingKey::from_secret(secret.reveal().as_bytes())),
                Trust::Keys(ring) => Keys::Published(ring),
            };
            verifier.issuers.push(Issuer { settings, algorithms, keys });
        }
        Ok(verifier)
    }

    /// Whether any issuer is trusted.
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Checks the cheap properties of a token: its form, issuer and algorithm.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn screen(&self, token: &str) -> Result<(), TokenError> {
        self.issuer_of(&Unverified::parse(token)?).map(|_| ())
    }

    fn issuer_of(&self, token: &Unverified<'_>) -> Result<&Issuer, TokenError> {
        let name = token.claims.get("iss").and_then(Value::as_str).ok_or(TokenError::IssuerUnknown)?;
        let issuer = self.by_name.get(name).and_then(|place| self.issuers.get(*place)).ok_or(TokenError::IssuerUnknown)?;
        if issuer.algorithms.contains(&token.algorithm) { Ok(issuer) } else { Err(TokenError::AlgorithmRefused) }
    }

    /// Checks a token; fetches keys if that is needed.
    ///
    /// # Errors
    /// The first check that fails: the form, the issuer, the algorithm, the signature, then the
    /// claims.
    pub async fn verify(&self, token: &str, now: SystemTime) -> Result<TokenIdentity, TokenError> {
        let token = Unverified::parse(token)?;
        let issuer = self.issuer_of(&token)?;
        match &issuer.keys {
            Keys::Secret(secret) => verify_with_secret(&token, secret)?,
            Keys::Published(ring) => {
                ring.verify(token.key_id.as_deref(), token.algorithm, token.message, token.signature, now).await?;
            }
        }
        claims::identity(&token.claims, &issuer.settings, now)
    }

    /// How often new keys have come, for each issuer that publishes its keys.
    pub fn renewals(&self) -> Vec<Renewals> {
        let rings = self.issuers.iter().filter_map(|issuer| match &issuer.keys {
            Keys::Published(ring) => Some(ring.renewals()),
            Keys::Secret(_) => None,
        });
        rings.collect()
    }

    /// Fetches the published keys that are due. To be called at the start and regularly.
    pub async fn refresh(&self, now: SystemTime) -> Vec<(String, KeySourceFault)> {
        let mut faults = Vec::new();
        for issuer in &self.issuers {
            if let Keys::Published(ring) = &issuer.keys
                && let Err(fault) = ring.refresh(now).await
            {
                faults.push((issuer.settings.name.clone(), fault));
            }
        }
        faults
    }
}

/// Checks a token that names no issuer and no audience, and that was signed by HS256 with a secret:
/// the user is `sub`. `None`: the token is not one of these. For clients that cannot get any other
/// token; everybody who has the secret can sign for every user.
pub fn verify_unissued(
    token: &str,
    secret: &Secret,
    leeway: Duration,
    now: SystemTime,
) -> Option<Result<TokenIdentity, TokenError>> {
    let token = Unverified::parse(token).ok()?;
    let is_one = token.algorithm == Algorithm::HS256 && ["iss", "aud"].iter().all(|claim| !token.claims.contains_key(*claim));
    if !is_one || secret.reveal().len() < settings::MIN_SECRET {
        return None;
    }
    let settings = IssuerSettings { leeway, ..IssuerSettings::new(UNISSUED, UNISSUED, UNISSUED) };
    let key = DecodingKey::from_secret(secret.reveal().as_bytes());
    Some(verify_with_secret(&token, &key).and_then(|()| claims::without_audience(&token.claims, &settings, now)))
}

fn verify_with_secret(token: &Unverified<'_>, secret: &DecodingKey) -> Result<(), TokenError> {
    // The list of algorithms is checked against the kind of key when the verifier is made. This
    // check does not rely on that.
    if !token.algorithm.is_symmetric() {
        return Err(TokenError::AlgorithmRefused);
    }
    match crypto::verify(token.signature, token.message.as_bytes(), secret, token.algorithm.inner()) {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TokenError::SignatureWrong),
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
