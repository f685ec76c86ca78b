//! The writer's knowledge of channels: a write-back cache over the table.
//!
//! Changes are collected during a batch, and written once per channel before its commit. After a
//! roll-back everything changed is dropped and read again.

use std::collections::hash_map::Entry;

use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{checked::counter, commits::Unplaced, error::damaged, fresh_records::Fresh};
use crate::{channel::ChannelName, error::StoreError, gaps::Gaps, record::ChannelInfo, shares::Shares};

/// Channels in memory between batches. Above that the cache is emptied, and fills again with those
/// in use.
const CACHED: usize = 65_536;

/// One row of the table, and the gaps of its channel once they were needed.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: i64,
    pub(super) born: u64,
    pub(super) head: u64,
    pub(super) last_stored_at: u64,
    pub(super) oldest_at: Option<u64>,
    pub(super) oldest_unacked_at: Option<u64>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) unacked: u64,
    pub(super) unacked_bytes: u64,
    pub(super) appended: u64,
    pub(super) trimmed: u64,
    pub(super) dead_lettered: u64,
    gaps: Option<Gaps>,
    /// What waits, by sender; built when it is first needed.
    pub(super) shares: Option<Box<Shares>>,
    /// `oldest_at` and `oldest_unacked_at` as they are in the row.
    written_ages: (Option<u64>, Option<u64>),
    /// The batch that changed it last.
    touched_in: u64,
    changed: bool,
    gaps_changed: bool,
}

impl Channel {
    /// The settled records, and their bytes.
    pub(super) fn settled(&self) -> (u64, u64) {
        (self.records.saturating_sub(self.unacked), self.bytes.saturating_sub(self.unacked_bytes))
    }

    /// Counts an appended record, but not in its row.
    pub(super) fn add(&mut self, record: &Unplaced) {
        self.head = record.seq;
        self.last_stored_at = record.stored_at;
        self.records += 1;
        self.bytes += record.bytes;
        self.appended += 1;
        if record.waits {
            self.unacked += 1;
            self.unacked_bytes += record.bytes;
            self.oldest_unacked_at.get_or_insert(record.stored_at);
        } else {
            self.oldest_at = Some(self.oldest_at.map_or(record.stored_at, |oldest| oldest.min(record.stored_at)));
        }
    }

    /// As operators see it. `oldest_at`: of its records; the row knows this only for settled ones.
    pub(super) fn info(&self, channel: ChannelName, oldest_at: Option<u64>) -> ChannelInfo {
        ChannelInfo {
            channel,
            head: self.head,
            last_stored_at: self.last_stored_at,
            oldest_at,
            records: self.records,
            bytes: self.bytes,
            unacked: self.unacked,
            unacked_bytes: self.unacked_bytes,
            appended: self.appended,
            trimmed: self.trimmed,
            dead_lettered: self.dead_lettered,
        }
    }

    /// The gaps, mutable.
    pub(super) fn gaps_mut(&mut self, conn: &Connection) -> Result<&mut Gaps, StoreError> {
        self.gaps_changed = true;
        let gaps = match self.gaps.take() {
            Some(known) => known,
            None => read_gaps(conn, self.id)?,
        };
        Ok(self.gaps.insert(gaps))
    }
}

/// The columns of a channel, in the order that [`channel_of`] expects.
pub(super) const COLUMNS: &str = "id, name, born, head, last_stored_at, oldest_at, oldest_unacked_at, records, bytes, \
     unacked, unacked_bytes, appended, trimmed, dead_lettered";

/// Reads a row of [`COLUMNS`].
pub(super) fn channel_of(row: &Row<'_>) -> Result<Channel, StoreError> {
    let ages = (row.get(5)?, row.get(6)?);
    Ok(Channel {
        id: row.get(0)?,
        born: counter(row, 2)?,
        head: counter(row, 3)?,
        last_stored_at: row.get(4)?,
        oldest_at: ages.0,
        oldest_unacked_at: ages.1,
        records: counter(row, 7)?,
        bytes: counter(row, 8)?,
        unacked: counter(row, 9)?,
        unacked_bytes: counter(row, 10)?,
        appended: counter(row, 11)?,
        trimmed: counter(row, 12)?,
        dead_lettered: counter(row, 13)?,
        gaps: None,
        shares: None,
        written_ages: ages,
        touched_in: 0,
        changed: false,
        gaps_changed: false,
    })
}

/// Reads a channel's row.
pub(super) fn find_channel(conn: &Connection, name: &str) -> Result<Option<Channel>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM channels WHERE name = ?1");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([name])?;
    rows.next()?.map(channel_of).transpose()
}

/// Reads a channel's gaps.
pub(super) fn read_gaps(conn: &Connection, id: i64) -> Result<Gaps, StoreError> {
    let stored: Option<Vec<u8>> =
        conn.prepare_cached("SELECT intervals FROM gaps WHERE channel = ?1")?.query_row([id], |row| row.get(0)).optional()?;
    stored.map_or_else(|| Ok(Gaps::default()), |stored| Gaps::decode(&stored).ok_or_else(|| damaged("a list of gaps")))
}

/// The channels that the writer has used recently.
#[derive(Debug)]
pub(super) struct Channels {
    known: HashMap<ChannelName, Channel>,
    /// Those that this batch has changed.
    touched: Vec<ChannelName>,
    batch: u64,
}

impl Default for Channels {
    fn default() -> Self {
        Self { known: HashMap::default(), touched: Vec::new(), batch: 1 }
    }
}

impl Channels {
    /// A channel, for reading.
    pub(super) fn get(&mut self, conn: &Connection, name: &ChannelName) -> Result<Option<&Channel>, StoreError> {
        Ok(load(&mut self.known, conn, name)?.map(|channel| &*channel))
    }

