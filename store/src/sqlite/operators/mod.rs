//! Operators' commands on a store's files: check, back up, restore, compact. All of them block.
//!
//! [`check`] and [`backup`] also work while a broker serves from the file, in this process or
//! another. [`restore`] and [`compact`] need the directory to themselves, and otherwise return
//! [`StoreError::Locked`].

mod backup;
mod check;
mod restore;

use std::path::Path;

pub use self::{
    backup::{Backup, Throttle, backup},
    check::{CheckReport, check},
    restore::{Restored, restore},
};
use super::{
    file::{self, database_path},
    lock::DirectoryLock,
    presence,
    schema::{self, FileKind},
};
use crate::{error::StoreError, options::StoreOptions};

/// The result of [`compact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Size of the file before, in bytes.
    pub before: u64,
    /// Size of the file after, in bytes.
    pub after: u64,
}

/// Rewrites the file without its free pages. Needs up to twice its size in free space meanwhile.
///
/// A serving store gives pages back by itself when an eighth of its file is free; this is for more
/// than that.
pub fn compact(dir: &Path) -> Result<Compacted, StoreError> {
    let database = existing(dir)?;
    let mut lock = DirectoryLock::take(dir)?;
    presence::refuse_emptied(dir, lock.path(), lock.had_store())?;
    lock.hold_database(&database)?;
    let size = || std::fs::metadata(&database).map(|found| found.len()).map_err(|error| file::io_error(&error));
    let before = size()?;
    let (conn, _) = file::open_writer(dir, &StoreOptions::default())?;
    conn.execute_batch("VACUUM")?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    file::end_run(&conn)?;
    drop(conn);
    Ok(Compacted { before, after: size()? })
}

/// The database of a directory, if there is one: a wrong path must not create an empty store.
fn existing(dir: &Path) -> Result<std::path::PathBuf, StoreError> {
    let database = database_path(dir);
    match std::fs::metadata(&database) {
        Ok(found) if found.is_file() => Ok(database),
        Ok(_) => Err(StoreError::NotAStore(database)),
        Err(error) => Err(StoreError::Io(format!("{}: {error}", database.display()))),
    }
}

/// Opens a file for reading, and checks that it is a store.
fn open_store(path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let conn = file::open_reader(path, None)?;
    match schema::inspect(&conn, path)? {
        FileKind::Store(_) => Ok(conn),
        FileKind::Empty => Err(StoreError::NotAStore(path.to_owned())),
    }
}
