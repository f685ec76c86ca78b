//! Checks for damage: SQLite's own check of the file, then whether the counters agree with the
//! content.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::existing::{existing, open_store};
use crate::{
    embedded::{
        commits::{self, Unplaced},
        file, schema,
    },
    error::StoreError,
    position::Epoch,
};

/// The most problems listed of each kind; more would only repeat the same.
const LISTED: u32 = 20;
/// The first schema version whose records have checksums.
const FIRST_WITH_CHECKSUMS: u32 = 4;

/// The result of [`check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// The problems; empty if there are none.
    pub problems: Vec<String>,
    /// The epoch of the file; `None` for a backup, which begins a new one when it is used.
    pub epoch: Option<Epoch>,
    /// Version of its schema.
    pub schema: u32,
    /// The next sequence number.
    pub next_seq: u64,
    /// Channels.
    pub channels: u64,
    /// Records in all logs.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Records that wait for an acknowledgement.
    pub unacked: u64,
    /// Sessions.
    pub sessions: u64,
}

/// Statements that return one row per problem. `fresh` is what no index lists yet, as
/// [`list_unplaced`] has written it.
const RULES: [(&str, &str); 8] = [
    (
        "its counts do not agree with its records",
        "SELECT channels.name FROM channels LEFT JOIN (
           SELECT channel, count(*) AS number, sum(length(frame)) AS size, max(seq) AS newest FROM records
           WHERE seq NOT IN (SELECT seq FROM fresh) GROUP BY channel
         ) AS found ON found.channel = channels.id
         WHERE records <> coalesce(number, 0) OR bytes <> coalesce(size, 0) OR head < coalesce(newest, 0)",
    ),
    (
        "its counts do not agree with what waits for an acknowledgement",
        "SELECT channels.name FROM channels LEFT JOIN (
           SELECT channel, count(*) AS number, sum(bytes) AS size FROM unacked GROUP BY channel
         ) AS found ON found.channel = channels.id
         WHERE unacked <> coalesce(number, 0) OR unacked_bytes <> coalesce(size, 0)",
    ),
    (
        "it waits for an acknowledgement and is not there",
        "SELECT 'record ' || unacked.seq FROM unacked LEFT JOIN records ON records.seq = unacked.seq
         AND records.channel = unacked.channel AND records.lane = unacked.lane WHERE records.seq IS NULL",
    ),
    (
        "it is not in its channel's log",
        "SELECT 'record ' || seq FROM records
         WHERE (SELECT count(*) FROM logs WHERE logs.channel = records.channel AND logs.seq = records.seq)
             + (SELECT count(*) FROM fresh WHERE fresh.channel = records.channel AND fresh.seq = records.seq) <> 1",
    ),
    (
        "it is in a log and is not there",
        "SELECT 'record ' || seq FROM (SELECT channel, seq FROM logs UNION ALL SELECT channel, seq FROM fresh) AS listed
         WHERE NOT EXISTS (SELECT 1 FROM records WHERE records.seq = listed.seq AND records.channel = listed.channel)",
    ),
    (
        "what is listed of it is not what it is",
        "SELECT 'record ' || fresh.seq FROM fresh JOIN records ON records.seq = fresh.seq
         WHERE fresh.bytes <> length(frame) OR fresh.lane <> records.lane",
    ),
    ("it belongs to no channel", "SELECT 'record ' || seq FROM records WHERE channel NOT IN (SELECT id FROM channels)"),
    (
        "its number was not reserved",
        "SELECT 'record ' || seq FROM records WHERE seq >= (SELECT value FROM meta WHERE name = 'next_seq')",
    ),
];

/// Reads the whole file and reports. An error means that it could not be read at all.
///
/// # Errors
/// There is no store, or it cannot be read at all. Damage that was found is in the report.
pub fn check(dir: &Path) -> Result<CheckReport, StoreError> {
    let database = existing(dir)?;
    open_store(&database).and_then(|conn| report(&conn)).map_err(|error| error.in_file(&database))
}

pub(super) fn report(conn: &Connection) -> Result<CheckReport, StoreError> {
    let snapshot = conn.unchecked_transaction()?;
    let mut problems = Problems::default();
    let unplaced = problems.or_none("what no index lists yet", list_unplaced(&snapshot))?.unwrap_or_default();
    let found = problems.or_none("the file", lines(&snapshot, &format!("PRAGMA integrity_check({LISTED})")))?;
    problems.0.extend(found.into_iter().flatten().filter(|line| line != "ok"));
    for (meaning, sql) in RULES {
        let found = problems.or_none(meaning, lines(&snapshot, &format!("{sql} LIMIT {LISTED}")))?;
        problems.0.extend(found.into_iter().flatten().map(|what| format!("{what}: {meaning}")));
    }
    find_unreadable(&snapshot, &unplaced, &mut problems)?;
    let mut count = |sql| {
        let found = snapshot.query_row(sql, [], |row| row.get::<_, u64>(0)).map_err(StoreError::from);
        problems.or_none(sql, found).map(Option::unwrap_or_default)
    };
    let schema = count("PRAGMA user_version").map(|version| u32::try_from(version).unwrap_or(u32::MAX))?;
    let channels = count("SELECT count(*) FROM channels")?;
    let records = count("SELECT count(*) FROM records")?;
    let bytes = count("SELECT coalesce(sum(bytes), 0) FROM channels")? + unplaced.iter().map(|record| record.bytes).sum::<u64>();
    let unacked = count("SELECT count(*) FROM unacked")? + unplaced.iter().filter(|record| record.waits).count() as u64;
    let sessions = count("SELECT count(*) FROM sessions")?;
    let next_seq = problems.or_none("the counter", schema::next_seq(&snapshot))?.unwrap_or(0);
    problems.or_none("the mark", schema::placed(&snapshot))?;
    let epoch = problems.or_none("the epoch", file::read_epoch(&snapshot))?.flatten();
    Ok(CheckReport { problems: problems.0, epoch, schema, next_seq, channels, records, bytes, unacked, sessions })
}

