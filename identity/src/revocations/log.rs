//! Revocations on the disk: one JSON object per line, appended when something is revoked, read at the start.
//!
//! Readable by its owner only. Not larger than a few times what the table holds: written anew when it has grown beyond that.
//! A line that cannot be read (the last one of a process that was killed) is passed over.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use common::files;
use parking_lot::Mutex;

use super::table::{CAPACITY, Revocation};

/// Lines after which the file is written anew.
const MAX_LINES: usize = 4 * CAPACITY;

/// See the module.
#[derive(Debug)]
pub struct RevocationLog {
    path: PathBuf,
    /// Lines in the file. Held while it is written.
    lines: Mutex<usize>,
}

impl RevocationLog {
    /// The log in this file; nothing is made before the first revocation.
    pub fn at(path: PathBuf) -> Self {
        Self { path, lines: Mutex::new(0) }
    }

    /// What was written down before.
    ///
    /// # Errors
    /// The file is there and cannot be read: sessions that were ended would be good again.
    pub fn read(&self) -> io::Result<Vec<Revocation>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        let mut lines = self.lines.lock();
        for line in BufReader::new(file).split(b'\n') {
            *lines += 1;
            found.extend(serde_json::from_slice::<Revocation>(&line?).ok());
        }
        Ok(found)
    }

    /// Writes revocations down and waits for the disk. `everything` says what there is, for when the file is written anew.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn append(&self, revocations: &[Revocation], everything: impl FnOnce() -> Vec<Revocation>) -> io::Result<()> {
        let mut lines = self.lines.lock();
        if *lines + revocations.len() > MAX_LINES {
            let all = everything();
            files::replace(&self.path, &text(&all)?)?;
            *lines = all.len();
            return Ok(());
        }
        let folder = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        files::make_folder(folder)?;
        let is_new = !self.path.exists();
        let mut file = OpenOptions::new().create(true).mode(0o600).append(true).open(&self.path)?;
        file.write_all(&text(revocations)?)?;
        file.sync_data()?;
        if is_new {
            files::sync_folder(folder)?;
        }
        *lines += revocations.len();
        Ok(())
    }
}

/// A line for each. One that was cut off by a kill must not swallow the next: the text begins on a line of its own.
fn text(revocations: &[Revocation]) -> io::Result<Vec<u8>> {
    let mut text = vec![b'\n'];
    for revocation in revocations {
        serde_json::to_writer(&mut text, revocation)?;
        text.push(b'\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use common::id::SessionId;

    use super::*;

    const FILE: &str = "revoked.jsonl";

    #[test]
    fn what_was_written_is_read_again_whatever_a_kill_left() {
        let folder = tempfile::tempdir().expect("temp dir");
        let data = folder.path().join("data");
        let log = RevocationLog::at(data.join(FILE));
        assert!(log.read().expect("nothing yet").is_empty());
        let revoked = |least| Revocation::Session { session: SessionId::fresh(), least, at: 1, until: 2, user: false };
        let (first, second, all) = (revoked(None), revoked(Some(3)), Revocation::Everything { all_until: 9, user: true });
        log.append(&[first], Vec::new).expect("writes");
        let mut file = OpenOptions::new().append(true).open(data.join(FILE)).expect("there");
        file.write_all(b"{\"session\":\"cut o").expect("writes");
        log.append(&[second, all], Vec::new).expect("writes");
        assert_eq!(RevocationLog::at(data.join(FILE)).read().expect("reads"), [first, second, all]);
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(data.join(FILE)).expect("there"));
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_log_that_has_grown_is_written_anew() {
        let folder = tempfile::tempdir().expect("temp dir");
        let log = RevocationLog::at(folder.path().join(FILE));
        let all = Revocation::Everything { all_until: 9, user: true };
        log.append(&[all, all], Vec::new).expect("writes");
        *log.lines.lock() = MAX_LINES;
        log.append(&[all], || vec![all]).expect("writes");
        assert_eq!(log.read().expect("reads"), [all]);
    }
}
