//! The file of keys: `agent-keys.json` in the data folder, readable by its owner only.
//!
//! Each change is made under a lock (`agent-keys.lock`) and replaces the file as a whole (write,
//! sync, rename). So the daemon and several command lines can change it at the same time, and no
//! reader sees half of it. The table is bounded. At the bound **the oldest key that is revoked or
//! expired gives way**; if there is none, no key is made.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime},
};

use common::{
    files,
    secret::{Secret, json_fault},
    timestamp::unix_seconds,
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{
    KeyInfo, KeyState, Scopes,
    record::{Hashed, Record, is_name, new_text},
};

const NAME: &str = "agent-keys.json";
const LOCK: &str = "agent-keys.lock";
const VERSION: u32 = 1;
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The most keys in the file, including revoked and expired ones.
pub(super) const MAX_KEYS: usize = 4096;
/// How often the lock is tried before giving up.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system reported an error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("{} can be read by others than its owner: run `chmod 600` on it, and replace the secrets in it if somebody may have read them", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The content of the file is invalid.
    #[error("{} does not contain agent keys: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("another process is changing the agent keys: try again later")]
    Locked,
    /// The name is invalid.
    #[error("a key's name is 1 to 32 of a-z 0-9 -")]
    BadName,
    /// The name is taken, perhaps by a revoked key.
    #[error("a key {0:?} exists or existed: choose another name")]
    Exists(String),
    /// No such key.
    #[error("there is no key {0:?}")]
    NotFound(String),
    /// The expiry is not in the future.
    #[error("the expiry is in the past")]
    ExpiresInPast,
    /// The file has reached its bound.
    #[error("there are {MAX_KEYS} keys and none of them is revoked or expired")]
    Full,
    /// The system has no randomness.
    #[error("the system has no random numbers")]
    Random,
}

/// The description of a new key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its name. It was never used before.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it expires. `None`: when it is revoked.
    pub expires_at: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    keys: Vec<Record>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct KeyFile {
    folder: PathBuf,
}

impl KeyFile {
    /// The file in this data folder. It need not exist yet.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Makes a key. The returned text is shown once and stored nowhere.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn create(&self, new: &NewKey, now: SystemTime) -> Result<Secret, KeyFileError> {
        if !is_name(&new.name) {
            return Err(KeyFileError::BadName);
        }
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(KeyFileError::ExpiresInPast);
        }
        let text = new_text(&new.name).ok_or(KeyFileError::Random)?;
        let record = Record {
            name: new.name.clone(),
            hash: Hashed::fresh(text.reveal()).ok_or(KeyFileError::Random)?,
            scopes: new.scopes.clone(),
            created_at: unix_seconds(now),
            expires_at: new.expires_at.map(unix_seconds),
            last_used_at: None,
            revoked_at: None,
        };
        self.change(|keys| {
            if keys.iter().any(|key| key.name == record.name) {
                return Err(KeyFileError::Exists(record.name.clone()));
            }
            if keys.len() >= MAX_KEYS {
                let ended = keys.iter().enumerate().filter(|(_, key)| key.state(unix_seconds(now)) != KeyState::Active);
                let oldest = ended.min_by_key(|(_, key)| key.created_at).map(|(place, _)| place);
                keys.remove(oldest.ok_or(KeyFileError::Full)?);
            }
            keys.push(record);
            Ok(())
        })?;
        Ok(text)
    }

    /// Revokes a key. Revoking it again is no error and keeps the first time.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn revoke(&self, name: &str, now: SystemTime) -> Result<(), KeyFileError> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.name == name).ok_or_else(|| KeyFileError::NotFound(name.to_owned()))?;
            key.revoked_at.get_or_insert(unix_seconds(now));
            Ok(())
        })
    }

    /// All keys, in the order in which they were made.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn list(&self, now: SystemTime) -> Result<Vec<KeyInfo>, KeyFileError> {
        Ok(self.read()?.iter().map(|key| key.info(unix_seconds(now))).collect())
    }

    /// Stores when keys were last used. Names that no longer exist are skipped.
    pub(super) fn note_use(&self, uses: &[(String, u64)]) -> Result<(), KeyFileError> {
        self.change(|keys| {
            for (name, used_at) in uses {
                if let Some(key) = keys.iter_mut().find(|key| key.name == *name) {
                    key.last_used_at = key.last_used_at.max(Some(*used_at));
                }
            }
            Ok(())
        })
    }

    /// The content of the file; empty if there is no file.
    pub(super) fn read(&self) -> Result<Vec<Record>, KeyFileError> {
        let path = self.path();
        let failed = |source| KeyFileError::Io { action: "read", path: path.clone(), source };
        let damaged = |reason: String| KeyFileError::Damaged { path: path.clone(), reason };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyFileError::Exposed { path });
        }
        let mut json = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut json).map_err(failed)?;
        if json.len() as u64 > MAX_BYTES {
            return Err(damaged("it is larger than 16 MiB".into()));
        }
        let content: Content = serde_json::from_slice(&json).map_err(|error| damaged(json_fault(&error)))?;
        if content.version != VERSION {
            return Err(damaged(format!("its version is {}, and {VERSION} is known", content.version)));
        }
        let mut names: Vec<&str> = content.keys.iter().map(|key| key.name.as_str()).collect();
        names.sort_unstable();
        if names.len() > MAX_KEYS
            || names.windows(2).any(|pair| pair.first() == pair.last())
            || !names.iter().all(|name| is_name(name))
        {
            return Err(damaged("it has too many keys, or a name that is wrong or occurs twice".into()));
        }
        Ok(content.keys)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Record>) -> Result<(), KeyFileError>) -> Result<(), KeyFileError> {
        files::make_folder(&self.folder).map_err(|source| KeyFileError::Io {
            action: "make",
            path: self.folder.clone(),
            source,
        })?;
        let _lock = lock(&self.folder.join(LOCK))?;
        let mut keys = self.read()?;
        change(&mut keys)?;
        self.write(&Content { version: VERSION, keys })
    }

    fn write(&self, content: &Content) -> Result<(), KeyFileError> {
        let path = self.path();
        let failed = |source| KeyFileError::Io { action: "write", path: path.clone(), source };
        let mut json = serde_json::to_vec_pretty(content).map_err(|error| failed(error.into()))?;
        json.push(b'\n');
        files::replace(&path, &json).map_err(failed)
    }
}

/// The lock is held as long as the file is open.
fn lock(path: &Path) -> Result<File, KeyFileError> {
    let failed = |source| KeyFileError::Io { action: "lock", path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(error) if error == rustix::io::Errno::WOULDBLOCK || error == rustix::io::Errno::INTR => thread::sleep(LOCK_WAIT),
            Err(error) => return Err(failed(error.into())),
        }
    }
    Err(KeyFileError::Locked)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
