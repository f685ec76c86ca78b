//! Revocations on the disk: all that are in force, in one SQLite database, readable by its owner
//! only.
//!
//! [`super::Revocations`] keeps the newest in memory and asks here about the rest, so their number
//! has no bound. They are written in batches. A batch counts as written once it is on the disk.
//! Expired ones are removed with later batches. The file is created with the first revocation.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use common::{files, id::SessionId, timestamp::unix_seconds};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, Row, params};

use super::entry::{Entry, Revocation};

/// Revocations in one transaction.
const BATCH: usize = 10_000;
/// Expired ones that each transaction removes.
const FORGOTTEN_AT_ONCE: u32 = 20_000;
/// How long to wait for a transaction of a process that is ending.
const PATIENCE: Duration = Duration::from_secs(5);
/// The file extension of earlier versions, which kept a JSON object per line.
const OLDER: &str = "jsonl";

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS revoked (
        session BLOB NOT NULL, user INTEGER NOT NULL,
        least INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (session, user)
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS revoked_by_number ON revoked (number);
    CREATE INDEX IF NOT EXISTS revoked_by_until ON revoked (until);
";

/// See the module. Shared by all threads.
#[derive(Debug)]
pub struct RevocationStore {
    path: PathBuf,
    writer: Mutex<Option<Connection>>,
    /// A connection of its own, so that nobody waits for a write to find out that somebody is not
    /// revoked.
    reader: Mutex<Option<Connection>>,
}

impl RevocationStore {
    /// Opens the revocations in this file, and imports what an earlier version left beside it.
    ///
    /// # Errors
    /// The file exists and cannot be read. Without it, ended sessions would be valid again.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let store = Self { path, writer: Mutex::default(), reader: Mutex::default() };
        let older = store.path.with_extension(OLDER);
        if let Some(found) = read_older(&older)? {
            let numbered: Vec<_> = (1..).zip(found).collect();
            write(store.opened(&store.writer)?.as_mut(), &numbered)?;
            fs::remove_file(older)?;
        }
        if store.path.exists() {
            drop(store.opened(&store.reader)?);
        }
        Ok(store)
    }

    fn opened<'a>(&self, kept: &'a Mutex<Option<Connection>>) -> io::Result<MutexGuard<'a, Option<Connection>>> {
        let mut connection = kept.lock();
        if connection.is_none() {
            files::make_folder(self.path.parent().unwrap_or(Path::new(".")))?;
            drop(files::create_private(&self.path)?);
            let opened = Connection::open(&self.path).map_err(io::Error::other)?;
            opened.busy_timeout(PATIENCE).map_err(io::Error::other)?;
            opened.execute_batch(SCHEMA).map_err(io::Error::other)?;
            *connection = Some(opened);
        }
        Ok(connection)
    }

    /// Queries the database. `None` if there is none yet.
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> io::Result<Option<T>> {
        if !self.path.exists() {
            return Ok(None);
        }
        let connection = self.opened(&self.reader)?;
        connection.as_ref().map(ask).transpose().map_err(io::Error::other)
    }

    /// The entries of a session: those from before it had a user, and those from after.
    pub(super) fn look_up(&self, session: SessionId) -> io::Result<[Option<Entry>; 2]> {
        let found = self.ask(|connection| {
            let mut rows = connection.prepare_cached("SELECT user, least, at, until, number FROM revoked WHERE session = ?1")?;
            let mut rows = rows.query([session.as_bytes().as_slice()])?;
            let mut found = [None, None];
            while let Some(row) = rows.next()? {
                let place = usize::from(row.get::<_, bool>(0)?);
                if let Some(entry) = found.get_mut(place) {
                    *entry = Some(Entry::read(row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
                }
            }
            Ok(found)
        });
        Ok(found?.unwrap_or_default())
    }

    /// What changed after the change of this number: the first `most`, in order.
    pub(super) fn since(&self, number: u64, most: usize) -> io::Result<Vec<(u64, Revocation)>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.all("WHERE number > ?1 ORDER BY number LIMIT ?2", number, most)
    }

    /// The newest `most` of users' or of anonymous sessions, in any order.
    pub(super) fn newest(&self, user: bool, most: usize) -> io::Result<Vec<(u64, Revocation)>> {
        self.all("WHERE user = ?1 ORDER BY number DESC LIMIT ?2", u64::from(user), i64::try_from(most).unwrap_or(i64::MAX))
    }

    fn all(&self, which: &str, first: u64, most: i64) -> io::Result<Vec<(u64, Revocation)>> {
        let found = self.ask(|connection| {
            let mut rows =
                connection.prepare_cached(&format!("SELECT user, least, at, until, number, session FROM revoked {which}"))?;
            rows.query_map(params![first, most], revocation)?.collect()
        });
        Ok(found?.unwrap_or_default())
    }

    /// How many there are, and the greatest number.
    pub(super) fn extent(&self) -> io::Result<(usize, u64)> {
        let of = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found = self.ask(|connection| connection.query_row("SELECT count(*), coalesce(max(number), 0) FROM revoked", [], of));
        Ok(found?.unwrap_or_default())
    }

    /// Writes batches down, and waits for the disk: what `next` gives, until it gives nothing.
    /// `on_written` hears the number of the last change of each batch. Nobody else writes
    /// meanwhile.
    pub(super) fn write_batches(
        &self,
        next: impl Fn(usize) -> Vec<(u64, Revocation)>,
        on_written: impl Fn(u64),
    ) -> io::Result<()> {
        let mut writer = self.opened(&self.writer)?;
        loop {
            let changes = next(BATCH);
            let Some((upto, _)) = changes.last() else { return Ok(()) };
            write(writer.as_mut(), &changes)?;
            on_written(*upto);
        }
    }
}