/// The problems found.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    /// The value read, or `None` and one more problem if it is damaged.
    fn or_none<T>(&mut self, what: &str, found: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match found {
            Ok(found) => Ok(Some(found)),
            Err(StoreError::Corrupt(why)) => {
                self.0.push(format!("{what}: it cannot be read ({why})"));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Reads every record of every channel, and lists the channels with records that cannot be read.
fn find_unreadable(snapshot: &Connection, unplaced: &[Unplaced], problems: &mut Problems) -> Result<(), StoreError> {
    let version: u32 = snapshot.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let has_checksums = version >= FIRST_WITH_CHECKSUMS;
    let mut statement = snapshot.prepare("SELECT id, name FROM channels ORDER BY name")?;
    let mut rows = statement.query([])?;
    let mut listed = 0;
    while let Some(Some((id, name))) = problems.or_none("the list of channels", next_channel(&mut rows))? {
        let mut numbers = snapshot.prepare_cached("SELECT seq FROM logs WHERE channel = ?1 ORDER BY seq")?;
        let placed = numbers.query_map([id], |row| row.get::<_, u64>(0))?;
        let fresh = unplaced.iter().filter(|record| record.channel == id).map(|record| Ok(record.seq));
        let (mut count, mut ends) = (0_u64, None);
        for seq in placed.chain(fresh) {
            let Some(seq) = problems.or_none(&format!("the log of {name}"), seq.map_err(StoreError::from))? else { break };
            if !is_readable(snapshot, seq, has_checksums)? {
                count += 1;
                ends = Some((ends.map_or(seq, |(first, _)| first), seq));
            }
        }
        if let Some((first, last)) = ends
            && listed < LISTED
        {
            listed += 1;
            problems
                .0
                .push(format!("{name} is damaged: {count} of its records cannot be read, with numbers from {first} to {last}"));
        }
    }
    Ok(())
}

fn next_channel(rows: &mut rusqlite::Rows<'_>) -> Result<Option<(i64, String)>, StoreError> {
    Ok(rows.next()?.map(|row| Ok::<_, rusqlite::Error>((row.get(0)?, row.get(1)?))).transpose()?)
}

/// Whether a record exists and agrees with its checksum.
fn is_readable(snapshot: &Connection, seq: u64, has_checksums: bool) -> Result<bool, StoreError> {
    let sql = if has_checksums { "SELECT frame, checksum FROM records" } else { "SELECT frame, NULL FROM records" };
    let found = snapshot
        .prepare_cached(&format!("{sql} WHERE seq = ?1"))?
        .query_row([seq], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<u32>>(1)?)))
        .optional()
        .map_err(StoreError::from);
    match found {
        Ok(Some((frame, checksum))) => Ok(checksum.is_none_or(|checksum| checksum == crc32fast::hash(&frame))),
        Ok(None) | Err(StoreError::Corrupt(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes what no index lists yet into a temporary table of this connection.
fn list_unplaced(snapshot: &Connection) -> Result<Vec<Unplaced>, StoreError> {
    // A file opened for reading stays so; this is about tables in memory.
    snapshot.execute_batch(
        "PRAGMA query_only = OFF;
         CREATE TEMP TABLE fresh (seq INTEGER PRIMARY KEY, channel INTEGER, lane INTEGER, bytes INTEGER) STRICT;",
    )?;
    let mut insert = snapshot.prepare("INSERT OR REPLACE INTO fresh (seq, channel, lane, bytes) VALUES (?1, ?2, ?3, ?4)")?;
    let unplaced = commits::unplaced(snapshot, None)?;
    for record in &unplaced {
        insert.execute(params![record.seq, record.channel, record.lane, record.bytes])?;
    }
    drop(insert);
    snapshot.execute_batch("PRAGMA query_only = ON;")?;
    Ok(unplaced)
}

fn lines(conn: &Connection, sql: &str) -> Result<Vec<String>, StoreError> {
    let mut statement = conn.prepare(sql)?;
    let lines = statement.query_map([], |row| row.get(0))?;
    Ok(lines.collect::<Result<_, _>>()?)
}
