//! Files in the data folder. They are private to their owner, and are replaced as a whole, also
//! across a power cut.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, FlockOperation, access, flock};

/// Makes a folder that only its owner may enter, and its missing parents.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Files with usable keys. If others can read one, it is not tightened silently: it is refused when
/// opened, because the keys may be known by then.
const HOLD_KEYS: [&str; 2] = ["secrets.json", "agent-keys.json"];
/// The folder inside the data folder whose files are private too.
const CERTIFICATES: &str = "acme";
/// The permissions of the group and of others.
const NOT_THE_OWNERS: u32 = 0o077;
/// The sticky bit: many users share the folder, such as `/tmp`.
const SHARED: u32 = 0o1000;

/// Makes the data folder, or removes the permissions that others have on it and on the files in it.
///
/// Every path that was open to others is logged and returned. A path that cannot be changed,
/// because it belongs to another user or many users share it, is logged too, and stays as it is.
/// Symbolic links are not followed.
///
/// # Errors
/// The folder cannot be made or read.
pub fn secure_folder(folder: &Path) -> io::Result<Vec<PathBuf>> {
    make_folder(folder)?;
    let mut tightened = Vec::new();
    secure_entries(folder, &mut tightened)?;
    secure_all(&folder.join(CERTIFICATES), &mut tightened)?;
    Ok(tightened)
}