fn write(connection: Option<&mut Connection>, changes: &[(u64, Revocation)]) -> io::Result<()> {
    let write = |connection: &mut Connection| {
        let transaction = connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO revoked (session, user, least, at, until, number) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (session, user) DO UPDATE SET least = max(least, excluded.least), at = max(at, excluded.at),
                     until = max(until, excluded.until), number = max(number, excluded.number)",
            )?;
            for (number, revocation) in changes {
                let Revocation { session, least, at, until, user } = revocation;
                let least = least.map_or(i64::MAX, |least| i64::try_from(least).unwrap_or(i64::MAX));
                insert.execute(params![session.as_bytes().as_slice(), user, least, at, until, number])?;
            }
            let mut forget = transaction.prepare_cached(
                "DELETE FROM revoked WHERE (session, user) IN (SELECT session, user FROM revoked WHERE until < ?1 LIMIT ?2)",
            )?;
            forget.execute(params![unix_seconds(SystemTime::now()), FORGOTTEN_AT_ONCE])?;
        }
        transaction.commit()
    };
    connection.map_or(Ok(()), write).map_err(io::Error::other)
}

fn revocation(row: &Row<'_>) -> rusqlite::Result<(u64, Revocation)> {
    let entry = Entry::read(row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
    let session: [u8; 16] = row.get(5)?;
    let session = SessionId::from(uuid::Uuid::from_bytes(session));
    Ok((entry.number(), entry.told(session, row.get(0)?)))
}

/// The revocations of an earlier version. Lines that cannot be read (the last line of a killed
/// process) are skipped.
fn read_older(path: &Path) -> io::Result<Option<Vec<Revocation>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        found.extend(serde_json::from_slice::<Revocation>(&line?).ok());
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn files_of_an_earlier_version_are_imported_and_only_the_owner_can_read_them() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("data/revoked.db");
        drop(RevocationStore::open(path.clone()).expect("opens"));
        assert!(!path.exists(), "nothing was revoked");
        let session = SessionId::fresh();
        let lines = format!("\n{{\"session\":\"{session}\",\"least\":3,\"at\":1,\"until\":9999999999}}\n{{\"session\":\"cut o");
        files::make_folder(path.parent().expect("a folder")).expect("made");
        fs::write(path.with_extension(OLDER), lines).expect("written");
        let store = RevocationStore::open(path.clone()).expect("opens");
        let known = store.look_up(session).expect("reads")[0].map(|entry| entry.told(session, false));
        assert_eq!(known, Some(Revocation { session, least: Some(3), at: 1, until: 9_999_999_999, user: false }));
        for file in fs::read_dir(path.parent().expect("a folder")).expect("reads") {
            let file = file.expect("a file");
            assert_eq!(file.metadata().expect("there").mode() & 0o777, 0o600, "{:?}", file.path());
            assert_ne!(file.path(), path.with_extension(OLDER));
        }
        drop(store);
        fs::write(&path, vec![b'x'; 5000]).expect("written");
        assert!(RevocationStore::open(path).is_err(), "sessions that were ended would be good again");
    }
}
