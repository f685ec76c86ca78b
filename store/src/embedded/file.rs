//! The store's files: where they are, how they are opened, and their epoch.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use common::files::create_private;
use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    error::damaged,
    schema::{self, FileKind, meta, set_meta},
};
use crate::{
    embedded_options::Durability, error::StoreError, file_identity::FileIdentity, health::NewEpoch, options::StoreOptions,
    position::Epoch,
};

/// The database's name in the data directory.
pub const DATABASE: &str = "bridge.db";

/// Bytes of a page. Where much is appended, half as many pages are written as with SQLite's own 4
/// KiB.
pub(super) const PAGE: u64 = 8_192;
/// Prepared statements kept per connection.
const STATEMENTS: usize = 96;
/// How long one connection waits for another.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The meaning of the operating system's errors for the store.
pub(super) fn io_error(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::DiskFull,
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => StoreError::ReadOnly,
        _ => StoreError::Io(error.to_string()),
    }
}

/// The size of a folder's file system, in bytes; 0 if unknown.
pub fn disk_size(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize))
}

/// The bytes that are free on a folder's file system; 0 if unknown.
pub fn disk_free(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

/// The path of the database of a data directory.
pub(super) fn database_path(dir: &Path) -> PathBuf {
    dir.join(DATABASE)
}

/// A path beside a file: the file's name with a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn connect(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = match vfs {
        None => Connection::open_with_flags(path, flags)?,
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
    };
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;")?;
    // Otherwise statements are planned again whenever the value of a LIMIT changes.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(conn)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> Result<Connection, StoreError> {
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, vfs)?;
    conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
    Ok(conn)
}

/// Opens the one connection that writes, and creates and migrates the file. Returns its epoch, and
/// why that is new, if the file has had another.
pub(super) fn open_writer(dir: &Path, options: &StoreOptions) -> Result<(Connection, Epoch, Option<NewEpoch>), StoreError> {
    let path = database_path(dir);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    // SQLite would create it readable for everybody. Its log and index get the mode of the
    // database.
    create_private(&path).map_err(|error| io_error(&error))?;
    let mut conn = connect(&path, flags, options.embedded.vfs.as_deref())?;
    let kind = schema::inspect(&conn, &path)?;
    if kind == FileKind::Empty {
        // Can be chosen only before the first table. The second setting allows space to be given
        // back in small steps.
        conn.execute_batch(&format!("PRAGMA page_size = {PAGE}; PRAGMA auto_vacuum = INCREMENTAL;"))?;
    }
    conn.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0; PRAGMA cache_size = -32768;
         PRAGMA cell_size_check = ON;",
    )?;
    schema::migrate(&mut conn, kind)?;
    // A file behind another VFS may be no file at all.
    let identity = match &options.embedded.vfs {
        None => FileIdentity::of(&path).map_err(|error| io_error(&error))?,
        Some(_) => None,
    };
    let (epoch, why) = begin_run(&conn, options.embedded.durability, identity)?;
    set_synchronous(&conn, options.embedded.durability == Durability::Fsync)?;
    Ok((conn, epoch, why))
}

/// Whether each commit waits for the disk, or only each checkpoint.
pub(super) fn set_synchronous(conn: &Connection, every_commit: bool) -> Result<(), StoreError> {
    conn.execute_batch(if every_commit { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
    Ok(())
}

/// Reads the epoch or begins one, and records how this run uses the disk.
fn begin_run(
    conn: &Connection,
    durability: Durability,
    identity: Option<FileIdentity>,
) -> Result<(Epoch, Option<NewEpoch>), StoreError> {
    let known = read_epoch(conn)?;
    let boot = boot_id();
    let former: Option<FileIdentity> = meta::<String>(conn, "file")?.and_then(|text| text.parse().ok());
    let is_copy = former.zip(identity).is_some_and(|(former, identity)| !former.is_same_as(identity));
    let why = match known {
        Some(_) if is_copy => Some(NewEpoch::CopiedFile),
        Some(_) if !survived(conn, boot.as_deref())? => Some(NewEpoch::LostMachine),
        _ => None,
    };
    let epoch = known.filter(|_| why.is_none()).unwrap_or_else(Epoch::fresh);
    if let Some(why) = why {
        tracing::warn!(%epoch, %why, "the store begins a new epoch: clients hear that their positions were not recovered");
    }
    conn.execute_batch("BEGIN IMMEDIATE")?;
    let noted = set_meta(conn, "epoch", epoch.to_string())
        .and_then(|()| set_meta(conn, "clean", 0))
        .and_then(|()| set_meta(conn, "durability", durability.as_str()))
        .and_then(|()| set_meta(conn, "file", identity.map(|identity| identity.to_string()).unwrap_or_default()))
        .and_then(|()| set_meta(conn, "boot", boot.unwrap_or_default()));
    conn.execute_batch(if noted.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    noted.map(|()| (epoch, why))
}

/// The epoch in a file.
pub(super) fn read_epoch(conn: &Connection) -> Result<Option<Epoch>, StoreError> {
    let text: Option<String> = meta(conn, "epoch")?;
    text.map(|text| text.parse().map_err(|_| damaged("the epoch"))).transpose()
}

/// Whether everything confirmed in the last run must be in the file.
///
/// A run that waited for the disk lost nothing, and neither did a run that closed the file. The
/// operating system keeps what a killed process has written. So a run that did not wait lost
/// nothing either, unless the machine was restarted since.
fn survived(conn: &Connection, boot: Option<&str>) -> Result<bool, StoreError> {
    let clean = meta::<i64>(conn, "clean")? == Some(1);
    let waited = meta::<String>(conn, "durability")?.as_deref() == Some(Durability::Fsync.as_str());
    let same_boot = boot.is_some() && meta::<String>(conn, "boot")?.as_deref() == boot;
    Ok(clean || waited || same_boot)
}

/// Records that everything was written.
pub(super) fn end_run(conn: &Connection) -> Result<(), StoreError> {
    set_synchronous(conn, true)?;
    set_meta(conn, "clean", 1)
}

/// Identifies the present run of the machine; `None` if the system does not say.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded_options::EmbeddedOptions;

    fn epoch_after(change: &str, durability: Durability) -> (Epoch, Epoch) {
        let dir = tempfile::tempdir().expect("a directory");
        let options = StoreOptions { embedded: EmbeddedOptions::with(durability), ..StoreOptions::default() };
        let (conn, before, _) = open_writer(dir.path(), &options).expect("opens");
        conn.execute_batch(change).expect("a statement");
        drop(conn);
        let (_conn, after, _) = open_writer(dir.path(), &options).expect("opens again");
        (before, after)
    }

    #[test]
    fn a_lost_machine_begins_a_new_epoch_unless_commits_waited_for_the_disk() {
        const REBOOTED: &str = "UPDATE meta SET value = 'another boot' WHERE name = 'boot'";
        let (before, after) = epoch_after(REBOOTED, Durability::Process);
        assert_ne!(before, after);
        let (before, after) = epoch_after(REBOOTED, Durability::Fsync);
        assert_eq!(before, after);
    }

    #[test]
    fn a_killed_process_does_not_begin_a_new_epoch() {
        let (before, after) = epoch_after("", Durability::Process);
        assert_eq!(before, after);
    }
}
