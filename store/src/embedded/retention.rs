//! What is removed, and when.
//!
//! Bounds of number and bytes hold after every commit, up to a budget of removals per channel. The
//! rest, and everything that depends on time, is done in the steps of [`Tx::trim`]. Unacknowledged
//! records are not removed here: they are moved.

use rusqlite::params;

use super::{
    channels::{Channel, name_of},
    checked::{counter, size},
    error::damaged,
    tx::Tx,
};
use crate::{
    channel::{ChannelFamily, ChannelName},
    dead::{DeadReason, Death},
    error::StoreError,
    inbox::Trimmed,
    leftovers,
    options::{Bounds, INLINE_BUDGET},
    session::ConsumerId,
};

/// Rows read at once while a log is cut.
const CHUNK: u64 = 64;
/// Channels checked in one step of trimming, per rule.
const CHANNELS: usize = 64;
/// Messages whose repetition is recognised after a restart, even if the disk is short of room.
const LEAST_WINDOW: usize = 4_096;
/// Free pages below which nothing is given back to the file system.
const FREE_PAGES_KEPT: i64 = 512;
/// Free pages given back in one step.
const PAGES: u32 = 128;

/// How many of so many records are over the bounds, if all have the same size.
fn likely_excess(bounds: Bounds, records: u64, bytes: u64) -> u64 {
    let over = |bound: u64, have: u64| if bound == 0 { 0 } else { have.saturating_sub(bound) };
    let average = (bytes / records.max(1)).max(1);
    over(bounds.records, records).max(over(bounds.bytes, bytes).div_ceil(average))
}

/// A record at the old end of a log.
struct Oldest {
    seq: u64,
    bytes: u64,
    stored_at: u64,
    /// Its owner's number; 0: charged to nobody.
    owner: u64,
}

