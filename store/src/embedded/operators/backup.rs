//! Copying a store while it is in use.
//!
//! One read snapshot is held for the whole copy. Pages are copied in steps with pauses. What is
//! written meanwhile does not appear in the copy, nor does it make the copy start again. The price
//! is that the write-ahead log cannot be reused until the copy is done.

use std::{fs, path::Path, time::Duration};

use common::files::create_private;
use rusqlite::{Connection, backup::StepResult};

use super::existing::{existing, open_store};
use crate::{embedded::file, error::StoreError};

/// How fast a backup may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Pages (8 KiB) copied at once.
    pub pages: u16,
    /// How long to wait after that.
    pub pause: Duration,
}

impl Default for Throttle {
    /// About 200 MB/s at most.
    fn default() -> Self {
        Self { pages: 128, pause: Duration::from_millis(5) }
    }
}

/// The result of [`backup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Size of the copy, in bytes.
    pub bytes: u64,
}

/// Copies the store of a directory to a file that must not exist yet. Only its owner may read it.
///
/// The copy has no epoch: opening it begins a new history, whether it was restored or just put in
/// place.
///
/// # Errors
/// There is no store, the target exists or cannot be written, or the file is damaged.
pub fn backup(dir: &Path, to: &Path, throttle: Throttle) -> Result<Backup, StoreError> {
    if to.exists() {
        return Err(StoreError::Io(format!("{} exists already: name another file", to.display())));
    }
    let source = open_store(&existing(dir)?)?;
    let partial = file::beside(to, ".partial");
    let outcome = copy(&source, &partial, throttle).and_then(|()| publish(&partial, to));
    if outcome.is_err() {
        // Half a copy is useless, and may be what fills the disk.
        let _ = fs::remove_file(&partial);
    }
    outcome
}

/// Copies a database into a new file without its epoch. It is on the disk when this returns.
pub(super) fn copy(source: &Connection, to: &Path, throttle: Throttle) -> Result<(), StoreError> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file::io_error(&error)),
        _ => {}
    }
    create_private(to).map_err(|error| file::io_error(&error))?;
    let mut target = Connection::open(to)?;
    target.execute_batch("PRAGMA synchronous = OFF;")?;
    let snapshot = source.unchecked_transaction()?;
    // A transaction begins with its first read.
    snapshot.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    {
        let backup = rusqlite::backup::Backup::new(&snapshot, &mut target)?;
        loop {
            match backup.step(i32::from(throttle.pages.max(1)))? {
                StepResult::Done => break,
                // Busy and Locked: somebody holds the source for a moment; the same pause is used.
                _ => std::thread::sleep(throttle.pause),
            }
        }
    }
    drop(snapshot);
    // The copy is marked for write-ahead logging; a single file is easier to keep and to move.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    target.execute("DELETE FROM meta WHERE name IN ('epoch', 'clean', 'boot', 'durability', 'file')", [])?;
    target.close().map_err(|(_, error)| StoreError::from(error))?;
    fs::File::open(to).and_then(|file| file.sync_all()).map_err(|error| file::io_error(&error))
}

fn publish(partial: &Path, to: &Path) -> Result<Backup, StoreError> {
    let done = || {
        fs::rename(partial, to)?;
        sync_parent(to)?;
        fs::metadata(to)
    };
    done().map(|found| Backup { bytes: found.len() }).map_err(|error: std::io::Error| file::io_error(&error))
}

/// Makes a rename in a file's directory durable.
pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => fs::File::open(".")?.sync_all(),
    }
}
