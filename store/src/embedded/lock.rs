//! The right to use a data directory.
//!
//! A `flock` on a separate file: it ends with its process, however that ends, and programs that
//! only read the database are not shut out.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use common::files::{create_private, secure_folder};
use rustix::fs::{FlockOperation, flock};

use super::file::io_error;
use crate::error::StoreError;

const LOCK: &str = "bridge.lock";
/// The line of the lock's file that says that the directory has a store.
const HAS_STORE: &str = "store";

/// The exclusive right to use a data directory, until dropped.
///
/// The file names the process that holds it, and stays when the process is gone. A second line says
/// that a store was made here.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
    path: PathBuf,
    had_store: bool,
    /// Locked too, so that deleting the lock's file does not let a second process in. Must be
    /// closed after the last connection: SQLite loses its own locks when any descriptor of the file
    /// is closed.
    database: Option<File>,
}

impl DirectoryLock {
    /// Creates the directory, or removes others' permissions on it and its files, and takes the
    /// lock.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        secure_folder(dir).map_err(|error| io_error(&error))?;
        let path = dir.join(LOCK);
        let mut file = create_private(&path).map_err(|error| io_error(&error))?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut said = String::new();
        // If the lock's file cannot be read, only its message is lost.
        let _ = file.read_to_string(&mut said);
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = said.lines().next().map(str::trim).filter(|holder| !holder.is_empty()).unwrap_or("?").to_owned();
                return Err(StoreError::Locked { path, holder });
            }
            Err(errno) => return Err(io_error(&errno.into())),
        }
        let had_store = said.lines().any(|line| line == HAS_STORE);
        let mut lock = Self { file, path, had_store, database: None };
        // Only for messages: if it cannot be written, the store can still open.
        let _ = lock.write();
        Ok(lock)
    }

    /// Locks the database's file too, and creates it if necessary. Must be called before it is
    /// opened.
    ///
    /// # Errors
    /// [`StoreError::Locked`], and those of the file system.
    pub(super) fn hold_database(&mut self, path: &Path) -> Result<(), StoreError> {
        let file = create_private(path).map_err(|error| io_error(&error))?;
        if !is_remote(&file) && flock(&file, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(StoreError::Locked { path: path.to_owned(), holder: "?".to_owned() });
        }
        self.database = Some(file);
        Ok(())
    }

    /// The path of the lock's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a store was made in this directory.
    pub(super) fn had_store(&self) -> bool {
        self.had_store
    }

    /// Records that there is a store in this directory.
    pub(super) fn note_store(&mut self) {
        if std::mem::replace(&mut self.had_store, true) {
            return;
        }
        if let Err(error) = self.write().and_then(|()| self.file.sync_all()) {
            tracing::warn!(%error, path = %self.path.display(), "the lock's file cannot be written: the next start will not notice if the store is deleted");
        }
    }

    /// In place, so that a full disk does not lose the old content.
    fn write(&mut self) -> std::io::Result<()> {
        let mark = if self.had_store { HAS_STORE } else { "" };
        let text = format!("{}\n{mark}\n", std::process::id());
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for DirectoryLock {
    /// Unlocks explicitly: a child process that is being started has a copy of every descriptor
    /// until it runs its program, and the lock would be held as long as one of them is open.
    fn drop(&mut self) {
        // A failure is harmless: closing, or at the latest the end of the process, releases the
        // lock.
        let _ = flock(&self.file, FlockOperation::Unlock);
        if let Some(database) = &self.database {
            let _ = flock(database, FlockOperation::Unlock);
        }
    }
}

/// Whether a file is on a network file system, where a `flock` is the same lock as SQLite's own.
fn is_remote(file: &File) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| found.f_type == rustix::fs::NFS_SUPER_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = DirectoryLock::take(dir.path()).expect("free");
        let holder = std::process::id().to_string();
        match DirectoryLock::take(dir.path()) {
            Err(StoreError::Locked { holder: found, .. }) => assert_eq!(found, holder),
            other => panic!("{other:?}"),
        }
        drop(lock);
        DirectoryLock::take(dir.path()).expect("free again");
    }

    #[test]
    fn a_copy_of_the_descriptor_does_not_hold_the_lock() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = DirectoryLock::take(dir.path()).expect("free");
        // As a child process has one between its fork and its program.
        let copy = lock.file.try_clone().expect("copied");
        assert!(DirectoryLock::take(dir.path()).is_err());
        drop(lock);
        DirectoryLock::take(dir.path()).expect("free again");
        drop(copy);
    }
}
