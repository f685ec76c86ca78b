//! The store in one SQLite file.
//!
//! - [`file`]: the files, the epoch; [`lock`]: who may use them; [`presence`]: whether they still
//!   exist; [`schema`]: tables and versions.
//! - [`crate::write_queue`] → [`writer`] → [`answer`]: writes wait in line, one thread makes
//!   batches of them;
//!   [`tx`]: what a batch can do, with the operations in [`append`], [`inbox`], [`retention`],
//!   [`dead_letters`], [`keep`], [`positions`], [`audit_rows`]; [`channels`]: what the writer
//!   remembers; [`commits`] and [`fresh`]: indexes and counters that are written later.
//! - [`checkpoint`]: when the writer copies the write-ahead log into the database; [`sync_ahead`]:
//!   lets the disk begin earlier.
//! - [`readers`]: threads that read, with the queries in [`read`] and [`lookup`].
//! - [`damage`]: what was found that cannot be read; [`checked`]: which numbers can be right.
//! - [`operators`]: check, backup, restore, compact.
//!
//! Only opening and dropping run on a caller's thread.

mod answer;
mod append;
mod audit_rows;
mod channels;
mod checked;
mod checkpoint;
mod commits;
mod damage;
mod dead_letters;
mod error;
mod file;
mod fresh;
mod fresh_records;
mod inbox;
mod keep;
mod lock;
mod lookup;
pub mod operators;
mod owners;
mod positions;
mod presence;
mod read;
mod readers;
mod retention;
mod schema;
mod sync_ahead;
mod tx;
mod writer;

