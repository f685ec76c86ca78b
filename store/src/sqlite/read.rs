//! Reading logs and inboxes. Every function runs on a reader's connection, inside one snapshot of
//! the file.

use bytes::Bytes;
use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    append::sql_integer,
    channels::{COLUMNS, Channel, channel_of, find_channel, read_gaps},
    commits::{Unplaced, unplaced},
    error::damaged,
};
use crate::{
    channel::{ChannelFamily, ChannelName},
    dead::{DeadOrigin, DeadReason},
    error::StoreError,
    inbox::{Pending, PendingQuery},
    lane::priority_of,
    record::{ChannelInfo, Limits, Lost, Page, ReadFrom, Record},
};

const RECORD: &str =
    "seq, prev, message_id, source, frame, lane, expires_at, stored_at, dead_channel, dead_seq, dead_reason, dead_detail";

fn record_of(row: &Row<'_>) -> Result<Record, StoreError> {
    let lane: u8 = row.get(5)?;
    let dead_channel: Option<String> = row.get(8)?;
    let dead = match dead_channel {
        None => None,
        Some(channel) => {
            let reason: String = row.get(10)?;
            Some(DeadOrigin {
                channel: ChannelName::parse(&channel).map_err(|_| damaged("a dead letter's origin"))?,
                seq: row.get(9)?,
                reason: DeadReason::from_code(&reason).ok_or_else(|| damaged("a dead letter's reason"))?,
                detail: row.get(11)?,
            })
        }
    };
    Ok(Record {
        seq: row.get(0)?,
        prev: row.get(1)?,
        message_id: row.get(2)?,
        source: row.get(3)?,
        frame: Bytes::from(row.get::<_, Vec<u8>>(4)?),
        priority: priority_of(lane).ok_or_else(|| damaged("a record's lane"))?,
        expires_at: row.get(6)?,
        stored_at: row.get(7)?,
        dead,
    })
}

/// A page while it is filled.
struct Filling {
    page: Page,
    limits: Limits,
    bytes: u64,
}

impl Filling {
    /// Adds a record. Returns whether there was room for it.
    fn take(&mut self, row: &Row<'_>) -> Result<bool, StoreError> {
        let size = row.get_ref(4)?.as_bytes().map_err(|_| damaged("a frame"))?.len() as u64;
        let full =
            self.page.records.len() >= self.limits.records.max(1) as usize || self.bytes.saturating_add(size) > self.limits.bytes;
        if full && !self.page.records.is_empty() {
            return Ok(false);
        }
        let record = record_of(row)?;
        self.bytes = self.bytes.saturating_add(size);
        self.page.next = record.seq;
        self.page.records.push(record);
        Ok(true)
    }

