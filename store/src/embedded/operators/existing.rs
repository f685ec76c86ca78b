//! Files that are stores already.

use std::path::{Path, PathBuf};

use crate::{
    embedded::{
        file::{self, database_path},
        schema::{self, FileKind},
    },
    error::StoreError,
};

/// The database of a directory, if there is one: a wrong path must not create an empty store.
pub(super) fn existing(dir: &Path) -> Result<PathBuf, StoreError> {
    let database = database_path(dir);
    match std::fs::metadata(&database) {
        Ok(found) if found.is_file() => Ok(database),
        Ok(_) => Err(StoreError::NotAStore(database)),
        Err(error) => Err(StoreError::Io(format!("{}: {error}", database.display()))),
    }
}

/// Opens a file for reading, and checks that it is a store.
pub(super) fn open_store(path: &Path) -> Result<rusqlite::Connection, StoreError> {
    let conn = file::open_reader(path, None)?;
    match schema::inspect(&conn, path)? {
        FileKind::Store(_) => Ok(conn),
        FileKind::Empty => Err(StoreError::NotAStore(path.to_owned())),
    }
}