use std::{
    future::ready,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use bytes::Bytes;
use common::{audit::Entry, id::SessionId};
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

pub use self::file::{DATABASE, disk_free, disk_size};
use self::{
    answer::answer,
    checkpoint::Checkpoints,
    damage::Damage,
    file::database_path,
    lock::DirectoryLock,
    presence::Presence,
    read::LeftOut,
    readers::Readers,
    sync_ahead::SyncAhead,
    tx::{Tx, WriterState},
    writer::{Gauge, Line, Write, Writer},
};
use crate::{
    api::{Reply, Store, check_state_name},
    audit::{AuditQuery, AuditRow},
    channel::{ChannelFamily, ChannelName},
    dead::{DeadLettered, Death},
    embedded_options::Durability,
    error::StoreError,
    health::StoreHealth,
    inbox::{Ack, Delivered, Nack, Pending, PendingQuery, Trimmed},
    ledger::{Appending, Ledger, Room},
    options::StoreOptions,
    owner::{Owner, OwnerKey, Payer, Standing},
    position::Epoch,
    quota::{PositionsReport, UsageReport},
    record::{Appended, ChannelInfo, Limits, NewRecord, Page, ReadFrom, RecentId},
    session::{ConsumerId, Forgotten, Retained},
    write_queue::AtBound,
};

/// What a small write counts against the bound of waiting bytes.
const SMALL: usize = 64;

/// A store in one file.
///
/// Dropping it closes it, and waits for the writes in line.
pub struct EmbeddedStore {
    epoch: Epoch,
    ledger: Arc<Ledger>,
    damage: Arc<Damage>,
    line: Arc<Line>,
    readers: Readers,
    gauge: Arc<Gauge>,
    database: PathBuf,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, and creates both if necessary. Blocks as long as that takes:
    /// milliseconds, or seconds after a crash with much to recover.
    ///
    /// # Errors
    /// The options cannot work; the file cannot be opened, is damaged, in use, or of a newer
    /// release.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        options.check()?;
        let mut lock = DirectoryLock::take(dir)?;
        presence::refuse_emptied(dir, lock.path(), lock.had_store())?;
        let database = database_path(dir);
        lock.hold_database(&database)?;
        let (conn, epoch, new_epoch) = file::open_writer(dir, &options).map_err(|error| error.in_file(&database))?;
        let ledger = Arc::new(Ledger::new(&options));
        let damage = Arc::new(Damage::default());
        let state = WriterState::load(&conn, &options, Arc::clone(&ledger), Arc::clone(&damage))
            .map_err(|error| error.in_file(&database))?;
        lock.note_store();
        let presence = Presence::of(&database, lock.path()).map_err(|error| file::io_error(&error))?;
        let (readers, handles) =
            Readers::start(&database, options.embedded.vfs.as_deref(), options.embedded.readers, options.embedded.queue_reads)?;
        let line =
            Arc::new(Line::new(options.queue_writes, options.queue_bytes, options.embedded.durability != Durability::Fsync));
        let gauge = Arc::new(Gauge::default());
        gauge.health.lock().new_epoch = new_epoch;
        Gauge::count(&mut gauge.health.lock(), &state.totals);
        let ahead = match options.embedded.durability {
            Durability::Process => SyncAhead::start(&file::beside(&database, "-wal"))
                .inspect_err(|error| tracing::warn!(%error, "the store's log cannot be synced ahead of time"))
                .ok(),
            Durability::Fsync => None,
        };
        let checkpoints = Checkpoints::new(options.embedded.checkpoint_bytes, ahead);
        checkpoints.limit_file(&conn)?;
        let writer = Writer {
            conn,
            state,
            options: Arc::new(options),
            line: Arc::clone(&line),
            gauge: Arc::clone(&gauge),
            checkpoints,
            database: database.clone(),
            presence,
            readers: handles,
            lock,
        };
        let thread = std::thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| file::io_error(&error))?;
        Ok(Self { epoch, ledger, damage, line, readers, gauge, database, thread: Mutex::new(Some(thread)) })
    }

    /// The database's file.
    pub fn database(&self) -> &Path {
        &self.database
    }

    fn write<T, F>(&self, bytes: usize, at_bound: AtBound, run: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.put_in_line(bytes, at_bound, false, run)
    }

    /// Writes to one channel.
    fn write_of<T, F>(&self, channel: ChannelName, bytes: usize, mut run: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>, &ChannelName) -> Result<T, StoreError> + Send + 'static,
    {
        self.write(bytes, AtBound::Refused, move |tx| tx.within(&channel, |tx| run(tx, &channel)))
    }

    /// Reads a part of one channel. `look` reports to its argument what it had to leave out.
    fn read_of<T, F>(&self, channel: ChannelName, look: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &ChannelName, &mut LeftOut) -> Result<T, StoreError> + Send + 'static,
    {
        let damage = Arc::clone(&self.damage);
        self.readers.read(move |conn| {
            let mut left_out = LeftOut::default();
            let outcome = look(conn, &channel, &mut left_out);
            if let Some(what) = left_out.why() {
                damage.note(&channel, what);
            }
            damage.note_in(Some(&channel), outcome)
        })
    }

    /// Reads data that belongs to no channel.
    fn look_up<T, F>(&self, look: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let damage = Arc::clone(&self.damage);
        self.readers.read(move |conn| damage.note_in(None, look(conn)))
    }

    fn put_in_line<T, F>(&self, bytes: usize, at_bound: AtBound, must_sync: bool, run: F) -> Reply<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, asked) = answer();
        let pushed = self.line.push(Box::new(Write { run, outcome: None, answer, must_sync }), bytes, at_bound);
        Box::pin(async move {
            pushed?;
            asked.await
        })
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.line.close();
        self.readers.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the store has panicked");
        }
    }
}

