//! The meaning of SQLite's errors for the store.

use rusqlite::{Error, ErrorCode, ffi};

use crate::error::StoreError;

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        match &error {
            Error::SqliteFailure(failure, detail) => match failure.code {
                ErrorCode::DiskFull => Self::DiskFull,
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(error.to_string()),
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Contended,
                // The shared-memory file grows by writing to it. In practice that fails because
                // space is missing.
                ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => Self::DiskFull,
                ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_CORRUPTFS => {
                    Self::Corrupt(error.to_string())
                }
                ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => {
                    Self::Io(format!("{error} (code {})", failure.extended_code))
                }
                // What SQLite says of a sum that is too large. No store has written such numbers.
                ErrorCode::Unknown if detail.as_deref() == Some("integer overflow") => Self::Corrupt(error.to_string()),
                _ => Self::Internal(error.to_string()),
            },
            // A value that the schema does not allow was read.
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::InvalidColumnType(..)
            | Error::Utf8Error(..) => Self::Corrupt(error.to_string()),
            // Rows that may be missing are asked for as optional.
            Error::QueryReturnedNoRows => Self::Corrupt("a row that other rows name is missing".to_owned()),
            _ => Self::Internal(error.to_string()),
        }
    }
}

/// A value in the file that this code cannot have written.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} in the file is not what it should be"))
}
