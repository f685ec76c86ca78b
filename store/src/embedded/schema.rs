//! The schema of the file and its versions.
//!
//! `user_version` is the version. Every release can migrate an older file to its own version, and
//! refuses a newer one. Migrations are append-only: a released one is never changed.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use super::{checked::is_counter, error::damaged};
use crate::{error::StoreError, position::MAX_SEQ};

/// `application_id` in the file's header: "ABRG".
const APPLICATION_ID: i64 = 0x4142_5247;

/// The step from each version to the next.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
    include_str!("schema_5.sql"),
    include_str!("schema_6.sql"),
    include_str!("schema_7.sql"),
    include_str!("schema_8.sql"),
    include_str!("schema_9.sql"),
];

/// The version this code reads and writes.
pub(super) fn version() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// The kind of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Without any table.
    Empty,
    /// A store of this version.
    Store(u32),
}

/// Checks whether a file is a store that this code can read.
pub(super) fn inspect(conn: &Connection, path: &Path) -> Result<FileKind, StoreError> {
    let pragma = |name| conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let found = u32::try_from(pragma("user_version")?).unwrap_or(u32::MAX);
    let tables: bool = conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    if !tables && found == 0 {
        return Ok(FileKind::Empty);
    }
    if pragma("application_id")? != APPLICATION_ID || found == 0 {
        return Err(StoreError::NotAStore(path.to_owned()));
    }
    if found > version() {
        return Err(StoreError::NewerSchema { found, supported: version() });
    }
    Ok(FileKind::Store(found))
}

/// Migrates a file to the present version, all steps or none.
pub(super) fn migrate(conn: &mut Connection, from: FileKind) -> Result<(), StoreError> {
    let done = match from {
        FileKind::Empty => 0,
        FileKind::Store(version) => version,
    };
    if done == version() {
        return Ok(());
    }
    let transaction = conn.transaction()?;
    for step in MIGRATIONS.iter().skip(usize::try_from(done).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", version())?;
    transaction.commit()?;
    Ok(())
}

/// A value of the `meta` table.
pub(super) fn meta<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> Result<Option<T>, StoreError> {
    let value = conn.prepare_cached("SELECT value FROM meta WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    Ok(value)
}

/// The next sequence number.
pub(super) fn next_seq(conn: &Connection) -> Result<u64, StoreError> {
    let next: Option<u64> = meta(conn, "next_seq")?;
    next.filter(|next| (1..=MAX_SEQ).contains(next)).ok_or_else(|| damaged("the counter of sequence numbers"))
}

/// The last row of `commits` that holds nothing that is missing in the indexes.
pub(super) fn placed(conn: &Connection) -> Result<i64, StoreError> {
    let placed: Option<i64> = meta(conn, "placed")?;
    placed.filter(|placed| is_commit(*placed)).ok_or_else(|| damaged("the mark of what is indexed"))
}

/// Whether `commits` can have a row of this number. They are counted from 1.
pub(super) fn is_commit(id: i64) -> bool {
    u64::try_from(id).is_ok_and(is_counter)
}

/// Sets a value of the `meta` table.
pub(super) fn set_meta(conn: &Connection, name: &str, value: impl rusqlite::ToSql) -> Result<(), StoreError> {
    conn.prepare_cached("INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2")?
        .execute(rusqlite::params![name, value])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_file_and_a_strange_file_are_refused() {
        let mut conn = Connection::open_in_memory().expect("a database");
        let path = Path::new("bridge.db");
        assert_eq!(inspect(&conn, path), Ok(FileKind::Empty));
        migrate(&mut conn, FileKind::Empty).expect("the schema is valid");
        assert_eq!(inspect(&conn, path), Ok(FileKind::Store(version())));
        conn.pragma_update(None, "user_version", version() + 1).expect("a pragma");
        assert_eq!(inspect(&conn, path), Err(StoreError::NewerSchema { found: version() + 1, supported: version() }));
        conn.pragma_update(None, "application_id", 7).expect("a pragma");
        assert_eq!(inspect(&conn, path), Err(StoreError::NotAStore(path.to_owned())));
    }
}
