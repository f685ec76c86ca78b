//! Keeps the write-ahead log short, between the writer's commits.
//!
//! A checkpoint copies pages from the log into the database. The next commit starts the log again
//! from its beginning on two conditions. First, the copy reached the log's end, which between
//! commits it does unless a reader uses an older state. Second, no reader uses the log at that
//! moment. Under steady reading this can fail again and again; then the writer waits a moment for
//! the readers.
//!
//! A thread that copies beside a busy writer never reaches the end, so it would need the writer's
//! help all the same. Portions are large, because each begins with a sync of the log.

use std::time::Duration;

use rusqlite::Connection;

use super::{
    file::{self, PAGE},
    sync_ahead::SyncAhead,
};
use crate::error::StoreError;

/// Bytes of log after which the disk should start to write them.
const AHEAD: u64 = 1 << 20;
/// A log so many times longer than a portion is too long: the writer waits for readers.
const LONG: u64 = 4;
/// How long the writer waits for them. Reads take less; a backup takes longer, and the log grows as
/// long as it lasts.
const PATIENCE: Duration = Duration::from_millis(100);

/// The part of the disk's room that is copied at once; the log may be [`LONG`] times as long.
const PART_OF_ROOM: u64 = 16;
/// Pages copied at once if there is hardly any room.
const LEAST: u64 = 8;

/// Decides when to do what with the log.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Pages that are copied at once if the disk is large.
    wanted: u64,
    /// The number of uncopied pages from which on copying is worthwhile.
    portion: u64,
    /// Pages that could not be copied at the last attempt.
    left: u64,
    /// Pages in the log when the writer last waited for readers.
    waited_at: u64,
    ahead: Option<SyncAhead>,
    /// Pages in the log when the thread was last asked to sync them.
    asked_at: u64,
}

/// The length of the log, in pages.
struct Log {
    pages: u64,
    left: u64,
}

impl Checkpoints {
    /// `bytes` of log are copied at once, or less if the disk is small. `ahead` syncs the log
    /// early, if commits do not.
    pub(super) fn new(bytes: u64, ahead: Option<SyncAhead>) -> Self {
        let wanted = (bytes / PAGE).max(1);
        Self { wanted, portion: wanted, left: 0, waited_at: 0, ahead, asked_at: 0 }
    }

    /// Keeps the log short enough for a disk on which it and the database can grow by so many
    /// bytes.
    pub(super) fn fit(&mut self, conn: &Connection, room: u64) -> Result<(), StoreError> {
        let portion = self.wanted.min((room / PAGE / PART_OF_ROOM).max(LEAST.min(self.wanted)));
        // Small changes are ignored.
        if portion == self.portion || (portion < self.wanted && portion.abs_diff(self.portion) < self.portion / 8) {
            return Ok(());
        }
        self.portion = portion;
        self.limit_file(conn)
    }

    /// What is left of the log's file when it starts again.
    pub(super) fn limit_file(&self, conn: &Connection) -> Result<(), StoreError> {
        let kept = 2 * self.portion * PAGE;
        conn.query_row(&format!("PRAGMA journal_size_limit = {kept}"), [], |_| Ok(()))?;
        Ok(())
    }

    /// Takes care of the log after a commit. `None` if nothing was to be done.
    pub(super) fn after_commit(&mut self, conn: &Connection) -> Option<Result<(), StoreError>> {
        let log = match checkpoint(conn, "PRAGMA wal_checkpoint(NOOP)") {
            Ok(log) => log,
            Err(error) => return Some(Err(error)),
        };
        if log.pages < self.waited_at {
            // It has started again.
            self.waited_at = 0;
        }
        let waits = log.pages >= self.waited_at + LONG * self.portion;
        if log.left < self.left + self.portion && !waits {
            self.sync_ahead(log.pages);
            return None;
        }
        let done = if waits { wait_for_readers(conn) } else { checkpoint(conn, "PRAGMA wal_checkpoint(PASSIVE)") };
        // What could not be done is not tried again at every commit.
        self.left = done.as_ref().map_or(log.left, |log| log.left);
        if waits {
            self.waited_at = log.pages;
        }
        Some(done.map(|_| ()))
    }

    /// Copies everything that can be copied, and lets the log start again if no reader is in the
    /// way.
    pub(super) fn copy_all(&mut self, conn: &Connection) -> Result<(), StoreError> {
        self.left = wait_for_readers(conn)?.left;
        Ok(())
    }
}

impl Checkpoints {
    fn sync_ahead(&mut self, pages: u64) {
        if let Some(ahead) = &self.ahead {
            // It has started again.
            self.asked_at = if pages < self.asked_at { 0 } else { self.asked_at };
            if pages - self.asked_at >= AHEAD / PAGE {
                self.asked_at = pages;
                ahead.ask();
            }
        }
    }
}

