//! The thread that writes: takes what waits, makes one transaction of it, commits, answers.
//!
//! While a commit waits for the disk, the next batch gathers by itself, without a timer. If commits
//! do not wait for the disk, the queue lets other threads run once. The thread owns the only
//! connection that writes, and the lock of the directory. After a fault it tries again with every
//! batch, and once a second without one, so that service resumes by itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rusqlite::{Connection, config::DbConfig};
use tokio::sync::oneshot;

use super::{
    answer::Answer,
    checkpoint::Checkpoints,
    file,
    lock::DirectoryLock,
    presence::Presence,
    tx::{Totals, Tx, WriterState},
};
use crate::{
    embedded_options::Durability,
    error::StoreError,
    health::StoreHealth,
    options::StoreOptions,
    write_queue::{Taken, WriteQueue},
};

/// Bytes of frames in one commit, approximately.
const BATCH_BYTES: usize = 8 << 20;
/// The same if there is hardly any room.
const LEAST_BATCH: usize = 64 << 10;
/// How often to test whether a fault is over.
const PROBE: Duration = Duration::from_secs(1);
/// How often files and sizes are checked when nothing happens.
const IDLE: Duration = Duration::from_secs(1);
/// The part of the disk's room that one commit takes at most, approximately.
const PART_OF_ROOM: u64 = 16;
/// Bytes written to test whether there is space again.
const PROBE_BYTES: u32 = 64 * 1024;

/// One write in line.
pub(super) trait Job: Send {
    /// Executes it. An error is a fault of the store that ends the batch; a refusal is the job's
    /// own answer.
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError>;
    /// Gives its answer, after the commit or with the error that ended the batch. Its caller is
    /// woken when the job is dropped.
    fn finish(&mut self, batch: Result<(), StoreError>);
    /// Whether it must be on the disk, whatever the durability is.
    fn must_sync(&self) -> bool;
}

/// A write that answers with a value.
pub(super) struct Write<T, F> {
    pub(super) run: F,
    pub(super) outcome: Option<Result<T, StoreError>>,
    pub(super) answer: Answer<T>,
    pub(super) must_sync: bool,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        match (self.run)(tx) {
            Err(fault) if fault.is_fault() => Err(fault),
            outcome => {
                self.outcome = Some(outcome);
                Ok(())
            }
        }
    }

    fn finish(&mut self, batch: Result<(), StoreError>) {
        self.answer.give(batch.and_then(|()| self.outcome.take().unwrap_or(Err(StoreError::Closed))));
    }

    fn must_sync(&self) -> bool {
        self.must_sync
    }
}

pub(super) type Line = WriteQueue<Box<dyn Job>>;

/// The writer's published state.
#[derive(Default)]
pub(super) struct Gauge {
    pub(super) health: Mutex<StoreHealth>,
    pub(super) when_closed: Mutex<Vec<oneshot::Sender<()>>>,
}

impl Gauge {
    /// Publishes the writer's counters.
    pub(super) fn count(health: &mut StoreHealth, totals: &Totals) {
        health.appended = totals.appended;
        health.duplicates = totals.duplicates;
        health.channels = totals.channels;
        health.records = totals.records;
        health.bytes = totals.bytes;
    }
}

/// The writer, before its thread runs.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) state: WriterState,
    pub(super) options: Arc<StoreOptions>,
    pub(super) line: Arc<Line>,
    pub(super) gauge: Arc<Gauge>,
    pub(super) database: PathBuf,
    pub(super) checkpoints: Checkpoints,
    pub(super) presence: Presence,
    /// Threads whose connections must be closed before the writer's, which then tidies up the file.
    pub(super) readers: Vec<JoinHandle<()>>,
    pub(super) lock: DirectoryLock,
}

/// Answers everybody when the thread ends, also by a panic: half a store is worse than none.
struct End {
    line: Arc<Line>,
    gauge: Arc<Gauge>,
    lock: Option<DirectoryLock>,
}

impl Drop for End {
    fn drop(&mut self) {
        // All who wait are told that it is closed.
        drop(self.line.abandon());
        // A caller that hears that it is closed may open it again.
        self.lock.take();
        self.gauge.health.lock().closed = true;
        self.gauge.when_closed.lock().drain(..).for_each(|waiting| {
            let _ = waiting.send(());
        });
    }
}

/// The outcome of a batch.
struct Committed {
    took: Duration,
}

