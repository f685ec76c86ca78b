//! Appending records, and the bounds that appending enforces.

use rusqlite::params;

use super::{commits::Unplaced, error::damaged, tx::Tx};
use crate::{
    admission,
    channel::ChannelName,
    error::StoreError,
    inbox::{DeadLettered, DeadReason, Death},
    lane::lane_of,
    record::{Appended, FirstDelivery, NewRecord, RecentId},
};

impl Tx<'_> {
    /// Appends records, all or none.
    pub(super) fn append(&mut self, records: &[NewRecord]) -> Result<Vec<Appended>, StoreError> {
        let (held, channels) = (self.state.held(), &mut self.state.channels);
        admission::check(records, self.options, held, |name| Ok(channels.get(self.conn, name)?.map(|channel| channel.head)))?;
        let mut answers = Vec::with_capacity(records.len());
        for record in records {
            let key = record.key();
            if let Some(seq) = self.state.dedup.find(&key, record.stored_at) {
                self.state.totals.duplicates += 1;
                answers.push(Appended::Duplicate { seq });
                continue;
            }
            self.insert(record)?;
            self.state.dedup.stage(RecentId { key, seq: record.seq, stored_at: record.stored_at });
            let evicted = if record.delivery.is_some() { self.evict(&record.channel, record.stored_at)? } else { Vec::new() };
            answers.push(Appended::Stored { seq: record.seq, evicted });
        }
        Ok(answers)
    }

    fn insert(&mut self, record: &NewRecord) -> Result<(), StoreError> {
        let bytes = record.bytes();
        let is_new = self.state.channels.ensure(self.conn, &record.channel, record.seq, record.stored_at)?;
        let channel = self.state.channels.touch(self.conn, &record.channel)?.ok_or_else(|| damaged("a channel just created"))?;
        let delivery = record.delivery.unwrap_or(FirstDelivery { attempts: 0, due_at: 0 });
        let unplaced = Unplaced {
            seq: record.seq,
            channel: channel.id,
            lane: lane_of(record.priority),
            waits: record.delivery.is_some(),
            bytes,
            stored_at: record.stored_at.max(channel.last_stored_at),
            expires_at: record.expires_at,
            attempts: delivery.attempts,
            due_at: sql_integer(delivery.due_at),
        };
        channel.add(&unplaced);
        self.conn
            .prepare_cached(
                "INSERT INTO records (seq, channel, prev, stored_at, expires_at, lane, needs_ack, message_id, source, frame)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                record.seq,
                unplaced.channel,
                record.prev,
                unplaced.stored_at,
                record.expires_at,
                unplaced.lane,
                unplaced.waits,
                record.message_id,
                record.source,
                record.frame.as_ref()
            ])?;
        if !unplaced.waits && !self.state.grown.contains(&record.channel) {
            self.state.grown.insert(record.channel.clone());
        }
        self.state.fresh.add(&record.channel, unplaced);
        self.state.totals.channels += u64::from(is_new);
        self.state.totals.records += 1;
        self.state.totals.bytes += bytes;
        self.state.totals.appended += 1;
        Ok(())
    }

    /// Brings an inbox back within its bounds: the oldest of the lowest priority goes first.
    fn evict(&mut self, name: &ChannelName, now: u64) -> Result<Vec<DeadLettered>, StoreError> {
        let bounds = self.options.policies.family(name.family()).inbox;
        let mut evicted = Vec::new();
        while let Some(channel) = self.state.channels.get(self.conn, name)?
            && bounds.exceeded_by(channel.unacked, channel.unacked_bytes)
        {
            let id = channel.id;
            self.place_channel(id)?;
            let victim = self
                .conn
                .prepare_cached("SELECT seq FROM unacked WHERE channel = ?1 ORDER BY lane, seq LIMIT 1")?
                .query_row([id], |row| row.get(0))?;
            evicted.extend(self.bury(name, victim, &Death::of(DeadReason::InboxFull, now))?);
        }
        Ok(evicted)
    }
}

/// A number as SQLite holds it: the far future, and the highest number, have an end.
pub(super) fn sql_integer(at: u64) -> u64 {
    at.min(i64::MAX.unsigned_abs())
}