    /// Whether a channel is in memory.
    pub(super) fn is_known(&self, name: &ChannelName) -> bool {
        self.known.contains_key(name)
    }

    /// A channel, to change only what the row of `commits` tells.
    pub(super) fn touch(&mut self, conn: &Connection, name: &ChannelName) -> Result<Option<&mut Channel>, StoreError> {
        let Some(channel) = load(&mut self.known, conn, name)? else { return Ok(None) };
        if channel.touched_in != self.batch {
            channel.touched_in = self.batch;
            self.touched.push(name.clone());
        }
        Ok(Some(channel))
    }

    /// A channel, mutable. Its row is written at the end of the batch.
    pub(super) fn get_mut(&mut self, conn: &Connection, name: &ChannelName) -> Result<Option<&mut Channel>, StoreError> {
        let mut channel = self.touch(conn, name)?;
        if let Some(channel) = &mut channel {
            channel.changed = true;
        }
        Ok(channel)
    }

    /// Creates a channel if it does not exist. Returns whether it did not.
    pub(super) fn ensure(&mut self, conn: &Connection, name: &ChannelName, first_seq: u64, now: u64) -> Result<bool, StoreError> {
        let is_new = self.get(conn, name)?.is_none();
        if is_new {
            conn.prepare_cached(
                "INSERT INTO channels (name, family, born, head, last_stored_at, records, bytes, unacked, unacked_bytes, appended,
                 trimmed, dead_lettered) VALUES (?1, ?2, ?3, 0, ?4, 0, 0, 0, 0, 0, 0, 0)",
            )?
            .execute(params![name.as_str(), name.family().index(), first_seq, now])?;
        }
        Ok(is_new)
    }

    /// Removes a channel's row and what depends on it, except its records.
    pub(super) fn remove(&mut self, conn: &Connection, name: &ChannelName) -> Result<(), StoreError> {
        if let Some(id) = self.get(conn, name)?.map(|channel| channel.id) {
            conn.prepare_cached("DELETE FROM channels WHERE id = ?1")?.execute([id])?;
            conn.prepare_cached("DELETE FROM gaps WHERE channel = ?1")?.execute([id])?;
            self.known.remove(name);
            // So that a roll-back leaves no stale copy, if the channel is created again in this
            // batch.
            self.touched.push(name.clone());
        }
        Ok(())
    }

    /// Writes what was changed, without what the rows of `commits` tell.
    pub(super) fn flush(&mut self, conn: &Connection, fresh: &Fresh) -> Result<(), StoreError> {
        for name in &self.touched {
            let Some(channel) = self.known.get_mut(name) else { continue };
            if std::mem::take(&mut channel.changed) {
                let told = fresh.share(channel.id).unwrap_or_default();
                conn.prepare_cached(
                    "UPDATE channels SET head = ?2, last_stored_at = ?3, records = ?4, bytes = ?5, unacked = ?6, unacked_bytes = ?7,
                     appended = ?8, trimmed = ?9, dead_lettered = ?10 WHERE id = ?1",
                )?
                .execute(params![
                    channel.id,
                    channel.head,
                    channel.last_stored_at,
                    channel.records.saturating_sub(told.records),
                    channel.bytes.saturating_sub(told.bytes),
                    channel.unacked.saturating_sub(told.unacked),
                    channel.unacked_bytes.saturating_sub(told.unacked_bytes),
                    channel.appended.saturating_sub(told.records),
                    channel.trimmed,
                    channel.dead_lettered
                ])?;
                // They are indexed, and an index is written even if the value is the same.
                let ages = (channel.oldest_at, channel.oldest_unacked_at);
                if ages != channel.written_ages {
                    conn.prepare_cached("UPDATE channels SET oldest_at = ?2, oldest_unacked_at = ?3 WHERE id = ?1")?
                        .execute(params![channel.id, ages.0, ages.1])?;
                    channel.written_ages = ages;
                }
            }
            if std::mem::take(&mut channel.gaps_changed)
                && let Some(gaps) = &channel.gaps
            {
                conn.prepare_cached(
                    "INSERT INTO gaps (channel, intervals) VALUES (?1, ?2) ON CONFLICT (channel) DO UPDATE SET intervals = ?2",
                )?
                .execute(params![channel.id, gaps.encode()])?;
            }
        }
        Ok(())
    }

    /// Keeps what was flushed.
    pub(super) fn commit(&mut self, fresh: &Fresh) {
        self.touched.clear();
        self.batch += 1;
        if self.known.len() > CACHED {
            // A row without what the rows of `commits` tell is not the whole channel.
            self.known.retain(|_, channel| fresh.share(channel.id).is_some());
        }
    }

    /// Drops what was changed.
    pub(super) fn roll_back(&mut self) {
        self.batch += 1;
        for name in self.touched.drain(..) {
            self.known.remove(&name);
        }
    }
}

/// A channel, from memory or from its row.
fn load<'a>(
    known: &'a mut HashMap<ChannelName, Channel>,
    conn: &Connection,
    name: &ChannelName,
) -> Result<Option<&'a mut Channel>, StoreError> {
    Ok(match known.entry(name.clone()) {
        Entry::Occupied(found) => Some(found.into_mut()),
        Entry::Vacant(free) => find_channel(conn, name.as_str())?.map(|channel| free.insert(channel)),
    })
}

/// The name of a channel's row.
pub(super) fn name_of(conn: &Connection, id: i64) -> Result<ChannelName, StoreError> {
    let name: String = conn.prepare_cached("SELECT name FROM channels WHERE id = ?1")?.query_row([id], |row| row.get(0))?;
    ChannelName::parse(&name).map_err(|_| damaged("a channel's name"))
}
