//! Secrets that nobody set: made once, stored in the data folder, and read at the next start.
//!
//! Broker and edge may be two processes that start at the same time with one data folder. The
//! process that creates the file first wins, in one step (a hard link to a finished file), and both
//! read that file. Only its owner may read it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::inputs::Role;
use super::settings::Settings;
use crate::{
    files::{make_folder, sync_folder, write_draft},
    secret::Secret,
};

/// The file's name in the data folder.
const FILE: &str = "secrets.json";
/// Random bytes in a made secret. It is stored in hexadecimal.
const SECRET_BYTES: usize = 32;

/// Why the secrets could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The file system reported an error.
    #[error("cannot {action} {}: {source}; it is not needed if BRIDGE_SECRET and SESSION_SECRET are set", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("{} can be read by others than its owner: run `chmod 600` on it, and replace the secrets in it if somebody may have read them", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// The content of the file is invalid.
    #[error("{} does not contain the two secrets: restore it, or remove it so that new ones are made (sessions then end)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness.
    #[error("the system has no random numbers: {0}")]
    Random(getrandom::Error),
}

#[derive(Deserialize)]
struct Kept {
    bridge_secret: Secret,
    session_secret: Secret,
}

/// Fills in the stored secrets that the role needs and nobody set.
pub(super) fn fill_in(settings: &mut Settings, role: Role) -> Result<(), SecretsError> {
    let bridge_is_missing = settings.broker.bridge_secret.is_empty() && role != Role::Client;
    let session_is_missing = settings.web.session_secret.is_empty() && matches!(role, Role::Daemon | Role::Edge);
    if !bridge_is_missing && !session_is_missing {
        return Ok(());
    }
    let kept = read_or_make(&settings.data.dir)?;
    if bridge_is_missing {
        settings.broker.bridge_secret = kept.bridge_secret;
    }
    if session_is_missing {
        settings.web.session_secret = kept.session_secret;
    }
    Ok(())
}

fn read_or_make(folder: &Path) -> Result<Kept, SecretsError> {
    let path = folder.join(FILE);
    match read(&path) {
        Err(SecretsError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make(folder, &path)?;
            read(&path)
        }
        found => found,
    }
}

fn read(path: &Path) -> Result<Kept, SecretsError> {
    let failed = |source| SecretsError::Io { action: "read", path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
        return Err(SecretsError::Exposed { path: path.to_owned() });
    }
    let kept: Option<Kept> = serde_json::from_reader(io::BufReader::new(file)).ok();
    kept.filter(|kept| [&kept.bridge_secret, &kept.session_secret].iter().all(|secret| secret.reveal().len() >= SECRET_BYTES))
        .ok_or_else(|| SecretsError::Damaged { path: path.to_owned() })
}

/// Writes a finished file under a temporary name, then links it to the real name, unless another
/// process was faster.
fn make(folder: &Path, path: &Path) -> Result<(), SecretsError> {
    let content = format!("{{\n  \"bridge_secret\": \"{}\",\n  \"session_secret\": \"{}\"\n}}\n", random()?, random()?);
    let failed = |source| SecretsError::Io { action: "write", path: path.to_owned(), source };

    make_folder(folder).map_err(|source| SecretsError::Io { action: "make", path: folder.to_owned(), source })?;
    let draft = write_draft(folder, content.as_bytes()).map_err(failed)?;
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    };
    let removed = fs::remove_file(&draft);
    linked.and(removed).and_then(|()| sync_folder(folder)).map_err(failed)
}

fn random() -> Result<String, SecretsError> {
    let mut bytes = [0u8; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(SecretsError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(folder: &Path, role: Role) -> Settings {
        let mut settings = Settings::default();
        settings.data.dir = folder.to_owned();
        fill_in(&mut settings, role).unwrap();
        settings
    }

    #[test]
    fn secrets_are_made_once_and_kept_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        let first = filled(&data, Role::Daemon);
        let again = filled(&data, Role::Daemon);
        assert!(first.broker.bridge_secret.matches(again.broker.bridge_secret.reveal()));
        assert!(first.web.session_secret.matches(again.web.session_secret.reveal()));
        assert_eq!(first.web.session_secret.reveal().len(), 64);
        assert!(!first.web.session_secret.matches(first.broker.bridge_secret.reveal()));
        assert_eq!(fs::metadata(data.join(FILE)).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "drafts are removed");
    }

    #[test]
    fn processes_that_start_together_get_the_same_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(8);
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        filled(folder.path(), Role::Broker).broker.bridge_secret.reveal().to_owned()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn set_secrets_are_left_alone_and_need_no_folder() {
        let mut settings = Settings::for_tests();
        settings.data.dir = PathBuf::from("/nonexistent/data");
        fill_in(&mut settings, Role::Daemon).unwrap();
        assert!(settings.broker.bridge_secret.matches(Settings::for_tests().broker.bridge_secret.reveal()));
        settings.broker.bridge_secret = Secret::new("");
        settings.web.session_secret = Secret::new("");
        fill_in(&mut settings, Role::Client).unwrap();
    }

    #[test]
    fn exposed_or_damaged_file_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        filled(folder.path(), Role::Daemon);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_or_make(folder.path()), Err(SecretsError::Exposed { .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "{\"bridge_secret\":\"short\",\"session_secret\":\"\"}").unwrap();
        assert!(matches!(read_or_make(folder.path()), Err(SecretsError::Damaged { .. })));
    }
}
