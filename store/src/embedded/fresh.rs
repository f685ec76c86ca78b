//! The writer's knowledge of records that are not in the indexes yet.
//!
//! `logs` and `unacked` are ordered by channel, and each channel has a row with its counters. If a
//! commit wrote to them, it would change a page of each for every channel. So it writes what they
//! lack into its row of `commits`. [`Tx::place`] moves that into the indexes when there is enough
//! of it, or when somebody needs a complete index. Records that are acknowledged soon never get
//! into `unacked` at all.

use foldhash::HashMap;
use rusqlite::{OptionalExtension, params};

use super::{channels::name_of, commits, error::damaged, fresh_records::Fresh, inbox::Settled, owners::owner_of, schema, tx::Tx};
use crate::{channel::ChannelName, dedup, error::StoreError};

/// Rows of `commits` without anything to move, one after the other, above which that is recorded.
const EMPTY_ROWS: i64 = 64;

impl Tx<'_> {
    /// Starts from the content of the table.
    pub(super) fn begin_fresh(&mut self) -> Result<(), StoreError> {
        if !self.state.fresh.is_stale {
            return Ok(());
        }
        let newest: Option<(i64, u64)> = self
            .conn
            .prepare_cached("SELECT id, newest_at FROM commits ORDER BY id DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let placed = schema::placed(self.conn)?;
        let (last, newest_at) = newest.unwrap_or((0, 0));
        if !schema::is_commit(last) {
            return Err(damaged("the list of commits"));
        }
        let mut fresh = Fresh { next_commit: last.max(placed) + 1, placed, newest_at, ..Fresh::default() };
        let records = commits::unplaced(self.conn, None)?;
        let mut names: HashMap<i64, (ChannelName, bool)> = HashMap::default();
        self.state.owners.load(self.conn)?;
        for mut record in records {
            record.owner = owner_of(self.conn, &record)?;
            self.state.owners.recall(record.owner, record.bytes);
            let id = record.channel;
            let (name, is_known) = match names.get(&id) {
                Some(found) => found,
                None => {
                    let name = name_of(self.conn, id)?;
                    let is_known = self.state.channels.is_known(&name);
                    names.entry(id).or_insert((name, is_known))
                }
            };
            // Senders remembered from before are remembered with these.
            if !is_known && let Some(channel) = self.state.channels.touch(self.conn, name)? {
                channel.add(&record);
            }
            fresh.add(name, record);
        }
        fresh.commit();
        self.state.fresh = fresh;
        self.place()
    }

    /// Keeps it short.
    pub(super) fn limit_fresh(&mut self) -> Result<(), StoreError> {
        if self.state.fresh.records.len() > self.state.most_fresh() { self.place() } else { Ok(()) }
    }

    /// Makes the indexes complete for a channel. Returns whether they were not.
    pub(super) fn place_channel(&mut self, channel: i64) -> Result<bool, StoreError> {
        let is_fresh = self.state.fresh.channels.contains_key(&channel);
        if is_fresh {
            self.place()?;
        }
        Ok(is_fresh)
    }

    /// Makes the indexes complete. The channels' rows follow at the end of the batch.
    pub(super) fn place(&mut self) -> Result<(), StoreError> {
        let fresh = &mut self.state.fresh;
        if fresh.records.is_empty() {
            return Ok(());
        }
        let mut records = std::mem::take(&mut fresh.records);
        let channels = std::mem::take(&mut fresh.channels);
        fresh.settled.clear();
        if std::mem::take(&mut fresh.committed) > 0 {
            fresh.placed = fresh.next_commit - 1;
            schema::set_meta(self.conn, "placed", fresh.placed)?;
        }
        let window = if self.options.dedup_window_ms == 0 { 0 } else { self.options.dedup_max };
        if let Some(outlived) = fresh.take_outlived(window) {
            self.conn.prepare_cached("DELETE FROM commits WHERE id <= ?1")?.execute([outlived])?;
        }
        // In the order of each index, so that its pages are changed one after the other.
        records.sort_unstable_by_key(|record| (record.channel, record.seq));
        for record in &records {
            self.state.owners.placed(record.owner, record.bytes);
        }
        let mut log = self.conn.prepare_cached("INSERT INTO logs (channel, seq) VALUES (?1, ?2)")?;
        for record in &records {
            log.execute(params![record.channel, record.seq])?;
        }
        records.retain(|record| record.waits);
        records.sort_by_key(|record| (record.channel, record.lane));
        let mut unacked = self.conn.prepare_cached(
            "INSERT INTO unacked (channel, lane, seq, bytes, stored_at, expires_at, attempts, due_at, owner)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        for record in &records {
            unacked.execute(params![
                record.channel,
                record.lane,
                record.seq,
                record.bytes,
                record.stored_at,
                record.expires_at,
                record.attempts,
                record.due_at,
                record.owner
            ])?;
        }
        for channel in channels.into_values() {
            // Its row will include these.
            self.state.channels.get_mut(self.conn, &channel.name)?;
        }
        Ok(())
    }

    /// Writes what this batch has appended and settled.
    pub(super) fn write_commit(&mut self) -> Result<(), StoreError> {
        let fresh = &mut self.state.fresh;
        let appended = fresh.records.get(fresh.committed..).unwrap_or_default();
        let newest = appended.iter().map(|record| record.stored_at);
        let newest = newest.chain(self.state.dedup.staged().map(|id| id.stored_at)).max();
        if newest.is_none() && fresh.settled.is_empty() {
            return Ok(());
        }
        if fresh.records.is_empty() && fresh.next_commit - fresh.placed >= EMPTY_ROWS {
            // Readers need not search rows that hold nothing.
            fresh.placed = fresh.next_commit;
            schema::set_meta(self.conn, "placed", fresh.placed)?;
        }
        fresh.newest_at = fresh.newest_at.max(newest.unwrap_or(0));
        let ids = self.state.dedup.staged().count();
        fresh.rows.push_back((fresh.next_commit, ids));
        fresh.ids += ids;
        self.conn
            .prepare_cached("INSERT INTO commits (id, newest_at, ids, unplaced, settled) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                fresh.next_commit,
                fresh.newest_at,
                dedup::encode(self.state.dedup.staged()),
                commits::encode(appended),
                commits::encode_numbers(&fresh.settled)
            ])?;
        fresh.next_commit += 1;
        Ok(())
    }

    /// One fresh record no longer waits; `None` if no such record waits.
    pub(super) fn settle_fresh(&mut self, channel: i64, seq: u64) -> Option<Settled> {
        let fresh = &mut self.state.fresh;
        let channel = fresh.channels.get_mut(&channel)?;
        let index = channel.waiting.remove(&seq)?;
        let record = fresh.records.get_mut(index)?;
        record.waits = false;
        let owner = std::mem::take(&mut record.owner);
        channel.share.unacked -= 1;
        channel.share.unacked_bytes -= record.bytes;
        if index < fresh.committed {
            fresh.settled.push(seq);
        }
        let settled = Settled { seq, bytes: record.bytes, stored_at: record.stored_at, owner };
        self.state.owners.uncharge(owner, settled.bytes, true);
        Some(settled)
    }

    /// The fresh records of a channel up to a number no longer wait.
    pub(super) fn settle_fresh_through(&mut self, channel: i64, through: u64, kept: &[u64], settled: &mut Vec<Settled>) {
        let mut from = 0;
        while let Some(fresh) = self.state.fresh.channels.get(&channel)
            && let Some((&seq, _)) = fresh.waiting.range(from..=through.max(from)).next()
            && seq <= through
        {
            from = seq.saturating_add(1);
            if kept.binary_search(&seq).is_err() {
                settled.extend(self.settle_fresh(channel, seq));
            }
        }
    }
}
