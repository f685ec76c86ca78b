//! Appending records, and the bounds that appending enforces.

use rusqlite::{OptionalExtension, params};

use super::{checked::size, commits::Unplaced, error::damaged, tx::Tx};
use crate::{
    admission,
    channel::ChannelName,
    dead::{DeadLettered, DeadReason, Death},
    error::StoreError,
    lane::lane_of,
    ledger::Appending,
    options::Bounds,
    record::{Appended, FirstDelivery, NewRecord, RecentId},
    shares::{Member, Shares},
};

impl Tx<'_> {
    /// Appends records, all or none.
    pub(super) fn append(&mut self, appending: &mut Appending) -> Result<Vec<Appended>, StoreError> {
        let (held, channels) = (self.state.held(), &mut self.state.channels);
        let head_of = |name: &ChannelName| Ok(channels.get(self.conn, name)?.map(|channel| channel.head));
        // Before the answer, so that callers that hear of it find the room free.
        admission::check(appending.records(), self.options, held, head_of).inspect_err(|_| appending.release())?;
        if appending.hand_over() {
            for record in appending.records() {
                if let Some(owner) = &record.owner {
                    self.state.owners.taken(owner, record.bytes());
                }
            }
        }
        let records = appending.records();
        let mut answers = Vec::with_capacity(records.len());
        for record in records {
            let key = record.key();
            if let Some(seq) = self.state.dedup.find(&key, record.stored_at) {
                self.state.totals.duplicates += 1;
                answers.push(Appended::Duplicate { seq });
                continue;
            }
            self.within(&record.channel, |tx| tx.insert(record))?;
            self.state.dedup.stage(RecentId { key, seq: record.seq, stored_at: record.stored_at });
            let evicted = if record.delivery.is_some() {
                self.within(&record.channel, |tx| tx.evict(&record.channel, record.stored_at))?
            } else {
                Vec::new()
            };
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
            owner: record.owner.as_ref().map_or(0, |owner| owner.id),
        };
        channel.add(&unplaced);
        if unplaced.waits
            && let Some(shares) = &mut channel.shares
        {
            shares.add(Member::of(record.owner.as_deref()), bytes);
        }
        self.conn
            .prepare_cached(
                "INSERT INTO records (seq, channel, prev, stored_at, expires_at, lane, needs_ack, message_id, source, frame, owner,
                 checksum) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
                record.frame.as_ref(),
                unplaced.owner,
                crc32fast::hash(&record.frame)
            ])?;
        if let Some(owner) = &record.owner {
            self.state.owners.appended(owner, bytes);
        }
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

    /// Brings an inbox back within its bounds: the largest sender gives way, with its oldest of the
    /// lowest priority.
    fn evict(&mut self, name: &ChannelName, now: u64) -> Result<Vec<DeadLettered>, StoreError> {
        let bounds = self.options.policies.family(name.family()).inbox;
        let mut evicted = Vec::new();
        while let Some(channel) = self.state.channels.get(self.conn, name)?
            && bounds.exceeded_by(channel.unacked, channel.unacked_bytes)
        {
            let id = channel.id;
            self.place_channel(id)?;
            let who = self.largest_in(name, bounds)?.ok_or_else(|| damaged("a count of what waits in an inbox"))?;
            let victim = self
                .conn
                .prepare_cached("SELECT seq FROM unacked WHERE channel = ?1 AND owner = ?2 ORDER BY lane, seq LIMIT 1")?
                .query_row(params![id, who], |row| row.get(0))
                .optional()?;
            let victim = victim.ok_or_else(|| damaged("a sender's list of what waits in an inbox"))?;
            evicted.extend(self.bury(name, victim, &Death::of(DeadReason::InboxFull, now))?);
        }
        Ok(evicted)
    }

    /// The owner that gives way in an inbox that is over these bounds and whose indexes are
    /// complete.
    fn largest_in(&mut self, name: &ChannelName, bounds: Bounds) -> Result<Option<u64>, StoreError> {
        let Some(channel) = self.state.channels.touch(self.conn, name)? else { return Ok(None) };
        if let Some(shares) = &channel.shares {
            return Ok(shares.victim(bounds));
        }
        let mut shares = Shares::default();
        let mut statement = self.conn.prepare_cached("SELECT owner, bytes FROM unacked WHERE channel = ?1")?;
        let mut rows = statement.query([channel.id])?;
        while let Some(row) = rows.next()? {
            shares.add(self.state.owners.member(row.get(0)?), size(row, 1)?);
        }
        Ok(channel.shares.insert(Box::new(shares)).victim(bounds))
    }
}

/// A number within SQLite's range. Times in the far future, and the highest number, are cut.
pub(super) fn sql_integer(at: u64) -> u64 {
    at.min(i64::MAX.unsigned_abs())
}
