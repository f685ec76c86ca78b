//! Published keys (JWK sets, RFC 7517): reads them, and binds each to the algorithms that it may be
//! used with.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;

use super::{Algorithm, algorithm::KeyKind};

/// The largest key set that is read, in bytes, and the most keys in it.
pub(super) const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 100;

/// A public key that tokens may be signed with.
pub struct PublishedKey {
    id: Option<String>,
    kind: KeyKind,
    /// The only algorithm that it is for, if the issuer names one.
    only: Option<Algorithm>,
    key: DecodingKey,
    /// What was published of it, to tell it from others.
    published: String,
}

/// The keys of a set that can be used, and why the others cannot.
pub struct PublishedKeys {
    /// The keys that can be used.
    pub keys: Vec<PublishedKey>,
    /// The others: the id or the place in the set, and the reason. For logs; it holds no secret.
    pub skipped: Vec<(String, &'static str)>,
}

/// The set cannot be used at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksFault {
    /// It is not `{"keys":[…]}`.
    #[error("the key set is not a JSON object with an array of keys")]
    Malformed,
    /// Over 256 KiB, or over 100 keys.
    #[error("the key set is larger than 256 KiB or has more than 100 keys")]
    TooLarge,
    /// No key in it can be used.
    #[error("no key of the set can verify signatures of a supported algorithm")]
    Empty,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<String>,
}

impl PublishedKeys {
    /// Reads a set. A key that cannot be used is skipped, so that an issuer may publish keys of new
    /// kinds.
    ///
    /// # Errors
    /// See [`JwksFault`].
    pub fn parse(json: &[u8]) -> Result<Self, JwksFault> {
        if json.len() > MAX_BYTES {
            return Err(JwksFault::TooLarge);
        }
        let set: RawSet = serde_json::from_slice(json).map_err(|_| JwksFault::Malformed)?;
        if set.keys.len() > MAX_KEYS {
            return Err(JwksFault::TooLarge);
        }
        let mut found = Self { keys: Vec::new(), skipped: Vec::new() };
        for (place, raw) in set.keys.into_iter().enumerate() {
            let name = raw.get("kid").and_then(Value::as_str).map_or_else(|| format!("#{place}"), str::to_owned);
            match serde_json::from_value(raw).map_err(|_| "is not of a key's form").and_then(PublishedKey::read) {
                Ok(key) => found.keys.push(key),
                Err(reason) => found.skipped.push((name, reason)),
            }
        }
        if found.keys.is_empty() { Err(JwksFault::Empty) } else { Ok(found) }
    }

    /// Whether it has a key that another set has not: under a new id, or in place of another.
    pub(super) fn has_news_for(&self, other: &Self) -> bool {
        self.keys.iter().any(|key| !other.keys.iter().any(|known| known.published == key.published))
    }

    /// The key for a token: by its id, or without an id the only key that fits.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&PublishedKey> {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl PublishedKey {
    fn read(raw: RawKey) -> Result<Self, &'static str> {
        if raw.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures");
        }
        if raw.key_ops.as_ref().is_some_and(|operations| !operations.iter().any(|operation| operation == "verify")) {
            return Err("is not for verifying");
        }
        if raw.d.is_some() {
            return Err("is a private key: it must not be published, replace it");
        }
        let decode = |part: &Option<String>| part.as_deref().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
        let coordinates = |length: usize| match (decode(&raw.x), decode(&raw.y)) {
            (Some(x), Some(y)) if x.len() == length && y.len() == length => {
                // An uncompressed point (SEC 1).
                Ok(DecodingKey::from_ec_der(&[&[4], x.as_slice(), &y].concat()))
            }
            _ => Err("has not the coordinates of its curve"),
        };
        let (kind, key) = match (raw.kty.as_str(), raw.crv.as_deref()) {
            ("RSA", _) => (KeyKind::Rsa, rsa(decode(&raw.n), decode(&raw.e))?),
            ("EC", Some("P-256")) => (KeyKind::P256, coordinates(32)?),
            ("EC", Some("P-384")) => (KeyKind::P384, coordinates(48)?),
            ("OKP", Some("Ed25519")) => match decode(&raw.x) {
                Some(point) if point.len() == 32 => (KeyKind::Ed25519, DecodingKey::from_ed_der(&point)),
                _ => return Err("has not the point of its curve"),
            },
            ("oct", _) => return Err("is a secret: secrets are configured, never published"),
            _ => return Err("is of a kind or curve that is not supported"),
        };
        let only = match raw.alg.as_deref().map(str::parse::<Algorithm>) {
            None => None,
            Some(Ok(algorithm)) if algorithm.kind() == kind => Some(algorithm),
            Some(_) => return Err("is for an algorithm that is not supported or not for its kind"),
        };
        let parts = [&raw.kid, &Some(raw.kty), &raw.crv, &raw.alg, &raw.n, &raw.e, &raw.x, &raw.y];
        let published = parts.map(|part| part.as_deref().unwrap_or_default()).join(" ");
        Ok(Self { id: raw.kid, kind, only, key, published })
    }

    /// Its id.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.kind() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether this key made the signature (base64url) over a message. The key must fit the
    /// algorithm.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &str, signature: &str) -> bool {
        self.fits(algorithm) && crypto::verify(signature, message.as_bytes(), &self.key, algorithm.inner()).unwrap_or(false)
    }
}