fn wait_for_readers(conn: &Connection) -> Result<Log, StoreError> {
    conn.busy_timeout(PATIENCE)?;
    let done = checkpoint(conn, "PRAGMA wal_checkpoint(RESTART)");
    conn.busy_timeout(file::BUSY_TIMEOUT)?;
    done
}

/// If readers keep it from the end, that is not an error.
fn checkpoint(conn: &Connection, pragma: &str) -> Result<Log, StoreError> {
    let (pages, copied) = conn.prepare_cached(pragma)?.query_row([], |row| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))?;
    let pages = u64::try_from(pages).unwrap_or(0);
    Ok(Log { pages, left: pages.saturating_sub(u64::try_from(copied).unwrap_or(0)) })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{
        embedded_options::{Durability, EmbeddedOptions},
        options::StoreOptions,
    };

    const PORTION: u64 = 100;

    /// A store's writer without its thread.
    struct Writer {
        dir: tempfile::TempDir,
        conn: Connection,
        checkpoints: Checkpoints,
        pages: u64,
    }

    impl Writer {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let options = StoreOptions { embedded: EmbeddedOptions::with(Durability::Process), ..StoreOptions::default() };
            let (conn, ..) = file::open_writer(dir.path(), &options).expect("opens");
            Self { dir, conn, checkpoints: Checkpoints::new(PORTION * PAGE, None), pages: 0 }
        }

        fn reader(&self) -> Connection {
            file::open_reader(&file::database_path(self.dir.path()), None).expect("opens")
        }

        /// Writes some ten pages.
        fn write(&self) {
            const ROW: &str = "INSERT INTO state (name, value) VALUES (hex(randomblob(8)), zeroblob(60000))";
            self.conn.execute(ROW, []).expect("a row");
        }

        /// Returns whether the log has started again with the last commit.
        fn see_to_the_log(&mut self) -> bool {
            self.checkpoints.after_commit(&self.conn).unwrap_or(Ok(())).expect("sees to it");
            let log = checkpoint(&self.conn, "PRAGMA wal_checkpoint(NOOP)").expect("a length");
            let before = std::mem::replace(&mut self.pages, log.pages);
            log.pages < before
        }

        fn commit(&mut self) -> bool {
            self.write();
            self.see_to_the_log()
        }
    }

    fn begin(reader: &Connection) {
        reader.execute_batch("BEGIN").expect("begins");
        let _: u64 = reader.query_row("SELECT count(*) FROM state", [], |row| row.get(0)).expect("a count");
    }

    #[test]
    fn the_log_begins_anew_although_the_writer_never_rests() {
        let mut writer = Writer::new();
        let (mut begun_anew, mut longest) = (0, 0);
        for _ in 0..200 {
            begun_anew += u32::from(writer.commit());
            longest = longest.max(writer.pages);
        }
        assert!(begun_anew >= 10, "some 2,000 pages were written, and the log began anew {begun_anew} times");
        assert!(longest < 2 * PORTION, "{longest}");
    }

    /// After each order, reads one state of the file until the other end of the order is dropped,
    /// for ten milliseconds at most.
    fn read_on_order(reader: &Connection, orders: &mpsc::Receiver<mpsc::Receiver<()>>, begun: &mpsc::Sender<()>) {
        while let Ok(order) = orders.recv() {
            begin(reader);
            begun.send(()).expect("the test waits");
            let _ = order.recv_timeout(Duration::from_millis(10));
            reader.execute_batch("COMMIT").expect("ends");
        }
    }

    #[test]
    fn the_log_is_reset_although_a_reader_is_always_active() {
        let mut writer = Writer::new();
        let (tell, begun) = mpsc::channel();
        let readers = [0, 1].map(|_| {
            let (order, orders) = mpsc::channel();
            let (reader, tell) = (writer.reader(), tell.clone());
            std::thread::spawn(move || read_on_order(&reader, &orders, &tell));
            order
        });
        let mut reading = None;
        let begun_anew = (0..200).any(|commit| {
            writer.write();
            // The next one begins before the former one ends.
            let (until, order) = mpsc::channel();
            readers[commit % 2].send(order).expect("the reader runs");
            begun.recv().expect("the reader runs");
            reading = Some(until);
            writer.see_to_the_log()
        });
        drop(reading);
        assert!(begun_anew, "the log has {} pages", writer.pages);
    }

    #[test]
    fn a_reader_that_stays_costs_length_but_does_not_stop_the_writer() {
        let mut writer = Writer::new();
        let reader = writer.reader();
        begin(&reader);
        for _ in 0..100 {
            assert!(!writer.commit());
        }
        assert!(writer.pages > 2 * LONG * PORTION, "{}", writer.pages);
        reader.execute_batch("COMMIT").expect("ends");
        assert!((0..100).any(|_| writer.commit()), "the log has {} pages", writer.pages);
    }
}
