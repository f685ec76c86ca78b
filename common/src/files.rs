//! Files in the data folder: for their owner only, and there whole or not at all, also after a power cut.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Makes a folder that only its owner may enter, and those above it that are missing.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts a file in place of another in one step, readable by its owner only. The folder must be there.
///
/// # Errors
/// Those of the file system; the file before stays then. No randomness for the draft's name.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let draft = write_draft(folder, content)?;
    // Best effort: what counts is why it was not put in place.
    fs::rename(&draft, path).inspect_err(|_| drop(fs::remove_file(&draft)))?;
    sync_folder(folder)
}

/// Writes a finished file under a name of its own, to be linked or renamed to its real one.
///
/// # Errors
/// Those of the file system, and then there is no draft. No randomness for its name.
pub fn write_draft(folder: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
    let draft = folder.join(format!(".{:016x}.draft", u64::from_ne_bytes(number)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    Ok(draft)
}

/// Waits until the disk has the names in a folder.
///
/// # Errors
/// Those of the file system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_for_its_owner_only_and_leaves_no_draft() {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("a/b");
        make_folder(&data).expect("made");
        let path = data.join("file");
        for content in ["one", "another"] {
            replace(&path, content.as_bytes()).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("there"), content);
        }
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!([mode(&data), mode(&folder.path().join("a")), mode(&path)], [0o700, 0o700, 0o600]);
        assert!(replace(&data, b"a folder is there").is_err());
        assert_eq!(
            (fs::read_dir(&data).expect("read").count(), fs::read_dir(folder.path().join("a")).expect("read").count()),
            (1, 1)
        );
    }
}