/// The exclusive right to use a folder for one purpose. It lasts until it is dropped or the process
/// ends, for whatever reason.
///
/// The lock's file names the process that holds it. It stays when the process is gone, and with it
/// the note that a holder has left for the next.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
    path: PathBuf,
    note: String,
}

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum FolderLockError {
    /// Another process holds it.
    #[error("{} is in use by process {holder}", path.display())]
    Taken {
        /// The lock's file.
        path: PathBuf,
        /// The process id in the file; `?` if there is none.
        holder: String,
    },
    /// The file system reported an error.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl FolderLock {
    /// Takes the lock with this name in an existing folder.
    ///
    /// # Errors
    /// See [`FolderLockError`].
    pub fn take(folder: &Path, name: &str) -> Result<Self, FolderLockError> {
        let path = folder.join(name);
        let failed = |source| FolderLockError::Io { path: path.clone(), source };
        let mut file = create_private(&path).map_err(failed)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let mut text = String::new();
        // If the file cannot be read, only the message and the note are lost.
        let _ = file.read_to_string(&mut text);
        let (holder, note) = text.split_once('\n').unwrap_or((&text, ""));
        match locked {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = if holder.trim().is_empty() { "?" } else { holder.trim() };
                return Err(FolderLockError::Taken { path, holder: holder.to_owned() });
            }
            Err(errno) => return Err(failed(errno.into())),
        }
        let mut lock = Self { file, path, note: note.trim_end().to_owned() };
        // Only for the message above: if it cannot be written, the daemon can still start.
        let _ = lock.write();
        Ok(lock)
    }

    /// The path of the lock's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this holder or an earlier one has noted; empty if nothing.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Leaves a note of one line for later holders, and waits until it is on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn leave_note(&mut self, note: &str) -> io::Result<()> {
        note.clone_into(&mut self.note);
        self.write()?;
        self.file.sync_all()
    }

    /// In place, so that a full disk does not lose the old content.
    fn write(&mut self) -> io::Result<()> {
        let text = format!("{}\n{}\n", std::process::id(), self.note);
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

impl Drop for FolderLock {
    /// Unlocks explicitly: a child process that is being started has a copy of the descriptor for a
    /// moment, so closing alone would not unlock.
    fn drop(&mut self) {
        // The end of the process releases it in any case.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Whether files can be made in a folder, or in its closest existing parent. Changes nothing.
///
/// # Errors
/// Why they cannot.
pub fn check_writable(folder: &Path) -> io::Result<()> {
    for place in folder.ancestors() {
        let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
        match fs::metadata(place) {
            Ok(found) if found.is_dir() => return Ok(access(place, Access::WRITE_OK | Access::EXEC_OK)?),
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Creates a file that only its owner may read, or opens it if it exists.
///
/// # Errors
/// Those of the file system.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// A folder and its files.
fn secure_entries(folder: &Path, tightened: &mut Vec<PathBuf>) -> io::Result<()> {
    tighten(folder, tightened)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let holds_keys = HOLD_KEYS.iter().any(|name| entry.file_name() == *name);
        if entry.file_type()?.is_file() && !holds_keys {
            tighten(&entry.path(), tightened)?;
        }
    }
    Ok(())
}

/// A folder and everything below it, if it exists.
fn secure_all(folder: &Path, tightened: &mut Vec<PathBuf>) -> io::Result<()> {
    match fs::symlink_metadata(folder) {
        Ok(found) if found.is_dir() => {}
        _ => return Ok(()),
    }
    secure_entries(folder, tightened)?;
    for entry in fs::read_dir(folder)? {
        secure_all(&entry?.path(), tightened)?;
    }
    Ok(())
}

fn tighten(path: &Path, tightened: &mut Vec<PathBuf>) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        // Other processes may add and remove files meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.mode() & 0o7777,
    };
    if mode & NOT_THE_OWNERS == 0 {
        return Ok(());
    }
    let (path_shown, before) = (path.display(), format!("{mode:04o}"));
    if mode & SHARED != 0 {
        tracing::warn!(path = %path_shown, mode = before, "many users share this folder: set data.dir to a folder of your own");
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode & !NOT_THE_OWNERS)) {
        Ok(()) => {
            tracing::warn!(path = %path_shown, mode = before, "other users had access to this path of the data folder: now only its owner has");
            tightened.push(path.to_owned());
        }
        Err(error) => {
            tracing::warn!(path = %path_shown, mode = before, %error, "other users have access to this path of the data folder, and that cannot be changed");
        }
    }
    Ok(())
}

/// Replaces a file in one step. Only its owner may read it. The folder must exist.
///
/// # Errors
/// Those of the file system: the old file then stays. No randomness for the draft's name.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let draft = write_draft(folder, content)?;
    // Best effort: the error that matters is that of the rename.
    fs::rename(&draft, path).inspect_err(|_| drop(fs::remove_file(&draft)))?;
    sync_folder(folder)
}

/// Writes a complete file under a temporary name, to be linked or renamed.
///
/// # Errors
/// Those of the file system: no draft is left then. No randomness for its name.
pub fn write_draft(folder: &Path, content: &[u8]) -> io::Result<PathBuf> {
    let mut number = [0; 8];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(error.to_string()))?;
    let draft = folder.join(format!(".{:016x}.draft", u64::from_ne_bytes(number)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.inspect_err(|_| drop(fs::remove_file(&draft)))?;
    Ok(draft)
}

/// Syncs the names in a folder to the disk.
///
/// # Errors
/// Those of the file system.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, mode: u32) {
        fs::write(path, "x").expect("written");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o777
    }

    #[test]
    fn an_open_folder_and_its_files_are_tightened_and_named_but_files_of_keys_are_left_to_be_refused() {
        let outside = tempfile::tempdir().expect("a folder");
        let data = outside.path().join("data");
        let acme = data.join("acme/ca.example");
        fs::create_dir_all(&acme).expect("made");
        for folder in [&data, &data.join("acme"), &acme] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("changed");
        }
        put(&data.join("bridge.db"), 0o644);
        put(&data.join("bridge.db-wal"), 0o660);
        put(&data.join("private"), 0o600);
        put(&acme.join("certificate.pem"), 0o640);
        put(&data.join("secrets.json"), 0o644);
        put(&data.join("agent-keys.json"), 0o644);
        put(&outside.path().join("elsewhere"), 0o644);
        std::os::unix::fs::symlink(outside.path().join("elsewhere"), data.join("link")).expect("linked");

        let mut named = secure_folder(&data).expect("secured");
        named.sort();
        let mut expected = vec![
            data.clone(),
            data.join("acme"),
            acme.clone(),
            acme.join("certificate.pem"),
            data.join("bridge.db"),
            data.join("bridge.db-wal"),
        ];
        expected.sort();
        assert_eq!(named, expected);
        assert_eq!([mode(&data), mode(&acme)], [0o700, 0o700]);
        assert_eq!([mode(&data.join("bridge.db")), mode(&acme.join("certificate.pem"))], [0o600, 0o600]);
        assert_eq!([mode(&data.join("secrets.json")), mode(&data.join("agent-keys.json"))], [0o644, 0o644]);
        assert_eq!(mode(&outside.path().join("elsewhere")), 0o644, "links are not followed");
        assert!(secure_folder(&data).expect("again").is_empty());
    }

    #[test]
    fn a_lock_has_one_named_holder_and_ends_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = FolderLock::take(folder.path(), "a.lock").expect("free");
        FolderLock::take(folder.path(), "b.lock").expect("another");
        let refused = FolderLock::take(folder.path(), "a.lock").expect_err("taken").to_string();
        assert!(refused.contains("a.lock") && refused.contains(&std::process::id().to_string()), "{refused}");
        assert_eq!(mode(&folder.path().join("a.lock")), 0o600);
        drop(lock);
        FolderLock::take(folder.path(), "a.lock").expect("free again");
    }

    #[test]
    fn a_missing_folder_is_checked_and_not_created() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        check_writable(&deep).expect("can be made");
        assert!(!folder.path().join("a").exists());
        put(&folder.path().join("file"), 0o600);
        assert!(check_writable(&folder.path().join("file/data")).is_err());
        assert!(check_writable(&folder.path().join("file")).is_err());
    }

    #[test]
    fn a_folder_that_many_share_is_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o1777)).expect("changed");
        assert!(secure_folder(folder.path()).expect("read").is_empty());
        assert_eq!(mode(folder.path()), 0o777);
    }

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
        assert_eq!([mode(&data), mode(&folder.path().join("a")), mode(&path)], [0o700, 0o700, 0o600]);
        assert!(replace(&data, b"a folder is there").is_err());
        assert_eq!(
            (fs::read_dir(&data).expect("read").count(), fs::read_dir(folder.path().join("a")).expect("read").count()),
            (1, 1)
        );
    }

    #[test]
    fn a_folder_has_one_holder_at_a_time_and_notes_outlive_holders() {
        let folder = tempfile::tempdir().expect("a folder");
        let take = || FolderLock::take(folder.path(), "one.lock");
        let mut lock = take().expect("free");
        assert_eq!((lock.note(), mode(lock.path())), ("", 0o600));
        lock.leave_note("a note").expect("written");
        let holder = std::process::id().to_string();
        match take() {
            Err(FolderLockError::Taken { holder: found, path }) => assert_eq!((found, path), (holder, lock.path().to_owned())),
            other => panic!("{other:?}"),
        }
        FolderLock::take(folder.path(), "another.lock").expect("another purpose");
        // As a child process has one between its fork and its program.
        let copy = lock.file.try_clone().expect("copied");
        drop(lock);
        let lock = take().expect("free again");
        assert_eq!(lock.note(), "a note");
        drop((lock, copy));
        // As an earlier version wrote it.
        fs::write(folder.path().join("one.lock"), "123").expect("written");
        assert_eq!(take().expect("free again").note(), "");
    }
}
