//! The file of keys: `agent-keys.json` in the data folder, readable by its owner only.
//!
//! Every change is made under a lock (`agent-keys.lock`) and put in place whole (write, sync, rename), so that the daemon and
//! several command lines can change it at the same time and no reader ever sees half of it. The table in it is bounded; at
//! the bound **the oldest key that is revoked or expired gives way**, and if there is none no key is made.

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
/// Most keys in the file, ended ones among them.
pub(super) const MAX_KEYS: usize = 4096;
/// How long another's change may take; then we give up.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(20);

/// Why the file could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error("{} can be read by others than its owner: run `chmod 600` on it, and think about who may have read it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The file does not hold what it should.
    #[error("{} does not hold agent keys: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the lock and keeps it.
    #[error("another process is changing the agent keys and does not finish; try again")]
    Locked,
    /// Not a name.
    #[error("a key's name is 1 to 32 of a-z 0-9 -")]
    BadName,
    /// The name is taken, perhaps by a key that is revoked.
    #[error("there is a key {0:?} already, or there was one; choose another name")]
    Exists(String),
    /// No such key.
    #[error("there is no key {0:?}")]
    NotFound(String),
    /// The expiry is not in the future.
    #[error("the key would have expired already")]
    ExpiresInPast,
    /// The bound.
    #[error("there are {MAX_KEYS} keys and none of them is revoked or expired")]
    Full,
    /// No randomness.
    #[error("the system gives no random numbers")]
    Random,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its name, not used before.
    pub name: String,
    /// What it opens.
    pub scopes: Scopes,
    /// Until when it is good; `None`: until revoked.
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
    /// The file in this data folder, which need not exist yet.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// Makes a key. The text returned is shown once and kept nowhere.
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

    /// Takes a key back. Doing so twice is no error and keeps the first time.
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

    /// All keys, in the order they were made.
    ///
    /// # Errors
    /// See [`KeyFileError`].
    pub fn list(&self, now: SystemTime) -> Result<Vec<KeyInfo>, KeyFileError> {
        Ok(self.read()?.iter().map(|key| key.info(unix_seconds(now))).collect())
    }

    /// Writes down when keys were last used; names that are gone are passed over.
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

    /// What is in the file; nothing, if there is none.
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

/// The lock lasts as long as the file is open.
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
