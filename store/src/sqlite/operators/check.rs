//! Checks for damage: SQLite's own check of the file, then whether the counters agree with the
//! content.

use std::path::Path;

use rusqlite::{Connection, params};

use super::existing::{existing, open_store};
use crate::{
    error::StoreError,
    position::Epoch,
    sqlite::{
        commits::{self, Unplaced},
        file, schema,
    },
};

/// The most problems listed of each kind; more would only repeat the same.
const LISTED: u32 = 20;

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
const RULES: [(&str, &str); 9] = [
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
    (
        "it belongs to no session",
        "SELECT 'subscription to ' || topic FROM subscriptions WHERE session NOT IN (SELECT id FROM sessions)",
    ),
];

/// Reads the whole file and reports. An error means that it could not be read at all.
pub fn check(dir: &Path) -> Result<CheckReport, StoreError> {
    let conn = open_store(&existing(dir)?)?;
    report(&conn)
}

pub(super) fn report(conn: &Connection) -> Result<CheckReport, StoreError> {
    let snapshot = conn.unchecked_transaction()?;
    let unplaced = list_unplaced(&snapshot)?;
    let mut problems = lines(&snapshot, &format!("PRAGMA integrity_check({LISTED})"))?;
    problems.retain(|line| line != "ok");
    for (meaning, sql) in RULES {
        let found = lines(&snapshot, &format!("{sql} LIMIT {LISTED}"))?;
        problems.extend(found.into_iter().map(|what| format!("{what}: {meaning}")));
    }
    let count = |sql| snapshot.query_row(sql, [], |row| row.get::<_, u64>(0));
    Ok(CheckReport {
        problems,
        epoch: file::read_epoch(&snapshot)?,
        schema: count("PRAGMA user_version").map(|version| u32::try_from(version).unwrap_or(u32::MAX))?,
        next_seq: schema::meta(&snapshot, "next_seq")?.unwrap_or(0),
        channels: count("SELECT count(*) FROM channels")?,
        records: count("SELECT count(*) FROM records")?,
        bytes: count("SELECT coalesce(sum(bytes), 0) FROM channels")? + unplaced.iter().map(|record| record.bytes).sum::<u64>(),
        unacked: count("SELECT count(*) FROM unacked")? + unplaced.iter().filter(|record| record.waits).count() as u64,
        sessions: count("SELECT count(*) FROM sessions")?,
    })
}

/// Writes what no index lists yet into a temporary table of this connection.
fn list_unplaced(snapshot: &Connection) -> Result<Vec<Unplaced>, StoreError> {
    let unplaced = commits::unplaced(snapshot, None)?;
    // A file opened for reading stays so; this is about tables in memory.
    snapshot.execute_batch(
        "PRAGMA query_only = OFF;
         CREATE TEMP TABLE fresh (seq INTEGER PRIMARY KEY, channel INTEGER, lane INTEGER, bytes INTEGER) STRICT;",
    )?;
    let mut insert = snapshot.prepare("INSERT OR REPLACE INTO fresh (seq, channel, lane, bytes) VALUES (?1, ?2, ?3, ?4)")?;
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