impl Writer {
    /// Runs until the line is closed and empty.
    pub(super) fn run(self) {
        let Self { conn, state, options, line, gauge, database, checkpoints, presence, readers, lock } = self;
        let _end = End { line: Arc::clone(&line), gauge: Arc::clone(&gauge), lock: Some(lock) };
        let mut batches = Batches {
            conn,
            state,
            options,
            gauge,
            database,
            checkpoints,
            presence,
            gone: None,
            batch_bytes: BATCH_BYTES,
            measured: None,
        };
        batches.measure(true);
        loop {
            let faulty = batches.gauge.health.lock().fault.is_some();
            match line.take(batches.options.batch_writes, batches.batch_bytes, if faulty { PROBE } else { IDLE }) {
                Taken::Jobs(jobs) => batches.write(jobs),
                Taken::Nothing => {
                    batches.look_for_files();
                    if faulty {
                        batches.probe();
                    }
                    batches.measure(true);
                }
                Taken::Closed => break,
            }
        }
        for reader in readers {
            if reader.join().is_err() {
                tracing::error!("a thread that reads the store has panicked");
            }
        }
        batches.look_for_files();
        if batches.gone.is_some() {
            return;
        }
        if let Err(error) = file::end_run(&batches.conn) {
            tracing::warn!(%error, "the store could not record that it was closed");
        }
    }
}

/// The writer at work.
struct Batches {
    conn: Connection,
    state: WriterState,
    options: Arc<StoreOptions>,
    gauge: Arc<Gauge>,
    database: PathBuf,
    checkpoints: Checkpoints,
    presence: Presence,
    /// Set if the files in use are not those that the next start will find.
    gone: Option<StoreError>,
    batch_bytes: usize,
    measured: Option<Instant>,
}

impl Batches {
    fn write(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if self.gone.is_some() {
            self.look_for_files();
        }
        let refusal = self.gone.clone().or_else(|| self.state.damage.of_all());
        let outcome = match refusal {
            Some(refusal) => Err(refusal),
            // Nothing is confirmed that is in a file which nobody will find.
            None => self.attempt(&mut jobs).and_then(|committed| self.check_files().map(|()| committed)),
        };
        match outcome {
            // A bug in one job or damage in one channel, not a fault of the disk: the others must
            // not suffer from it.
            Err(StoreError::Internal(_) | StoreError::Corrupt(_)) if jobs.len() > 1 && !self.is_refusing() => {
                for job in jobs {
                    self.write(vec![job]);
                }
            }
            outcome => {
                let outcome = self.confine(outcome);
                self.note(&outcome);
                let answer = outcome.map(|_| ());
                jobs.iter_mut().for_each(|job| job.finish(answer.clone()));
                drop(jobs);
                match answer {
                    Ok(()) => self.see_to_the_log(),
                    Err(StoreError::DiskFull) => self.make_room(),
                    Err(_) => {}
                }
            }
        }
        self.measure(false);
    }

    fn is_refusing(&self) -> bool {
        self.gone.is_some() || self.state.damage.of_all().is_some()
    }