    /// Adds what the index lists after a number, then what it does not list yet. Returns whether
    /// that was all.
    fn fill(&mut self, conn: &Connection, channel: i64, after: u64, unplaced: &[Unplaced]) -> Result<bool, StoreError> {
        let sql = format!(
            "SELECT {RECORD} FROM (SELECT seq AS number FROM logs WHERE channel = ?1 AND seq > ?2 ORDER BY number LIMIT ?3)
             CROSS JOIN records ON seq = number ORDER BY number"
        );
        let mut statement = conn.prepare_cached(&sql)?;
        // One more than requested, to know whether this is the end.
        let mut rows = statement.query(params![channel, sql_integer(after), u64::from(self.limits.records.max(1)) + 1])?;
        while let Some(row) = rows.next()? {
            if !self.take(row)? {
                return Ok(false);
            }
        }
        let mut statement = conn.prepare_cached(&format!("SELECT {RECORD} FROM records WHERE seq = ?1"))?;
        for record in unplaced.iter().filter(|record| record.seq > after) {
            let mut rows = statement.query([record.seq])?;
            if !self.take(rows.next()?.ok_or_else(|| damaged("a new record"))?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Reads a part of a log.
pub(super) fn read(conn: &Connection, name: &ChannelName, from: ReadFrom, limits: Limits) -> Result<Page, StoreError> {
    let Some((channel, unplaced)) = find(conn, name)? else { return Ok(Page::of_nothing(from)) };
    let first_placed: Option<u64> =
        conn.prepare_cached("SELECT min(seq) FROM logs WHERE channel = ?1")?.query_row([channel.id], |row| row.get(0))?;
    let first_available = first_placed.or(unplaced.first().map(|record| record.seq));
    let (after, lost) = match from {
        ReadFrom::After(after) => (after, lost_after(conn, &channel, after)?),
        ReadFrom::Time(time) => (before_time(conn, &channel, &unplaced, time)?, None),
        ReadFrom::Last(count) => (before_last(conn, &channel, &unplaced, count as usize)?, None),
    };
    let page = Page { records: Vec::new(), next: after, head: channel.head, first_available, lost };
    let mut filling = Filling { page, limits, bytes: 0 };
    let is_all = filling.fill(conn, channel.id, after, &unplaced)?;
    let mut page = filling.page;
    if is_all {
        page.next = page.next.max(channel.head);
    }
    Ok(page)
}

/// A channel, and those of its records that the indexes lack.
fn find(conn: &Connection, name: &ChannelName) -> Result<Option<(Channel, Vec<Unplaced>)>, StoreError> {
    let Some(mut channel) = find_channel(conn, name.as_str())? else { return Ok(None) };
    let unplaced = unplaced(conn, Some(channel.id))?;
    unplaced.iter().for_each(|record| channel.add(record));
    Ok(Some((channel, unplaced)))
}

fn lost_after(conn: &Connection, channel: &Channel, after: u64) -> Result<Option<Lost>, StoreError> {
    Ok(read_gaps(conn, channel.id)?.lost_after(after, channel.born))
}

/// The number before the first record stored at or after a time. Times do not decrease in a
/// channel, so a binary search finds it.
fn before_time(conn: &Connection, channel: &Channel, unplaced: &[Unplaced], time: u64) -> Result<u64, StoreError> {
    let earlier = unplaced.partition_point(|record| record.stored_at < time);
    if let Some(newest) = earlier.checked_sub(1).and_then(|index| unplaced.get(index)) {
        return Ok(newest.seq);
    }
    let mut probe = conn.prepare_cached(
        "SELECT seq, stored_at FROM records WHERE seq = (SELECT min(seq) FROM logs WHERE channel = ?1 AND seq > ?2)",
    )?;
    let (mut low, mut high) = (0, channel.head);
    while low < high {
        let middle = low + (high - low) / 2;
        let found: Option<(u64, u64)> =
            probe.query_row(params![channel.id, middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((seq, stored_at)) if stored_at < time => low = seq,
            _ => high = middle,
        }
    }
    Ok(low)
}

fn before_last(conn: &Connection, channel: &Channel, unplaced: &[Unplaced], count: usize) -> Result<u64, StoreError> {
    let Some(count) = count.checked_sub(unplaced.len()) else {
        let before = unplaced.iter().nth_back(count);
        return Ok(before.map_or(0, |record| record.seq));
    };
    let before = conn
        .prepare_cached("SELECT seq FROM logs WHERE channel = ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2")?
        .query_row(params![channel.id, count as u64], |row| row.get(0))
        .optional()?;
    Ok(before.unwrap_or(0))
}

/// Reads what waits for an acknowledgement.
pub(super) fn pending(conn: &Connection, name: &ChannelName, query: PendingQuery) -> Result<Vec<Pending>, StoreError> {
    let Some((channel, unplaced)) = find(conn, name)? else { return Ok(Vec::new()) };
    let limit = query.limits.records.max(1);
    let mut waiting: Vec<(u64, u32, u64, Option<String>)> = unplaced
        .iter()
        .filter(|record| record.waits && record.seq > query.after && record.due_at <= sql_integer(query.due_before))
        .map(|record| (record.seq, record.attempts, record.due_at, None))
        .collect();
    let mut statement = conn.prepare_cached(
        "SELECT seq, attempts, due_at, reason FROM unacked WHERE channel = ?1 AND lane = ?2 AND seq > ?3 AND due_at <= ?4
         ORDER BY seq LIMIT ?5",
    )?;
    for lane in 0..4 {
        let rows = statement
            .query_map(params![channel.id, lane, sql_integer(query.after), sql_integer(query.due_before), limit], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })?;
        for row in rows {
            waiting.push(row?);
        }
    }
    waiting.sort_unstable_by_key(|(seq, ..)| *seq);
    waiting.truncate(limit as usize);
    let mut bytes = 0_u64;
    let mut found = Vec::with_capacity(waiting.len());
    let mut statement = conn.prepare_cached(&format!("SELECT {RECORD} FROM records WHERE seq = ?1"))?;
    for (seq, attempts, due_at, reason) in waiting {
        let mut rows = statement.query([seq])?;
        let row = rows.next()?.ok_or_else(|| damaged("an unacknowledged record"))?;
        let record = record_of(row)?;
        bytes = bytes.saturating_add(record.frame.len() as u64);
        if bytes > query.limits.bytes && !found.is_empty() {
            break;
        }
        found.push(Pending { record, attempts, due_at, reason });
    }
    Ok(found)
}

/// What is known about a channel.
pub(super) fn channel(conn: &Connection, name: &ChannelName) -> Result<Option<ChannelInfo>, StoreError> {
    let Some((channel, unplaced)) = find(conn, name)? else { return Ok(None) };
    let oldest_at = oldest_at(conn, &channel, &unplaced)?;
    Ok(Some(channel.info(name.clone(), oldest_at)))
}

/// Channels in the order of their names.
pub(super) fn channels(
    conn: &Connection,
    family: Option<ChannelFamily>,
    after: Option<&ChannelName>,
    limit: u32,
) -> Result<Vec<ChannelInfo>, StoreError> {
    // All names of a family begin with the family's name and a colon, and ';' follows ':'.
    let first = family.map_or(String::new(), |family| format!("{}:", family.as_str()));
    let end = family.map_or("~".to_owned(), |family| format!("{};", family.as_str()));
    let after = after.map_or(first.as_str(), |after| after.as_str()).max(&first);
    let sql = format!("SELECT {COLUMNS} FROM channels WHERE name > ?1 AND name < ?2 ORDER BY name LIMIT ?3");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, end, limit])?;
    let mut unplaced_of: HashMap<i64, Vec<Unplaced>> = HashMap::default();
    for record in unplaced(conn, None)? {
        unplaced_of.entry(record.channel).or_default().push(record);
    }
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(1)?;
        let mut channel = channel_of(row)?;
        let unplaced = unplaced_of.remove(&channel.id).unwrap_or_default();
        unplaced.iter().for_each(|record| channel.add(record));
        let oldest_at = oldest_at(conn, &channel, &unplaced)?;
        found.push(channel.info(ChannelName::parse(&name).map_err(|_| damaged("a channel's name"))?, oldest_at));
    }
    Ok(found)
}

/// When the oldest record of a channel was stored.
fn oldest_at(conn: &Connection, channel: &Channel, unplaced: &[Unplaced]) -> Result<Option<u64>, StoreError> {
    if channel.unacked == 0 {
        return Ok(channel.oldest_at);
    }
    let placed = conn
        .prepare_cached("SELECT stored_at FROM records WHERE seq = (SELECT min(seq) FROM logs WHERE channel = ?1)")?
        .query_row([channel.id], |row| row.get(0))
        .optional()?;
    Ok(placed.or_else(|| unplaced.first().map(|record| record.stored_at)))
}
