//! Files: told apart by their stamp, and read.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use crate::error::TlsError;

/// Tells one content of a file from another: its inode, when it was written, its length. Links are
/// followed.
pub(crate) type Stamp = Option<(u64, i64, i64, u64)>;

/// The stamp of a file; `None` where there is no file.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Puts a file in place of another, see [`common::files::replace`].
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    common::files::replace(path, content).map_err(|source| TlsError::Unwritable { path: path.to_owned(), source })
}
