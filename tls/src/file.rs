//! Files: told apart by their stamp, written whole or not at all, for their owner only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use crate::error::TlsError;

/// Tells one content of a file from another: its inode, when it was written, its length. Links are followed.
pub(crate) type Stamp = Option<(u64, i64, i64, u64)>;

/// The stamp of a file; `None` where there is no file.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })
}

/// Makes a folder that only its owner may enter.
pub(crate) fn make_folder(path: &Path) -> Result<(), TlsError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| TlsError::Unwritable { path: path.to_owned(), source })
}

/// Puts a file in place of another in one step, readable by its owner only.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let written = || -> io::Result<()> {
        let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let mut number = [0; 8];
        getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
        let draft = folder.join(format!(".{:016x}.draft", u64::from_ne_bytes(number)));
        let put = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        put().inspect_err(|_| drop(fs::remove_file(&draft)))?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|source| TlsError::Unwritable { path: path.to_owned(), source })
}
