//! The folder that holds the files of one certificate authority.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use common::files;
use rustix::fs::{FlockOperation, flock};

use super::schedule::Failure;
use crate::{
    certificate::{Facts, Identity},
    error::TlsError,
    file,
    resolver::challenge_file,
};

/// The file of the last failure.
const FAILURE: &str = "failure.json";

/// The paths of the files that belong to one certificate authority.
#[derive(Clone, Debug)]
pub struct AuthorityFolder {
    /// The folder.
    pub folder: PathBuf,
    /// The account file.
    pub account: PathBuf,
    /// The file with the certificate chain and its private key.
    pub certificate: PathBuf,
}

impl AuthorityFolder {
    /// The folder for the ACME directory at `directory_url`, inside the data folder.
    pub fn new(data_dir: &Path, directory_url: &str) -> Self {
        let host = directory_url.strip_prefix("https://").unwrap_or(directory_url);
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
        // Two directories of one host (staging, production) are two authorities.
        let name: String = host.trim_start_matches('.').chars().map(plain).collect();
        let folder = data_dir.join("acme").join(name);
        Self { account: folder.join("account.json"), certificate: folder.join("certificate.pem"), folder }
    }

    /// Makes the folder.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn make(&self) -> Result<(), TlsError> {
        files::make_folder(&self.folder).map_err(|source| TlsError::Unwritable { path: self.folder.clone(), source })
    }

    /// Facts about the stored certificate; `None` if there is no usable certificate.
    pub fn facts(&self) -> Option<Facts> {
        Identity::read(&self.certificate, &self.certificate).ok().map(|identity| identity.facts)
    }

    /// The lock for ordering, held until dropped; `None` if another process holds it.
    ///
    /// # Errors
    /// The file of the lock cannot be opened.
    pub fn lock(&self) -> Result<Option<File>, TlsError> {
        let path = self.folder.join("lock");
        let failed = |source: io::Error| TlsError::Unwritable { path: path.clone(), source };
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = opened.map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The stored failure of the last order for these names.
    pub(super) fn failure(&self, domains: &[String]) -> Option<Failure> {
        let content = fs::read(self.folder.join(FAILURE)).ok()?;
        serde_json::from_slice(&content).ok().filter(|failure: &Failure| failure.domains == domains)
    }

    /// Stores a failure; `None` deletes the stored one.
    pub(super) fn keep_failure(&self, failure: Option<&Failure>) -> Result<(), TlsError> {
        let path = self.folder.join(FAILURE);
        match failure.and_then(|failure| serde_json::to_vec(failure).ok()) {
            Some(content) => file::replace(&path, &content),
            None => match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => Err(TlsError::Unwritable { path, source }),
                _ => Ok(()),
            },
        }
    }

    /// Writes a challenge response to the file that listeners read.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_challenge(&self, domain: &str, pem: &str) -> Result<(), TlsError> {
        let path = challenge_file(&self.folder, domain);
        let path = path.ok_or_else(|| TlsError::Config(format!("{domain} is no DNS name")))?;
        file::replace(&path, pem.as_bytes())
    }

    /// Removes the challenge responses for these names.
    pub fn remove_challenges(&self, domains: &[String]) {
        for path in domains.iter().filter_map(|domain| challenge_file(&self.folder, domain)) {
            // Most were never put there.
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_directory_has_a_folder_inside_the_data_folder() {
        let folder = |url: &str| AuthorityFolder::new(Path::new("/d"), url).folder;
        assert_eq!(folder("https://ca.example/directory"), Path::new("/d/acme/ca.example-directory"));
        assert_eq!(folder("https://127.0.0.1:14000/dir"), Path::new("/d/acme/127.0.0.1-14000-dir"));
        assert_eq!(folder("https://../../x"), Path::new("/d/acme/-..-x"));
    }

    #[test]
    fn only_one_process_orders_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let place = AuthorityFolder::new(dir.path(), "https://ca.example/");
        place.make().expect("made");
        let first = place.lock().expect("a lock");
        assert!(first.is_some());
        assert!(place.lock().expect("asked").is_none());
        drop(first);
        assert!(place.lock().expect("asked").is_some());
    }
}
