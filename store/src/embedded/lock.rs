//! The right to use a data directory.
//!
//! The lock of a folder, and of the database in it. Programs that only read the database are not
//! shut out.

use std::{fs::File, path::Path};

use common::files::{FolderLock, FolderLockError, create_private, secure_folder};
use rustix::fs::{FlockOperation, flock};

use super::file::io_error;
use crate::error::StoreError;

const LOCK: &str = "bridge.lock";
/// The note in the lock's file that says that the directory has a store.
const HAS_STORE: &str = "store";

/// The exclusive right to use a data directory, until dropped.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    folder: FolderLock,
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
        let folder = FolderLock::take(dir, LOCK).map_err(|error| match error {
            FolderLockError::Taken { path, holder } => StoreError::Locked { path, holder },
            FolderLockError::Io { source, .. } => io_error(&source),
        })?;
        Ok(Self { folder, database: None })
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
        self.folder.path()
    }

    /// Whether a store was made in this directory.
    pub(super) fn had_store(&self) -> bool {
        self.folder.note() == HAS_STORE
    }

    /// Records that there is a store in this directory.
    pub(super) fn note_store(&mut self) {
        if self.had_store() {
            return;
        }
        if let Err(error) = self.folder.leave_note(HAS_STORE) {
            let path = self.path().display();
            tracing::warn!(%error, %path, "the lock's file cannot be written: the next start will not notice if the store is deleted");
        }
    }
}

impl Drop for DirectoryLock {
    /// Unlocks explicitly, as the lock of the folder does.
    fn drop(&mut self) {
        if let Some(database) = &self.database {
            // A failure is harmless: closing, or at the latest the end of the process, releases it.
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
}
