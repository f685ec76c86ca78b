//! The keys in force, and what each of them grants. This module reads no file and no clock.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use common::{
    secret::Secret,
    timestamp::{from_unix_seconds, unix_seconds},
};

use super::{
    KeyError, KeyState, Scopes,
    record::{Hashed, Record, name_in},
};

/// The longest key that is checked, in bytes.
const MAX_TEXT: usize = 1024;

/// A key from the configuration.
#[derive(Clone, Debug)]
pub struct ConfiguredKey {
    /// Its name, for logs.
    pub name: String,
    /// The key.
    pub key: Secret,
    /// What it allows.
    pub scopes: Scopes,
}

/// What a valid key grants.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The key's name.
    pub key: Arc<str>,
    /// What an agent with it may register as and reach.
    pub scopes: Arc<Scopes>,
    /// When connections that were opened with it end.
    pub expires_at: Option<SystemTime>,
}

/// What changed since the last reading of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New keys.
    pub added: Vec<String>,
    /// Keys that are no longer valid (revoked, removed, replaced). Their connections must be
    /// closed.
    pub ended: Vec<String>,
    /// Keys whose scopes or expiry changed. Their connections must be closed too, to reconnect
    /// under the new ones.
    pub changed: Vec<String>,
}

impl Changes {
    /// The keys whose connections must be closed.
    pub fn to_close(&self) -> impl Iterator<Item = &str> {
        self.ended.iter().chain(&self.changed).map(String::as_str)
    }
}

/// See the module.
pub(super) struct Table {
    kept: HashMap<String, Entry>,
    configured: Vec<(Hashed, Grant)>,
    /// Compared if no stored key has the name, so that the time does not reveal names.
    nobody: Hashed,
}

struct Entry {
    record: Record,
    grant: Grant,
    /// Seconds since 1970; 0 is never.
    used_at: AtomicU64,
    /// Whether [`Changes::ended`] has named the key.
    is_ended: bool,
}

impl Table {
    /// The keys of the configuration and of the file. `None` if the system has no randomness.
    pub fn new(configured: &[ConfiguredKey], records: Vec<Record>) -> Option<Self> {
        let hashed = |key: &ConfiguredKey| {
            let grant = Grant { key: key.name.as_str().into(), scopes: Arc::new(key.scopes.clone()), expires_at: None };
            Hashed::fresh(key.key.reveal()).map(|hash| (hash, grant))
        };
        Some(Self {
            configured: configured.iter().map(hashed).collect::<Option<_>>()?,
            kept: entries(records),
            nobody: Hashed::fresh("")?,
        })
    }

    /// Replaces the file's keys, keeps the times of their last use, and returns what changed.
    pub fn replace(&mut self, records: Vec<Record>, now: SystemTime) -> Changes {
        let before = std::mem::replace(&mut self.kept, entries(records));
        let now = unix_seconds(now);
        let mut changes = Changes::default();
        for (name, entry) in &mut self.kept {
            let is_active = entry.record.state(now) == KeyState::Active;
            match before.get(name) {
                Some(old) => {
                    entry.used_at.fetch_max(old.used_at.load(Relaxed), Relaxed);
                    let new = &entry.record;
                    if old.record.hash != new.hash || !is_active && !old.is_ended {
                        changes.ended.push(name.clone());
                    } else if is_active && (old.record.scopes != new.scopes || old.record.expires_at != new.expires_at) {
                        changes.changed.push(name.clone());
                    }
                }
                None if is_active => changes.added.push(name.clone()),
                None => {}
            }
            entry.is_ended = !is_active;
        }
        let gone = before.iter().filter(|(name, old)| !self.kept.contains_key(*name) && !old.is_ended);
        changes.ended.extend(gone.map(|(name, _)| name.clone()));
        for names in [&mut changes.added, &mut changes.ended, &mut changes.changed] {
            names.sort_unstable();
        }
        changes
    }

    /// Checks a key. Neither the answer nor its time shows whether a name exists. Only the holder
    /// of the whole key is told that it is revoked or expired.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<Grant, KeyError> {
        if text.is_empty() || text.len() > MAX_TEXT {
            return Err(KeyError::Unknown);
        }
        let now = unix_seconds(now);
        let entry = name_in(text).and_then(|name| self.kept.get(name));
        let is_it = entry.map_or(&self.nobody, |entry| &entry.record.hash).is_of(text);
        if let Some(entry) = entry.filter(|_| is_it) {
            return match entry.record.state(now) {
                KeyState::Active => {
                    entry.used_at.fetch_max(now, Relaxed);
                    Ok(entry.grant.clone())
                }
                KeyState::Expired => Err(KeyError::Expired),
                KeyState::Revoked => Err(KeyError::Revoked),
            };
        }
        // All are compared, also after one has matched.
        let fitting =
            self.configured.iter().fold(None, |found, (hash, grant)| if hash.is_of(text) { Some(grant) } else { found });
        fitting.cloned().ok_or(KeyError::Unknown)
    }

    /// The scopes of a valid key, by its name.
    pub fn scopes_of(&self, name: &str, now: SystemTime) -> Option<Scopes> {
        let kept = self.kept.get(name).filter(|entry| entry.record.state(unix_seconds(now)) == KeyState::Active);
        let configured = || self.configured.iter().map(|(_, grant)| grant).find(|grant| &*grant.key == name);
        kept.map(|entry| &entry.grant).or_else(configured).map(|grant| grant.scopes.as_ref().clone())
    }

    /// The uses that are not yet in the file.
    pub fn unsaved_uses(&self) -> Vec<(String, u64)> {
        let uses = self.kept.iter().map(|(name, entry)| (name, entry.used_at.load(Relaxed), entry.record.last_used_at));
        uses.filter(|(_, used_at, saved)| *used_at > saved.unwrap_or(0))
            .map(|(name, used_at, _)| (name.clone(), used_at))
            .collect()
    }
}

fn entries(records: Vec<Record>) -> HashMap<String, Entry> {
    let entry = |record: Record| {
        let grant = Grant {
            key: record.name.as_str().into(),
            scopes: Arc::new(record.scopes.clone()),
            expires_at: record.expires_at.map(from_unix_seconds),
        };
        let used_at = AtomicU64::new(record.last_used_at.unwrap_or(0));
        (record.name.clone(), Entry { used_at, grant, is_ended: record.revoked_at.is_some(), record })
    };
    records.into_iter().map(entry).collect()
}
