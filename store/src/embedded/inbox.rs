//! Acknowledgements, and moving to the dead-letter channel.

use rusqlite::{OptionalExtension, params};

use super::{
    append::sql_integer,
    checked::{attempts, counter, size},
    error::damaged,
    tx::Tx,
};
use crate::{
    channel::ChannelName,
    dead::{DeadLettered, Death, cut_reason},
    error::StoreError,
    inbox::{Ack, Delivered, Nack},
    lane::LANES,
};

/// The row of channel `?1` and number `?2`: the record's lane completes its key.
macro_rules! one_unacked {
    () => {
        "channel = ?1 AND lane = (SELECT lane FROM records WHERE records.seq = ?2) AND unacked.seq = ?2"
    };
}

/// One row that no longer waits.
pub(super) struct Settled {
    pub(super) seq: u64,
    pub(super) bytes: u64,
    pub(super) stored_at: u64,
    pub(super) owner: u64,
}

impl Tx<'_> {
    /// Acknowledges records. Returns those that waited, in order.
    pub(super) fn ack(&mut self, name: &ChannelName, ack: &Ack) -> Result<Vec<u64>, StoreError> {
        let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(Vec::new()) };
        let id = channel.id;
        let has_placed = channel.unacked > self.state.fresh.share(id).unwrap_or_default().unacked;
        let mut settled = Vec::new();
        // The row of `commits` tells of the others.
        let mut placed = 0;
        let through = match ack {
            Ack::Through(through) | Ack::ThroughUnrefused(through) => Some((*through, &[][..])),
            Ack::ThroughBut { through, kept } => Some((*through, &kept[..])),
            Ack::Each(_) => None,
        };
        if let Some((through, kept)) = through {
            if has_placed {
                // A refusal puts its record into the indexes.
                let but_refused = matches!(ack, Ack::ThroughUnrefused(_));
                self.settle_through(id, through, kept, but_refused, &mut settled)?;
            }
            placed = settled.len();
            self.settle_fresh_through(id, through, kept, &mut settled);
        }
        if let Ack::Each(seqs) = ack {
            for seq in seqs {
                match self.settle_fresh(id, *seq) {
                    None if has_placed => {
                        let found = self.settle(id, *seq)?;
                        placed += usize::from(found.is_some());
                        settled.extend(found);
                    }
                    fresh => settled.extend(fresh),
                }
            }
        }
        if settled.is_empty() {
            return Ok(Vec::new());
        }
        let channel = match placed {
            0 => self.state.channels.touch(self.conn, name)?,
            _ => self.state.channels.get_mut(self.conn, name)?,
        };
        if let Some(channel) = channel {
            for row in &settled {
                channel.unacked = channel.unacked.saturating_sub(1);
                channel.unacked_bytes = channel.unacked_bytes.saturating_sub(row.bytes);
                if let Some(shares) = &mut channel.shares {
                    shares.remove(self.state.owners.member(row.owner), row.bytes);
                }
                channel.oldest_at = Some(channel.oldest_at.map_or(row.stored_at, |oldest| oldest.min(row.stored_at)));
            }
            if channel.unacked == 0 {
                channel.oldest_unacked_at = None;
            }
        }
        self.state.grown.insert(name.clone());
        let mut seqs: Vec<u64> = settled.into_iter().map(|row| row.seq).collect();
        seqs.sort_unstable();
        Ok(seqs)
    }

    // Read, then deleted: RETURNING would fill a temporary table each time, and so would a list of
    // lanes with IN.
    fn settle(&mut self, channel: i64, seq: u64) -> Result<Option<Settled>, StoreError> {
        let found = self
            .conn
            .prepare_cached(concat!("SELECT lane, bytes, stored_at, owner FROM unacked WHERE ", one_unacked!()))?
            .query_row(params![channel, sql_integer(seq)], |row| {
                Ok((row.get::<_, u8>(0)?, Settled { seq, bytes: size(row, 1)?, stored_at: row.get(2)?, owner: row.get(3)? }))
            })
            .optional()?;
        let Some((lane, settled)) = found else { return Ok(None) };
        self.conn
            .prepare_cached("DELETE FROM unacked WHERE channel = ?1 AND lane = ?2 AND seq = ?3")?
            .execute(params![channel, lane, seq])?;
        self.state.owners.uncharge(settled.owner, settled.bytes, false);
        Ok(Some(settled))
    }

    fn settle_through(
        &mut self,
        channel: i64,
        seq: u64,
        kept: &[u64],
        but_refused: bool,
        settled: &mut Vec<Settled>,
    ) -> Result<(), StoreError> {
        for lane in 0..LANES.len() {
            let key = params![channel, lane, sql_integer(seq)];
            let before = settled.len();
            let mut statement = self.conn.prepare_cached(
                "SELECT seq, bytes, stored_at, owner, reason IS NOT NULL FROM unacked
                 WHERE channel = ?1 AND lane = ?2 AND seq <= ?3",
            )?;
            let rows = statement.query_map(key, |row| {
                let settled = Settled { seq: counter(row, 0)?, bytes: size(row, 1)?, stored_at: row.get(2)?, owner: row.get(3)? };
                Ok((settled, row.get(4)?))
            })?;
            let mut has_kept = false;
            for row in rows {
                let (row, is_refused): (Settled, bool) = row?;
                if (but_refused && is_refused) || kept.binary_search(&row.seq).is_ok() {
                    has_kept = true;
                    continue;
                }
                self.state.owners.uncharge(row.owner, row.bytes, false);
                settled.push(row);
            }
            if has_kept {
                let mut statement =
                    self.conn.prepare_cached("DELETE FROM unacked WHERE channel = ?1 AND lane = ?2 AND seq = ?3")?;
                for row in &settled[before..] {
                    statement.execute(params![channel, lane, sql_integer(row.seq)])?;
                }
            } else if settled.len() > before {
                self.conn.prepare_cached("DELETE FROM unacked WHERE channel = ?1 AND lane = ?2 AND seq <= ?3")?.execute(key)?;
            }
        }
        Ok(())
    }

    /// Postpones a record.
    pub(super) fn nack(&mut self, name: &ChannelName, seq: u64, nack: &Nack) -> Result<Option<u32>, StoreError> {
        let Some(id) = self.state.channels.get(self.conn, name)?.map(|channel| channel.id) else { return Ok(None) };
        self.place_channel(id)?;
        let attempts = self
            .conn
            .prepare_cached(concat!("UPDATE unacked SET due_at = ?3, reason = ?4 WHERE ", one_unacked!(), " RETURNING attempts"))?
            .query_row(params![id, sql_integer(seq), sql_integer(nack.not_before), cut_reason(&nack.reason)], |row| {
                attempts(row, 0)
            })
            .optional()?;
        Ok(attempts)
    }

    /// Records deliveries.
    pub(super) fn mark_delivered(&mut self, deliveries: &[Delivered]) -> Result<(), StoreError> {
        for delivery in deliveries {
            self.within(&delivery.channel, |tx| tx.mark_one_delivered(delivery))?;
        }
        Ok(())
    }

    fn mark_one_delivered(&mut self, delivery: &Delivered) -> Result<(), StoreError> {
        let Some(id) = self.state.channels.get(self.conn, &delivery.channel)?.map(|channel| channel.id) else { return Ok(()) };
        self.place_channel(id)?;
        self.conn
            .prepare_cached(concat!("UPDATE unacked SET attempts = ?3, due_at = ?4 WHERE ", one_unacked!()))?
            .execute(params![id, sql_integer(delivery.seq), delivery.attempt, sql_integer(delivery.next_due)])?;
        Ok(())
    }

    /// Removes a record and its place in the log.
    pub(super) fn remove_record(&self, channel: i64, seq: u64) -> Result<(), StoreError> {
        self.conn.prepare_cached("DELETE FROM records WHERE seq = ?1")?.execute([seq])?;
        self.conn.prepare_cached("DELETE FROM logs WHERE channel = ?1 AND seq = ?2")?.execute(params![channel, seq])?;
        Ok(())
    }

    /// Moves an unacknowledged record to the dead-letter channel.
    pub(super) fn bury(&mut self, name: &ChannelName, seq: u64, death: &Death) -> Result<Option<DeadLettered>, StoreError> {
        let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(None) };
        let id = channel.id;
        self.place_channel(id)?;
        let Some(row) = self.settle(id, seq)? else { return Ok(None) };
        let share = self.state.owners.dead_share(row.owner);

        let dead_channel = name.dead();
        let dead_seq = self.own_seq()?;
        let is_new = self.state.channels.ensure(self.conn, &dead_channel, dead_seq, death.at)?;
        let dead = self.state.channels.get_mut(self.conn, &dead_channel)?.ok_or_else(|| damaged("a channel just created"))?;
        let (dead_id, prev) = (dead.id, dead.head);
        let stored_at = death.at.max(dead.last_stored_at);
        dead.head = dead_seq;
        dead.last_stored_at = stored_at;
        dead.oldest_at.get_or_insert(stored_at);
        dead.records += 1;
        dead.bytes += row.bytes;
        dead.appended += 1;
        self.state.totals.channels += u64::from(is_new);
        self.state.grown.insert(dead_channel.clone());

        // The number is the key of its row, so a record with a new number is a new row.
        let copied = self
            .conn
            .prepare_cached(
                "INSERT INTO records (seq, channel, prev, stored_at, expires_at, lane, needs_ack, message_id, source, frame,
                   checksum, dead_channel, dead_seq, dead_reason, dead_detail, owner)
                 SELECT ?2, ?3, ?4, ?5, NULL, lane, 0, message_id, source, frame, checksum, ?6, seq, ?7, ?8, ?9 FROM records WHERE seq = ?1
                 RETURNING message_id, source",
            )?
            .query_row(
                params![
                    row.seq,
                    dead_seq,
                    dead_id,
                    prev,
                    stored_at,
                    name.as_str(),
                    death.reason.as_str(),
                    death.detail.as_deref().map(cut_reason),
                    // Nobody is charged for a dead letter, so the column has another meaning.
                    share.0
                ],
                |copied| Ok((copied.get(0)?, copied.get(1)?)),
            )
            .optional()?;
        let (message_id, source) = copied.ok_or_else(|| damaged("an unacknowledged record"))?;
        self.conn.prepare_cached("INSERT INTO logs (channel, seq) VALUES (?1, ?2)")?.execute(params![dead_id, dead_seq])?;
        self.remove_record(id, row.seq)?;

        if let Some(channel) = self.state.channels.get_mut(self.conn, name)? {
            channel.unacked = channel.unacked.saturating_sub(1);
            channel.unacked_bytes = channel.unacked_bytes.saturating_sub(row.bytes);
            if let Some(shares) = &mut channel.shares {
                shares.remove(self.state.owners.member(row.owner), row.bytes);
            }
            channel.records = channel.records.saturating_sub(1);
            channel.bytes = channel.bytes.saturating_sub(row.bytes);
            channel.dead_lettered += 1;
            if channel.unacked == 0 {
                channel.oldest_unacked_at = None;
            }
            channel.gaps_mut(self.conn)?.dead_lettered(row.seq);
        }
        Ok(Some(DeadLettered {
            channel: name.clone(),
            seq: row.seq,
            message_id,
            source,
            reason: death.reason,
            dead_channel,
            dead_seq,
        }))
    }
}