    /// Attributes damage to the channel that a write was for. If the channel is not known, the
    /// store refuses all further writes.
    fn confine<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        let suspect = self.state.suspect.take();
        self.state.damage.note_in(suspect.as_ref(), outcome)
    }

    /// Whether the files still exist, according to the last check.
    fn check_files(&mut self) -> Result<(), StoreError> {
        let Some(path) = self.presence.missing() else { return Ok(()) };
        let gone = StoreError::Gone(path.to_owned());
        self.lose(gone.clone());
        Err(gone)
    }

    /// Checks whether the files still exist, or exist again.
    fn look_for_files(&mut self) {
        match (self.presence.missing_now().map(Path::to_owned), &self.gone) {
            (Some(path), None) => {
                let gone = StoreError::Gone(path);
                self.note(&Err(gone.clone()));
                self.lose(gone);
            }
            (None, Some(_)) => {
                self.gone = None;
                self.keep_names(false);
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    fn lose(&mut self, gone: StoreError) {
        tracing::error!(error = %gone, "the store no longer stores anything");
        self.gone = Some(gone);
        self.keep_names(true);
    }

    /// Sets whether closing leaves alone what has the name of the write-ahead log: it may be
    /// another store's.
    fn keep_names(&self, keep: bool) {
        if let Err(error) = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep) {
            tracing::error!(%error, "SQLite refused the option that keeps the log at close");
        }
    }

    /// The disk is full: the log gives back what it can.
    fn make_room(&mut self) {
        if let Err(error) = self.checkpoints.copy_all(&self.conn) {
            tracing::debug!(%error, "the store's log could not be copied into its file");
        }
        self.measure(true);
    }

    /// One transaction.
    fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<Committed, StoreError> {
        let begun = Instant::now();
        let sync_now = self.options.embedded.durability != Durability::Fsync && jobs.iter().any(|job| job.must_sync());
        if sync_now {
            file::set_synchronous(&self.conn, true)?;
        }
        self.state.begin();
        let outcome = self.in_transaction(jobs);
        match &outcome {
            Ok(()) => self.state.commit(),
            Err(error) => {
                tracing::error!(%error, jobs = jobs.len(), "a batch of the store failed");
                // Some faults have already ended the transaction.
                if !self.conn.is_autocommit()
                    && let Err(error) = self.conn.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "a batch of the store could not be rolled back");
                }
                self.state.roll_back();
            }
        }
        if sync_now {
            file::set_synchronous(&self.conn, false)?;
        }
        outcome.map(|()| Committed { took: begun.elapsed() })
    }

    fn in_transaction(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut tx = Tx { conn: &self.conn, state: &mut self.state, options: &self.options };
        tx.begin_fresh()?;
        for job in jobs {
            job.run(&mut tx)?;
        }
        tx.flush()?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Everybody has been answered already: what is copied here is on the disk.
    fn see_to_the_log(&mut self) {
        let Some(done) = self.checkpoints.after_commit(&self.conn) else { return };
        let fault = done.err();
        if let Some(error) = &fault {
            tracing::error!(%error, "the store's log could not be copied into its file");
        }
        self.gauge.health.lock().checkpoint_fault = fault;
        // So that a small disk is checked often enough.
        self.measure(true);
    }

    /// Writes something to test whether writing is possible again.
    fn probe(&mut self) {
        if self.is_refusing() {
            return;
        }
        let outcome = (|| {
            let begun = Instant::now();
            self.conn.execute_batch("BEGIN IMMEDIATE")?;
            let written = self
                .conn
                .execute("INSERT INTO meta (name, value) VALUES ('probe', zeroblob(?1))", [PROBE_BYTES])
                .and_then(|_| self.conn.execute("DELETE FROM meta WHERE name = 'probe'", []))
                .and_then(|_| self.conn.execute_batch("COMMIT"));
            if !self.conn.is_autocommit() {
                self.conn.execute_batch("ROLLBACK")?;
            }
            written?;
            Ok(Committed { took: begun.elapsed() })
        })();
        self.note(&outcome);
    }

    fn note(&self, outcome: &Result<Committed, StoreError>) {
        let mut health = self.gauge.health.lock();
        match outcome {
            Ok(committed) => {
                if let Some(fault) = health.fault.take() {
                    tracing::info!(after = fault.label(), "the store can be written again");
                }
                health.commits += 1;
                health.last_commit_us = u64::try_from(committed.took.as_micros()).unwrap_or(u64::MAX);
                health.longest_commit_us = health.longest_commit_us.max(health.last_commit_us);
            }
            Err(StoreError::Internal(_) | StoreError::Damaged { .. }) => {}
            Err(fault) => health.fault = Some(fault.clone()),
        }
        Gauge::count(&mut health, &self.state.totals);
    }

    /// Adapts to the room: of the log and the file to grow, and free on the disk. A disk whose size
    /// is unknown does not count as full.
    fn fit(&mut self, room: u64, disk_free: u64) {
        if let Err(error) = self.checkpoints.fit(&self.conn, room) {
            tracing::debug!(%error, "the store's log could not be made to fit its disk");
        }
        let part = room / PART_OF_ROOM;
        self.batch_bytes = usize::try_from(part).map_or(BATCH_BYTES, |part| part.clamp(LEAST_BATCH, BATCH_BYTES));
        self.state.fit(part);
        // Free pages in the file are as good as free space on the disk.
        let free_pages =
            self.conn.prepare_cached("PRAGMA freelist_count").and_then(|mut count| count.query_row([], |row| row.get(0)));
        let usable = disk_free.saturating_add(free_pages.unwrap_or(0_u64).saturating_mul(file::PAGE));
        self.state.owners.ledger.measured(usable);
        self.state.leftovers.note_disk(usable, self.options.disk_reserve);
    }

    /// Measures the sizes of the files, once a second at most unless `now`.
    fn measure(&mut self, now: bool) {
        if !now && self.measured.is_some_and(|at| at.elapsed() < PROBE) {
            return;
        }
        self.measured = Some(Instant::now());
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        let file_bytes = size(self.database.clone());
        let wal_bytes = size(file::beside(&self.database, "-wal"));
        let disk_free = rustix::fs::statvfs(&self.database).map(|found| found.f_bavail.saturating_mul(found.f_frsize));
        self.fit(disk_free.map_or(u64::MAX, |free| free.saturating_add(wal_bytes)), disk_free.unwrap_or(u64::MAX));
        let mut health = self.gauge.health.lock();
        health.file_bytes = file_bytes;
        health.wal_bytes = wal_bytes;
        health.disk_free_bytes = disk_free.unwrap_or(0);
    }
}