impl Tx<'_> {
    /// Cuts a log to its bounds of number and bytes, as far as the budget allows.
    pub(super) fn enforce_log_bounds(&mut self, name: &ChannelName) -> Result<(), StoreError> {
        let bounds = self.options.policies.family(name.family()).log;
        let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(()) };
        let (records, bytes) = channel.settled();
        if bounds.exceeded_by(records, bytes) {
            let budget = self.state.most_removed(INLINE_BUDGET);
            self.cut_log(name, bounds, 0, budget)?;
        }
        Ok(())
    }

    /// Removes the oldest settled records of a log while it is over its bounds or they are older
    /// than `cutoff`. Returns how many. Of dead letters over their bounds, those of the largest
    /// sender go.
    fn cut_log(&mut self, name: &ChannelName, bounds: Bounds, cutoff: u64, budget: u64) -> Result<u64, StoreError> {
        if cutoff == 0 && name.family() == ChannelFamily::Dead {
            return self.cut_dead_letters(name, bounds, budget);
        }
        let mut removed = 0_u64;
        let mut oldest_left = None;
        while removed < budget {
            let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(removed) };
            let id = channel.id;
            let (mut records, mut bytes) = channel.settled();
            let chunk = if cutoff > 0 { CHUNK } else { likely_excess(bounds, records, bytes).clamp(1, CHUNK) };
            // One more than is removed, so that the oldest that stays is known without another
            // query.
            let chunk = chunk + 1;
            let rows = self.oldest_settled(id, chunk)?;
            let exhausted = (rows.len() as u64) < chunk;
            let (mut from, mut to, mut count, mut freed) = (0, 0, 0_u64, 0_u64);
            oldest_left = None;
            for row in rows {
                if removed >= budget || !(bounds.exceeded_by(records, bytes) || row.stored_at < cutoff) {
                    oldest_left = Some(row.stored_at);
                    break;
                }
                self.remove_record(id, row.seq)?;
                self.state.owners.uncharge(row.owner, row.bytes, false);
                from = if count == 0 { row.seq } else { from };
                to = row.seq;
                count += 1;
                removed += 1;
                freed += row.bytes;
                records = records.saturating_sub(1);
                bytes = bytes.saturating_sub(row.bytes);
            }
            if let Some(channel) = self.state.channels.get_mut(self.conn, name)?
                && count > 0
            {
                channel.records = channel.records.saturating_sub(count);
                channel.bytes = channel.bytes.saturating_sub(freed);
                channel.trimmed += count;
                channel.gaps_mut(self.conn)?.trimmed(from, to, count);
                self.state.totals.records = self.state.totals.records.saturating_sub(count);
                self.state.totals.bytes = self.state.totals.bytes.saturating_sub(freed);
            }
            if oldest_left.is_some() || exhausted {
                break;
            }
        }
        self.note_oldest(name, bounds, oldest_left)?;
        Ok(removed)
    }

    /// Removes the oldest leftovers while the store is over its bound, as far as the budget allows.
    pub(super) fn reclaim(&mut self) -> Result<(), StoreError> {
        if !self.state.leftovers.are_due(self.state.totals.bytes) {
            return Ok(());
        }
        let mut excess = self.state.leftovers.excess(self.state.totals.bytes);
        self.place()?;
        let mut budget = self.state.most_removed(leftovers::BUDGET);
        let mut has_more = true;
        while excess > 0 && budget > 0 {
            // What follows searches the table for channels.
            self.state.channels.flush(self.conn, &self.state.fresh)?;
            let Some(name) = self.oldest_leftover()? else {
                has_more = false;
                break;
            };
            let settled = self.state.channels.get(self.conn, &name)?.map(Channel::settled);
            let (records, bytes) = settled.ok_or_else(|| damaged("the table of channels"))?;
            let portion = leftovers::portion(excess, records, bytes, budget);
            let bounds = self.options.policies.family(name.family()).log;
            let before = self.state.totals.bytes;
            let removed = self.within(&name, |tx| tx.cut_log(&name, bounds, i64::MAX.unsigned_abs(), portion))?;
            self.state.leftovers.note_removed(before.saturating_sub(self.state.totals.bytes));
            budget = budget.saturating_sub(removed.max(1));
            excess = self.state.leftovers.excess(self.state.totals.bytes);
        }
        if self.state.leftovers.is_disk_short() {
            self.forget_repeats()?;
        }
        self.state.leftovers.note(self.state.totals.bytes, has_more);
        Ok(())
    }

    /// Removes the ids by which repetitions would be recognised after a restart, except the newest.
    /// In memory they stay. To be called when the indexes are complete.
    fn forget_repeats(&mut self) -> Result<(), StoreError> {
        let Some(outlived) = self.state.fresh.take_outlived(LEAST_WINDOW) else { return Ok(()) };
        let freed: u64 = self
            .conn
            .prepare_cached(
                "SELECT coalesce(sum(length(ids) + length(unplaced) + length(settled)), 0) FROM commits WHERE id <= ?1",
            )?
            .query_row([outlived], |row| row.get(0))?;
        self.conn.prepare_cached("DELETE FROM commits WHERE id <= ?1")?.execute([outlived])?;
        self.state.leftovers.note_removed(freed);
        Ok(())
    }

    /// The channel whose leftovers give way next.
    fn oldest_leftover(&self) -> Result<Option<ChannelName>, StoreError> {
        for family in leftovers::FAMILIES {
            let limit = if self.state.damage.is_any() { CHANNELS } else { 1 };
            let oldest = self.channels_older("oldest_at", family, i64::MAX.unsigned_abs(), limit)?.into_iter().next();
            if oldest.is_some() {
                return Ok(oldest);
            }
        }
        Ok(None)
    }

    pub(super) fn note_oldest(&mut self, name: &ChannelName, bounds: Bounds, oldest_left: Option<u64>) -> Result<(), StoreError> {
        let Some(channel) = self.state.channels.get(self.conn, name)? else { return Ok(()) };
        let id = channel.id;
        let (records, bytes) = channel.settled();
        let oldest = match oldest_left {
            Some(stored_at) => Some(stored_at),
            None => self.oldest_settled(id, 1)?.pop().map(|row| row.stored_at),
        };
        if let Some(channel) = self.state.channels.get_mut(self.conn, name)? {
            channel.oldest_at = oldest;
        }
        if bounds.exceeded_by(records, bytes) {
            self.state.over.insert(name.clone());
        } else {
            self.state.over.remove(name);
        }
        Ok(())
    }

    fn oldest_settled(&mut self, channel: i64, limit: u64) -> Result<Vec<Oldest>, StoreError> {
        let placed = self.oldest_placed(channel, limit)?;
        // Fresh records are newer than the others.
        if placed.len() as u64 == limit || !self.place_channel(channel)? {
            Ok(placed)
        } else {
            self.oldest_placed(channel, limit)
        }
    }

    fn oldest_placed(&self, channel: i64, limit: u64) -> Result<Vec<Oldest>, StoreError> {
        let mut statement = self.conn.prepare_cached(
            "SELECT records.seq, length(frame), stored_at, iif(needs_ack OR dead_channel IS NOT NULL, 0, owner) FROM logs CROSS JOIN records ON records.seq = logs.seq
             WHERE logs.channel = ?1 AND (needs_ack = 0 OR NOT EXISTS (
               SELECT 1 FROM unacked WHERE unacked.channel = records.channel AND unacked.lane = records.lane AND unacked.seq = records.seq
             )) ORDER BY logs.seq LIMIT ?2",
        )?;
        let rows = statement.query_map(params![channel, limit], |row| {
            Ok(Oldest { seq: counter(row, 0)?, bytes: size(row, 1)?, stored_at: row.get(2)?, owner: row.get(3)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One step of everything that depends on time, and of what appends have left.
    pub(super) fn trim(&mut self, now: u64, limit: u32) -> Result<Trimmed, StoreError> {
        let mut budget = self.state.most_removed(u64::from(limit.max(1)));
        let mut done = Trimmed::default();
        // What follows searches the table for channels, and the indexes for records.
        self.place()?;
        self.state.channels.flush(self.conn, &self.state.fresh)?;
        self.bury_expired(now, &mut budget, &mut done)?;
        self.bury_aged(now, &mut budget, &mut done)?;
        self.cut_aged_logs(now, &mut budget, &mut done)?;
        self.cut_long_logs(&mut budget, &mut done)?;
        self.forget_channels(now, &mut budget, &mut done)?;
        self.remove_expired_values(now, &mut budget, &mut done)?;
        self.trim_rows(now, &mut budget, &mut done)?;
        budget = budget.saturating_sub(self.state.owners.sweep(self.conn, budget)?);
        done.more |= budget == 0;
        if !done.more {
            done.more = self.give_back_pages()?;
        }
        Ok(done)
    }

    fn bury_expired(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        let expired: Vec<(i64, u64)> = self
            .conn
            .prepare_cached("SELECT channel, seq FROM unacked WHERE expires_at <= ?1 ORDER BY expires_at, seq LIMIT ?2")?
            .query_map(params![now, *budget], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (channel, seq) in expired {
            let name = name_of(self.conn, channel)?;
            if self.is_damaged(&name) {
                continue;
            }
            let death = Death::of(DeadReason::Expired, now);
            done.dead_lettered.extend(self.within(&name, |tx| tx.bury(&name, seq, &death))?);
            *budget = budget.saturating_sub(1);
        }
        Ok(())
    }

    fn bury_aged(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        for family in ChannelFamily::ALL {
            let age = self.options.policies.family(family).inbox.age_ms;
            if age == 0 || *budget == 0 {
                continue;
            }
            let cutoff = now.saturating_sub(age);
            let names = self.channels_older("oldest_unacked_at", family, cutoff, CHANNELS)?;
            done.more |= names.len() == CHANNELS;
            for name in names {
                let Some(id) = self.state.channels.get(self.conn, &name)?.map(|channel| channel.id) else { continue };
                let aged: Vec<u64> = self
                    .conn
                    .prepare_cached("SELECT seq FROM unacked WHERE channel = ?1 AND stored_at < ?2 ORDER BY seq LIMIT ?3")?
                    .query_map(params![id, cutoff, *budget], |row| row.get(0))?
                    .collect::<Result<_, _>>()?;
                for seq in aged {
                    let death = Death::of(DeadReason::Age, now);
                    done.dead_lettered.extend(self.within(&name, |tx| tx.bury(&name, seq, &death))?);
                    *budget = budget.saturating_sub(1);
                }
                let oldest: Option<u64> = self
                    .conn
                    .prepare_cached("SELECT min(stored_at) FROM unacked WHERE channel = ?1")?
                    .query_row([id], |row| row.get(0))?;
                if let Some(channel) = self.state.channels.get_mut(self.conn, &name)? {
                    channel.oldest_unacked_at = oldest;
                }
                if *budget == 0 {
                    break;
                }
            }
        }
        Ok(())
    }

    fn cut_aged_logs(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        for family in ChannelFamily::ALL {
            let bounds = self.options.policies.family(family).log;
            if bounds.age_ms == 0 {
                continue;
            }
            let cutoff = now.saturating_sub(bounds.age_ms);
            let names = self.channels_older("oldest_at", family, cutoff, CHANNELS)?;
            done.more |= names.len() == CHANNELS;
            for name in names {
                if *budget == 0 {
                    return Ok(());
                }
                let removed = self.within(&name, |tx| tx.cut_log(&name, bounds, cutoff, *budget))?;
                done.records += removed;
                *budget = budget.saturating_sub(removed);
            }
        }
        Ok(())
    }

    fn cut_long_logs(&mut self, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        while *budget > 0
            && let Some(name) = self.state.over.first().cloned()
        {
            if self.is_damaged(&name) {
                self.state.over.remove(&name);
                continue;
            }
            let bounds = self.options.policies.family(name.family()).log;
            let removed = self.within(&name, |tx| tx.cut_log(&name, bounds, 0, *budget))?;
            done.records += removed;
            *budget = budget.saturating_sub(removed);
            if removed == 0 {
                self.state.over.remove(&name);
            }
        }
        Ok(())
    }

    fn forget_channels(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        let unused = self.options.policies.forget_channels_ms;
        if unused == 0 {
            return Ok(());
        }
        let names: Vec<String> = self
            .conn
            .prepare_cached("SELECT name FROM channels WHERE records = 0 AND last_stored_at < ?1 LIMIT ?2")?
            .query_map(params![now.saturating_sub(unused), *budget], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in names {
            let name = ChannelName::parse(&name).map_err(|_| damaged("a channel's name"))?;
            // The table lacks what this batch has changed so far.
            if self.state.channels.get(self.conn, &name)?.is_some_and(|channel| channel.records == 0) {
                self.remove_channel(&name)?;
                done.channels += 1;
            }
            *budget = budget.saturating_sub(1);
        }
        Ok(())
    }

    /// Removes a channel without records, and what was recorded about its dead letters.
    pub(super) fn remove_channel(&mut self, name: &ChannelName) -> Result<(), StoreError> {
        self.state.channels.remove(self.conn, name)?;
        if name.family().is_inbox() {
            self.drop_cursors(&ConsumerId::told_of_dead_letters(), Some(std::slice::from_ref(name)))?;
        }
        self.state.over.remove(name);
        self.state.totals.channels = self.state.totals.channels.saturating_sub(1);
        Ok(())
    }

    fn remove_expired_values(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        let expired: Vec<(u64, u64)> = self
            .conn
            .prepare_cached(
                "DELETE FROM retained WHERE channel IN (
                   SELECT channel FROM retained WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
                 RETURNING owner, length(frame)",
            )?
            .query_map(params![now, *budget], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        self.values_removed(&expired);
        let removed = expired.len() as u64;
        done.rows += removed;
        *budget = budget.saturating_sub(removed);
        Ok(())
    }

    fn trim_rows(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        let policies = &self.options.policies;
        let before = |age: u64| if age == 0 { 0 } else { now.saturating_sub(age) };
        // Each reads only the old end of an index.
        let rules = [
            (
                "DELETE FROM commits WHERE id IN (
                   SELECT id FROM (SELECT id, newest_at FROM commits ORDER BY id LIMIT ?2) WHERE newest_at < ?1)",
                now.saturating_sub(self.options.dedup_window_ms),
            ),
            (
                "DELETE FROM cursors WHERE (consumer, channel) IN (
                   SELECT consumer, channel FROM cursors WHERE saved_at < ?1 ORDER BY saved_at LIMIT ?2)",
                before(policies.forget_cursors_ms),
            ),
        ];
        for (sql, bound) in rules {
            if *budget == 0 {
                return Ok(());
            }
            let removed = self.conn.prepare_cached(sql)?.execute(params![bound, *budget])? as u64;
            done.rows += removed;
            *budget = budget.saturating_sub(removed);
        }
        let removed = self.trim_audit(now, *budget)?;
        done.rows += removed;
        *budget = budget.saturating_sub(removed);
        Ok(())
    }

    /// Gives free pages back to the file system while an eighth of the file is free. Returns
    /// whether there are more.
    fn give_back_pages(&mut self) -> Result<bool, StoreError> {
        let pragma = |name| self.conn.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        let free = pragma("freelist_count")?;
        if free <= FREE_PAGES_KEPT || free < pragma("page_count")? / 8 {
            return Ok(false);
        }
        // Each row of its answer is a page given back.
        let mut statement = self.conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(true)
    }

    /// Damaged records are skipped, because nothing can be done with them.
    fn channels_older(
        &self,
        column: &str,
        family: ChannelFamily,
        cutoff: u64,
        limit: usize,
    ) -> Result<Vec<ChannelName>, StoreError> {
        let sql = format!("SELECT name FROM channels WHERE family = ?1 AND {column} < ?2 ORDER BY {column} LIMIT ?3");
        let mut statement = self.conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params![family.index(), cutoff, limit])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            let name = ChannelName::parse(&name).map_err(|_| damaged("a channel's name"))?;
            if !self.is_damaged(&name) {
                names.push(name);
            }
        }
        Ok(names)
    }
}
