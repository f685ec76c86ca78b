//! Giving a file's free pages back to the disk.

use std::path::Path;

use super::existing::existing;
use crate::{
    embedded::{file, lock::DirectoryLock, presence},
    error::StoreError,
    options::StoreOptions,
};

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
///
/// # Errors
/// There is no store, somebody has it open, or the disk is full.
pub fn compact(dir: &Path) -> Result<Compacted, StoreError> {
    let database = existing(dir)?;
    let mut lock = DirectoryLock::take(dir)?;
    presence::refuse_emptied(dir, lock.path(), lock.had_store())?;
    lock.hold_database(&database)?;
    let size = || std::fs::metadata(&database).map(|found| found.len()).map_err(|error| file::io_error(&error));
    let before = size()?;
    let (conn, ..) = file::open_writer(dir, &StoreOptions::default())?;
    conn.execute_batch("VACUUM")?;
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    file::end_run(&conn)?;
    drop(conn);
    Ok(Compacted { before, after: size()? })
}