/// Between 2048 and 8192 bits, with an odd exponent.
fn rsa(modulus: Option<Vec<u8>>, exponent: Option<Vec<u8>>) -> Result<DecodingKey, &'static str> {
    let (Some(modulus), Some(exponent)) = (modulus, exponent) else { return Err("has no modulus or exponent") };
    let significant = modulus.iter().skip_while(|byte| **byte == 0).count();
    if !(256..=1024).contains(&significant) {
        return Err("has fewer than 2048 or more than 8192 bits");
    }
    if exponent.len() > 8 || exponent.last().is_none_or(|last| last % 2 == 0) || exponent == [1] {
        return Err("has an exponent that cannot be right");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bytes(length: usize) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(vec![0xab; length])
    }

    fn reason(key: Value) -> &'static str {
        let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": bytes(32), "kid": "good"});
        let set = PublishedKeys::parse(json!({"keys": [key, ed25519]}).to_string().as_bytes()).unwrap();
        set.skipped.first().map_or("", |(_, reason)| reason)
    }

    #[test]
    fn keys_that_cannot_verify_are_skipped_with_a_reason() {
        assert_eq!(reason(json!({"kty": "RSA", "n": bytes(256), "e": "AQAB"})), "");
        assert_eq!(
            reason(json!({"kty": "EC", "crv": "P-256", "x": bytes(32), "y": bytes(32), "alg": "ES256", "use": "sig"})),
            ""
        );
        for key in [
            json!({"kty": "oct", "k": bytes(32)}),
            json!({"kty": "RSA", "n": bytes(128), "e": "AQAB"}),
            json!({"kty": "RSA", "n": bytes(2048), "e": "AQAB"}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQ"}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "use": "enc"}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "alg": "RSA-OAEP"}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "alg": "HS256"}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "d": bytes(256)}),
            json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "key_ops": ["sign"]}),
            json!({"kty": "EC", "crv": "P-256", "x": bytes(48), "y": bytes(48)}),
            json!({"kty": "EC", "crv": "P-521", "x": bytes(66), "y": bytes(66)}),
            json!({"kty": "EC", "crv": "P-256", "x": bytes(32), "y": bytes(32), "alg": "ES384"}),
            json!({"kty": "OKP", "crv": "Ed25519", "x": bytes(31)}),
            json!({"kty": "OKP", "crv": "X25519", "x": bytes(32)}),
            json!({"kid": "nothing"}),
            json!(7),
        ] {
            assert_ne!(reason(key.clone()), "", "{key}");
        }
    }

    #[test]
    fn sets_are_bounded() {
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": bytes(32)});
        let fault = |set: String| PublishedKeys::parse(set.as_bytes()).err();
        assert_eq!(fault(json!({"keys": vec![key.clone(); 101]}).to_string()), Some(JwksFault::TooLarge));
        assert_eq!(fault(" ".repeat(MAX_BYTES + 1)), Some(JwksFault::TooLarge));
        assert_eq!(fault("[]".into()), Some(JwksFault::Malformed));
        assert_eq!(fault(r#"{"keys":[]}"#.into()), Some(JwksFault::Empty));
        assert_eq!(fault(json!({"keys": [{"kty": "oct", "k": "eA"}]}).to_string()), Some(JwksFault::Empty));
    }

    #[test]
    fn a_key_is_found_by_id_and_by_what_it_is_for() {
        let key =
            |id: Option<&str>, alg: Option<&str>| json!({"kty": "RSA", "n": bytes(256), "e": "AQAB", "kid": id, "alg": alg});
        let set = json!({"keys": [key(Some("a"), Some("RS256")), key(Some("b"), None), key(None, Some("PS256"))]});
        let set = PublishedKeys::parse(set.to_string().as_bytes()).unwrap();
        let found = |id, algorithm| set.find(id, algorithm).map(|key| (key.id(), key.only));
        assert_eq!(found(Some("a"), Algorithm::RS256), Some((Some("a"), Some(Algorithm::RS256))));
        assert_eq!(found(Some("a"), Algorithm::PS256), None);
        assert_eq!(found(Some("b"), Algorithm::PS256), Some((Some("b"), None)));
        assert_eq!(found(Some("b"), Algorithm::HS256), None);
        assert_eq!(found(Some("c"), Algorithm::RS256), None);
        assert_eq!(found(None, Algorithm::RS512), Some((Some("b"), None)), "the only one that fits");
        assert_eq!(found(None, Algorithm::RS256), None, "two fit");
    }

    proptest! {
        #[test]
        fn no_set_makes_it_panic(body in any::<Vec<u8>>(), n in "[A-Za-z0-9_-]{0,20}", crv in "P-256|P-384|Ed25519", kty in "RSA|EC|OKP|oct") {
            let _ = PublishedKeys::parse(&body);
            let set = json!({"keys": [{"kty": kty, "crv": crv, "n": n, "e": n, "x": n, "y": n}]});
            let _ = PublishedKeys::parse(set.to_string().as_bytes());
        }
    }
}
