//! Replaces a store by a backup.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;

use super::{
    backup::{Throttle, copy, sync_parent},
    check::report,
    existing::open_store,
};
use crate::{
    embedded::{
        file::{self, beside, database_path},
        lock::DirectoryLock,
        schema,
    },
    error::StoreError,
    position::MAX_SEQ,
};

/// Numbers skipped when a backup is restored, in case the replaced file cannot tell its newest
/// number.
const SKIPPED: u64 = 1 << 32;

/// The result of [`restore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The path of the replaced file; `None` if there was none.
    pub replaced: Option<PathBuf>,
    /// Records in the restored store.
    pub records: u64,
}

/// Replaces the directory's store by a copy of a backup, if the backup is intact. The replaced file
/// is kept beside it.
///
/// The restored store has a new epoch, and continues with numbers above those of both files.
///
/// # Errors
/// The backup is not whole, somebody has the store open, or the disk is full. Nothing was replaced
/// then.
pub fn restore(from: &Path, dir: &Path) -> Result<Restored, StoreError> {
    let source = open_store(from)?;
    let found = report(&source)?;
    if let Some(problem) = found.problems.first() {
        return Err(StoreError::Corrupt(format!("{}: {problem}", from.display())));
    }
    let _lock = DirectoryLock::take(dir)?;
    let database = database_path(dir);
    let next_seq = found.next_seq.max(next_of(&database)).saturating_add(SKIPPED);
    if next_seq > MAX_SEQ {
        return Err(StoreError::Invalid("the sequence numbers are used up"));
    }
    let incoming = beside(&database, ".restoring");
    copy(&source, &incoming, Throttle { pages: 2_048, ..Throttle::default() })?;
    let target = Connection::open(&incoming)?;
    schema::set_meta(&target, "next_seq", next_seq)?;
    target.close().map_err(|(_, error)| StoreError::from(error))?;
    let replaced = put_in_place(&incoming, &database).map_err(|error| file::io_error(&error))?;
    Ok(Restored { replaced, records: found.records })
}

/// The next number of the file to be replaced, if it can be read.
fn next_of(database: &Path) -> u64 {
    let next = || -> Result<Option<u64>, StoreError> {
        let conn = Connection::open_with_flags(database, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        // Leaves nothing in the write-ahead log, which must not be found beside another file.
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        schema::meta(&conn, "next_seq")
    };
    next().ok().flatten().unwrap_or(0)
}

/// At no moment is the file missing, or beside another one's write-ahead log.
fn put_in_place(incoming: &Path, database: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut kept = None;
    if database.exists() {
        let replaced = free_name(database);
        fs::hard_link(database, &replaced)?;
        let log = beside(database, "-wal");
        if log.exists() {
            fs::rename(&log, beside(&replaced, "-wal"))?;
        }
        match fs::remove_file(beside(database, "-shm")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => kept = Some(replaced),
        }
    }
    fs::rename(incoming, database)?;
    sync_parent(database)?;
    Ok(kept)
}

fn free_name(database: &Path) -> PathBuf {
    let mut number = 1_u32;
    loop {
        let name = beside(database, &format!(".replaced-{number}"));
        if !name.exists() {
            return name;
        }
        number += 1;
    }
}