impl Store for EmbeddedStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn health(&self) -> StoreHealth {
        let (queued_writes, queued_bytes) = self.line.waiting();
        let mut health = self.gauge.health.lock().clone();
        if let Some((worst, channels)) = self.damage.worst() {
            health.fault.get_or_insert(worst);
            health.damaged_channels = channels;
        }
        if let Err(short) = self.ledger.check_disk(Standing::Agent) {
            health.fault.get_or_insert(short);
        }
        StoreHealth { queued_writes: queued_writes as u64, queued_bytes: queued_bytes as u64, ..health }
    }

    fn reserve(&self, count: u32) -> Reply<Range<u64>> {
        self.put_in_line(SMALL, AtBound::Admitted, true, move |tx| tx.reserve(count))
    }

    fn owner(&self, key: &OwnerKey) -> Arc<Owner> {
        self.ledger.owner(key)
    }

    fn charge(&self, owner: Option<&Owner>, bytes: u64) -> Result<(), StoreError> {
        self.ledger.charge(owner, bytes)
    }

    fn release(&self, owner: Option<&Owner>, bytes: u64) {
        self.ledger.release(owner, bytes);
    }

    fn refuses(&self, channel: &ChannelName) -> Option<StoreError> {
        self.damage.of(channel)
    }

    fn usage(&self) -> UsageReport {
        self.ledger.report()
    }

    fn append(&self, records: Vec<NewRecord>) -> Reply<Vec<Appended>> {
        let bytes = records.iter().map(|record| record.frame.len() + SMALL).sum();
        let damaged = records.iter().find_map(|record| self.damage.of(&record.channel));
        match Appending::charge(&self.ledger, records) {
            // Its space is freed.
            Ok(_) if let Some(damaged) = damaged => Box::pin(ready(Err(damaged))),
            Ok(mut appending) => self.write(bytes, AtBound::Refused, move |tx| tx.append(&mut appending)),
            Err(refused) => Box::pin(ready(Err(refused))),
        }
    }

    fn recent_ids(&self) -> Reply<Vec<RecentId>> {
        self.write(SMALL, AtBound::Admitted, |tx| Ok(tx.state.dedup.recent()))
    }

    fn read(&self, channel: ChannelName, from: ReadFrom, limits: Limits) -> Reply<Page> {
        self.read_of(channel, move |conn, channel, left_out| read::read(conn, channel, from, limits, left_out))
    }

    fn channel(&self, channel: ChannelName) -> Reply<Option<ChannelInfo>> {
        self.read_of(channel, |conn, channel, _| read::channel(conn, channel))
    }

    fn channels(&self, family: Option<ChannelFamily>, after: Option<ChannelName>, limit: u32) -> Reply<Vec<ChannelInfo>> {
        self.look_up(move |conn| read::channels(conn, family, after.as_ref(), limit))
    }

    fn ack(&self, channel: ChannelName, ack: Ack) -> Reply<Vec<u64>> {
        self.write_of(channel, SMALL, move |tx, channel| tx.ack(channel, &ack))
    }

    fn nack(&self, channel: ChannelName, seq: u64, nack: Nack) -> Reply<Option<u32>> {
        self.write_of(channel, SMALL, move |tx, channel| tx.nack(channel, seq, &nack))
    }

    fn mark_delivered(&self, deliveries: Vec<Delivered>) -> Reply<()> {
        self.write(SMALL * deliveries.len(), AtBound::Refused, move |tx| tx.mark_delivered(&deliveries))
    }

    fn pending(&self, channel: ChannelName, query: PendingQuery) -> Reply<Vec<Pending>> {
        self.read_of(channel, move |conn, channel, left_out| read::pending(conn, channel, query, left_out))
    }

    fn dead_letter(&self, channel: ChannelName, seq: u64, death: Death) -> Reply<Option<DeadLettered>> {
        self.write_of(channel, SMALL, move |tx, channel| tx.bury(channel, seq, &death))
    }

    fn trim(&self, now: u64, limit: u32) -> Reply<Trimmed> {
        self.write(SMALL, AtBound::Admitted, move |tx| tx.trim(now, limit))
    }

    fn set_retained(&self, channel: ChannelName, value: Option<Retained>, owner: Option<Arc<Owner>>) -> Reply<()> {
        let mut room = Room::taken(&self.ledger, owner, value.as_ref());
        let bytes = value.as_ref().map_or(0, |value| value.frame.len()) + SMALL;
        self.write_of(channel, bytes, move |tx, channel| tx.set_retained(channel, value.as_ref(), &mut room))
    }

    fn retained(&self, channel: ChannelName) -> Reply<Option<Retained>> {
        self.read_of(channel, |conn, channel, _| lookup::retained(conn, channel))
    }

    fn save_cursors(
        &self,
        consumer: ConsumerId,
        cursors: Vec<(ChannelName, u64)>,
        payer: Option<Arc<Owner>>,
        now: u64,
    ) -> Reply<()> {
        let payer = payer.as_deref().map(Payer::of);
        self.write(SMALL * cursors.len(), AtBound::Refused, move |tx| tx.save_cursors(&consumer, &cursors, payer.as_ref(), now))
    }

    fn positions(&self) -> Reply<PositionsReport> {
        self.look_up(positions::report)
    }

    fn cursors(&self, consumer: ConsumerId) -> Reply<Vec<(ChannelName, u64)>> {
        self.look_up(move |conn| lookup::cursors(conn, &consumer))
    }

    fn consumers(&self, after: Option<ConsumerId>, limit: u32) -> Reply<Vec<ConsumerId>> {
        self.look_up(move |conn| lookup::consumers(conn, after.as_ref(), limit))
    }

    fn drop_cursors(&self, consumer: ConsumerId, channels: Option<Vec<ChannelName>>) -> Reply<()> {
        self.write(SMALL, AtBound::Refused, move |tx| tx.drop_cursors(&consumer, channels.as_deref()))
    }

    fn put_session(&self, session: SessionId, now: u64) -> Reply<()> {
        self.write(SMALL, AtBound::Refused, move |tx| tx.put_session(session, now))
    }

    fn touch_sessions(&self, sessions: Vec<SessionId>, now: u64) -> Reply<()> {
        self.write(SMALL * sessions.len(), AtBound::Refused, move |tx| tx.touch_sessions(&sessions, now))
    }

    fn forget_sessions(&self, not_seen_since: u64, now: u64, limit: u32) -> Reply<Forgotten> {
        self.write(SMALL, AtBound::Admitted, move |tx| tx.forget_sessions(not_seen_since, now, limit))
    }

    fn audit(&self, entries: Vec<Entry>) -> Reply<()> {
        let bytes = entries.iter().map(|entry| entry.detail.as_ref().map_or(0, String::len) + SMALL).sum();
        self.write(bytes, AtBound::Refused, move |tx| tx.audit(&entries))
    }

    fn audit_log(&self, query: AuditQuery) -> Reply<Vec<AuditRow>> {
        self.look_up(move |conn| lookup::audit_log(conn, &query))
    }

    fn put_state(&self, name: String, value: Option<Bytes>) -> Reply<()> {
        let bytes = value.as_ref().map_or(0, Bytes::len) + SMALL;
        self.write(bytes, AtBound::Refused, move |tx| {
            check_state_name(&name)?;
            tx.put_state(&name, value.as_ref())
        })
    }

    fn state(&self, name: String) -> Reply<Option<Bytes>> {
        self.look_up(move |conn| lookup::state(conn, &name))
    }

    fn states(&self, after: Option<String>, limit: u32) -> Reply<Vec<(String, Bytes)>> {
        self.look_up(move |conn| lookup::states(conn, after.as_deref().unwrap_or_default(), limit))
    }

    fn close(&self) -> Reply<()> {
        let (closed, answer) = oneshot::channel();
        self.gauge.when_closed.lock().push(closed);
        self.line.close();
        self.readers.close();
        let gauge = Arc::clone(&self.gauge);
        Box::pin(async move {
            // The thread may have ended before it could see the waiting callers.
            if !gauge.health.lock().closed {
                let _ = answer.await;
            }
            Ok(())
        })
    }
}
