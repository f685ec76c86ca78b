//! Reading logs and inboxes. Every function runs on a reader's connection, inside one snapshot of
//! the file.

use bytes::Bytes;
use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use super::{
    append::sql_integer,
    channels::{COLUMNS, Channel, channel_of, find_channel, read_gaps},
    checked::{attempts, counter},
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

const RECORD: &str = "seq, prev, message_id, source, frame, lane, expires_at, stored_at, dead_channel, dead_seq, dead_reason, dead_detail, \
     checksum";
/// How many numbers are listed at once when records are read one by one.
const LISTED: u32 = 256;

/// Whether a read had to leave something out.
#[derive(Debug, Default)]
pub(super) struct LeftOut(Option<String>);

impl LeftOut {
    /// Why something was left out; `None` if nothing was.
    pub(super) fn why(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// The value read; `None` if it is damaged.
    fn or_leave<T>(&mut self, found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::Corrupt(what)) => {
                self.0.get_or_insert(what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn record_of(row: &Row<'_>) -> Result<Record, StoreError> {
    let lane: u8 = row.get(5)?;
    let dead_channel: Option<String> = row.get(8)?;
    let frame: Vec<u8> = row.get(4)?;
    let checksum: Option<u32> = row.get(12)?;
    if checksum.is_some_and(|checksum| checksum != crc32fast::hash(&frame)) {
        return Err(damaged("a frame"));
    }
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
        seq: counter(row, 0)?,
        prev: counter(row, 1)?,
        message_id: row.get(2)?,
        source: row.get(3)?,
        frame: Bytes::from(frame),
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
    fn fill(
        &mut self,
        conn: &Connection,
        channel: i64,
        after: u64,
        unplaced: &[Unplaced],
        left_out: &mut LeftOut,
    ) -> Result<bool, StoreError> {
        let is_all = match self.fill_from_index(conn, channel, after) {
            Err(StoreError::Corrupt(_)) => self.fill_one_by_one(conn, channel, after, left_out)?,
            outcome => outcome?,
        };
        if !is_all {
            return Ok(false);
        }
        for record in unplaced.iter().filter(|record| record.seq > after) {
            if !self.take_one(conn, record.seq, left_out)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fill_from_index(&mut self, conn: &Connection, channel: i64, after: u64) -> Result<bool, StoreError> {
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
        Ok(true)
    }

    /// The same if records are damaged: adds the readable ones and leaves the others out.
    fn fill_one_by_one(
        &mut self,
        conn: &Connection,
        channel: i64,
        after: u64,
        left_out: &mut LeftOut,
    ) -> Result<bool, StoreError> {
        let mut after = self.page.records.last().map_or(after, |record| record.seq);
        let mut statement = conn.prepare_cached("SELECT seq FROM logs WHERE channel = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?;
        loop {
            let mut rows = statement.query(params![channel, sql_integer(after), LISTED])?;
            let mut is_end = true;
            // The rest of an index that cannot be read is left out.
            while let Some(Some(seq)) = left_out.or_leave(next_number(&mut rows))? {
                is_end = false;
                after = seq;
                if !self.take_one(conn, seq, left_out)? {
                    return Ok(false);
                }
            }
            if is_end {
                return Ok(true);
            }
        }
    }

    /// Adds one record, unless it is damaged. Returns whether there was room for it.
    fn take_one(&mut self, conn: &Connection, seq: u64, left_out: &mut LeftOut) -> Result<bool, StoreError> {
        let mut statement = conn.prepare_cached(&format!("SELECT {RECORD} FROM records WHERE seq = ?1"))?;
        let mut rows = statement.query([seq])?;
        let taken = match rows.next() {
            Ok(Some(row)) => self.take(row),
            Ok(None) => Err(damaged("a record in a log")),
            Err(error) => Err(error.into()),
        };
        Ok(left_out.or_leave(taken)?.unwrap_or(true))
    }
}

/// The number in the next row.
fn next_number(rows: &mut Rows<'_>) -> Result<Option<u64>, StoreError> {
    Ok(rows.next()?.map(|row| counter(row, 0)).transpose()?)
}

/// Reads a part of a log. Damaged records are left out.
pub(super) fn read(
    conn: &Connection,
    name: &ChannelName,
    from: ReadFrom,
    limits: Limits,
    left_out: &mut LeftOut,
) -> Result<Page, StoreError> {
    let Some((channel, unplaced)) = find(conn, name)? else { return Ok(Page::of_nothing(from)) };
    let first_placed = conn
        .prepare_cached("SELECT min(seq) FROM logs WHERE channel = ?1")?
        .query_row([channel.id], |row| row.get::<_, Option<u64>>(0))
        .map_err(StoreError::from);
    let first_placed = left_out.or_leave(first_placed)?.flatten();
    let first_available = first_placed.or(unplaced.first().map(|record| record.seq));
    let (after, lost) = match from {
        ReadFrom::After(after) => (after, lost_after(conn, &channel, after)?),
        ReadFrom::Time(time) => (before_time(conn, &channel, &unplaced, time)?, None),
        ReadFrom::Last(count) => (before_last(conn, &channel, &unplaced, count as usize)?, None),
    };
    let page = Page { records: Vec::new(), next: after, head: channel.head, first_available, lost };
    let mut filling = Filling { page, limits, bytes: 0 };
    let is_all = filling.fill(conn, channel.id, after, &unplaced, left_out)?;
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

/// A row of a waiting message: its number, attempts, when it is due, and why it was last refused.
type Waiting = (u64, u32, u64, Option<String>);

/// Reads messages that wait for an acknowledgement. Damaged records are left out.
pub(super) fn pending(
    conn: &Connection,
    name: &ChannelName,
    query: PendingQuery,
    left_out: &mut LeftOut,
) -> Result<Vec<Pending>, StoreError> {
    let Some((channel, unplaced)) = find(conn, name)? else { return Ok(Vec::new()) };
    let mut query = query;
    loop {
        let waiting = waiting(conn, channel.id, &unplaced, query, left_out)?;
        let Some(last) = waiting.last().map(|(seq, ..)| *seq) else { return Ok(Vec::new()) };
        let found = read_waiting(conn, waiting, query.limits, left_out)?;
        if !found.is_empty() {
            return Ok(found);
        }
        // None of these can be read, and there may be more behind them.
        query.after = last;
    }
}

/// Messages that wait after a number, up to a limit.
fn waiting(
    conn: &Connection,
    channel: i64,
    unplaced: &[Unplaced],
    query: PendingQuery,
    left_out: &mut LeftOut,
) -> Result<Vec<Waiting>, StoreError> {
    let limit = query.limits.records.max(1);
    let mut waiting: Vec<Waiting> = unplaced
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
            .query_map(params![channel, lane, sql_integer(query.after), sql_integer(query.due_before), limit], |row| {
                Ok((counter(row, 0)?, attempts(row, 1)?, row.get(2)?, row.get(3)?))
            })?;
        for row in rows {
            // The rest of an index that cannot be read is left out.
            let Some(row) = left_out.or_leave(row.map_err(StoreError::from))? else { break };
            waiting.push(row);
        }
    }
    waiting.sort_unstable_by_key(|(seq, ..)| *seq);
    waiting.truncate(limit as usize);
    Ok(waiting)
}

/// The records of waiting messages, as many as there is room for.
fn read_waiting(
    conn: &Connection,
    waiting: Vec<Waiting>,
    limits: Limits,
    left_out: &mut LeftOut,
) -> Result<Vec<Pending>, StoreError> {
    let mut bytes = 0_u64;
    let mut found = Vec::with_capacity(waiting.len());
    let mut statement = conn.prepare_cached(&format!("SELECT {RECORD} FROM records WHERE seq = ?1"))?;
    for (seq, attempts, due_at, reason) in waiting {
        let mut rows = statement.query([seq])?;
        let record = match rows.next() {
            Ok(Some(row)) => record_of(row),
            Ok(None) => Err(damaged("an unacknowledged record")),
            Err(error) => Err(error.into()),
        };
        let Some(record) = left_out.or_leave(record)? else { continue };
        bytes = bytes.saturating_add(record.frame.len() as u64);
        if bytes > limits.bytes && !found.is_empty() {
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
