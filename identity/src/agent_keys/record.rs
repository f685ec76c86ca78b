//! One stored key: its name, the hash of its text, and its properties.

use std::time::SystemTime;

use common::{secret::Secret, timestamp::from_unix_seconds};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Scopes;
use crate::encoding::{from_hex, random_text, to_hex};

const PREFIX: &str = "abk_";
/// Letters and digits after the name: 256 random bits.
const CHANCE: usize = 43;
const SALT: usize = 16;

/// A salted SHA-256 of a key's text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hashed {
    salt: [u8; SALT],
    digest: [u8; 32],
}

impl Hashed {
    /// Hashes a text with a new salt. `None` if the system has no randomness.
    pub fn fresh(text: &str) -> Option<Self> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).ok()?;
        Some(Self { salt, digest: digest(&salt, text) })
    }

    /// Whether this is the hash of the text. The time does not depend on the hash.
    pub fn is_of(&self, text: &str) -> bool {
        digest(&self.salt, text).ct_eq(&self.digest).into()
    }
}

fn digest(salt: &[u8; SALT], text: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"agent-bridge agent key 1\0");
    hash.update(salt);
    hash.update(text);
    hash.finalize().into()
}

/// One key in the file. Times are seconds since 1970.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub name: String,
    #[serde(with = "hexadecimal")]
    pub hash: Hashed,
    pub scopes: Scopes,
    pub created_at: u64,
    pub expires_at: Option<u64>,
    pub last_used_at: Option<u64>,
    pub revoked_at: Option<u64>,
}

/// The state of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It is valid.
    Active,
    /// It has expired.
    Expired,
    /// It was revoked.
    Revoked,
}

/// A key as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it expires. `None`: when it is revoked.
    pub expires_at: Option<SystemTime>,
    /// When it last opened a connection, up to the minutes between two saves.
    pub last_used_at: Option<SystemTime>,
    /// When it was revoked.
    pub revoked_at: Option<SystemTime>,
    /// Its state.
    pub state: KeyState,
}

impl Record {
    /// The state of the key at this time, in seconds since 1970.
    pub fn state(&self, now: u64) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// The key as operators see it.
    pub fn info(&self, now: u64) -> KeyInfo {
        KeyInfo {
            name: self.name.clone(),
            scopes: self.scopes.clone(),
            created_at: from_unix_seconds(self.created_at),
            expires_at: self.expires_at.map(from_unix_seconds),
            last_used_at: self.last_used_at.map(from_unix_seconds),
            revoked_at: self.revoked_at.map(from_unix_seconds),
            state: self.state(now),
        }
    }
}

/// Whether a text can name a key: 1 to 32 of `a-z 0-9 -`. So the name ends at the `_` behind it.
pub(super) fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A new key's text. `None` if the system has no randomness.
pub(super) fn new_text(name: &str) -> Option<Secret> {
    random_text(CHANCE).map(|chance| Secret::new(format!("{PREFIX}{name}_{chance}")))
}

/// The name in a key's text, if it has the form of made keys.
pub(super) fn name_in(text: &str) -> Option<&str> {
    let (name, chance) = text.strip_prefix(PREFIX)?.split_once('_')?;
    (is_name(name) && chance.len() == CHANCE).then_some(name)
}

mod hexadecimal {
    use super::{Deserialize, Hashed, from_hex, to_hex};

    pub fn serialize<S: serde::Serializer>(hash: &Hashed, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("sha256:{}:{}", to_hex(&hash.salt), to_hex(&hash.digest)))
    }

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Hashed, D::Error> {
        let text = String::deserialize(input)?;
        let parts = text.strip_prefix("sha256:").and_then(|rest| rest.split_once(':'));
        let read =
            |(salt, digest)| Some(Hashed { salt: from_hex(salt)?.try_into().ok()?, digest: from_hex(digest)?.try_into().ok()? });
        parts.and_then(read).ok_or_else(|| serde::de::Error::custom("a hash is sha256:<salt>:<digest>"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_tells_its_name_and_only_its_own_hash_fits() {
        let text = new_text("team-a").expect("randomness");
        assert_eq!(name_in(text.reveal()), Some("team-a"));
        let hash = Hashed::fresh(text.reveal()).expect("randomness");
        assert!(hash.is_of(text.reveal()));
        assert!(!hash.is_of(&text.reveal().to_ascii_lowercase()));
        let other = Hashed::fresh(text.reveal()).expect("randomness");
        assert_ne!(hash.digest, other.digest, "the salt differs");
    }

    #[test]
    fn a_text_that_is_no_key_has_no_name() {
        let chance = "x".repeat(CHANCE);
        for text in
            ["", "abk_", "abk_a", "dev_token", &format!("abk__{chance}"), &format!("abk_A_{chance}"), &format!("abk_a_{chance}x")]
        {
            assert_eq!(name_in(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(abk_)?\\PC{0,60}", hash in "sha256:[0-9a-f:]{0,120}") {
            let _ = name_in(&text);
            let _ = hexadecimal::deserialize(serde_json::Value::String(hash));
        }
    }
}
