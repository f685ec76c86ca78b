//! Whether the files in use are still those that the next start will find.
//!
//! A file that is deleted or replaced while it is open can still be written, and everything written
//! is lost when it is closed. So the writer compares the files that it uses with those that have
//! their names now. This module also detects whether a folder without a database has had one.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::file::{beside, database_path, io_error};
use crate::error::StoreError;

/// How often the files are checked, at most.
const EVERY: Duration = Duration::from_millis(100);

/// Identifies a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// The files in use.
#[derive(Debug)]
pub(super) struct Presence {
    files: Vec<(PathBuf, Identity)>,
    looked_at: Option<Instant>,
}

impl Presence {
    /// The files of an open database: itself, its write-ahead log, and the lock of its folder.
    ///
    /// # Errors
    /// Those of the file system.
    pub(super) fn of(database: &Path, lock: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for path in [database.to_owned(), beside(database, "-wal"), lock.to_owned()] {
            let found = fs::metadata(&path)?;
            files.push((path, Identity::of(&found)));
        }
        Ok(Self { files, looked_at: None })
    }

    /// Checks, unless that was done a moment ago. Returns the file that no longer exists.
    pub(super) fn missing(&mut self) -> Option<&Path> {
        if self.looked_at.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        self.missing_now()
    }

    /// Checks.
    pub(super) fn missing_now(&self) -> Option<&Path> {
        // A folder that cannot be read for another reason says nothing about its content.
        let is_missing = |path: &Path, known: Identity| match fs::metadata(path) {
            Ok(found) => Identity::of(&found) != known,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        self.files.iter().find(|(path, known)| is_missing(path, *known)).map(|(path, _)| path.as_path())
    }
}

/// Refuses a folder that had a store and has none, or has an empty file in its place: a new store
/// there would hide the loss.
///
/// `had_store`: according to the lock with this path.
///
/// # Errors
/// [`StoreError::Emptied`].
pub(super) fn refuse_emptied(dir: &Path, lock: &Path, had_store: bool) -> Result<(), StoreError> {
    let database = database_path(dir);
    let size = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error(&error)),
    };
    if size(&database)? > 0 {
        return Ok(());
    }
    if had_store {
        return Err(StoreError::Emptied { path: database, trace: lock.to_owned() });
    }
    for suffix in ["-wal", ".restoring", ".replaced-1"] {
        let trace = beside(&database, suffix);
        if size(&trace)? > 0 {
            return Err(StoreError::Emptied { path: database, trace });
        }
    }
    Ok(())
}
