//! Reading cursors, retained values, audit, state. On a reader's connection.

use bytes::Bytes;
use common::audit::{Entry, Event};
use rusqlite::{Connection, OptionalExtension, params};

use super::{append::sql_integer, error::damaged};
use crate::{
    audit::{AuditQuery, AuditRow},
    channel::ChannelName,
    error::StoreError,
    session::{ConsumerId, Retained},
};

pub(super) fn retained(conn: &Connection, channel: &ChannelName) -> Result<Option<Retained>, StoreError> {
    let value = conn
        .prepare_cached("SELECT seq, stored_at, expires_at, frame FROM retained WHERE channel = ?1")?
        .query_row([channel.as_str()], |row| {
            Ok(Retained {
                seq: row.get(0)?,
                stored_at: row.get(1)?,
                expires_at: row.get(2)?,
                frame: Bytes::from(row.get::<_, Vec<u8>>(3)?),
            })
        })
        .optional()?;
    Ok(value)
}

pub(super) fn cursors(conn: &Connection, consumer: &ConsumerId) -> Result<Vec<(ChannelName, u64)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT channel, seq FROM cursors WHERE consumer = ?1 ORDER BY channel")?;
    let mut rows = statement.query([consumer.as_str()])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let channel: String = row.get(0)?;
        found.push((ChannelName::parse(&channel).map_err(|_| damaged("a cursor's channel"))?, row.get(1)?));
    }
    Ok(found)
}

pub(super) fn consumers(conn: &Connection, after: Option<&ConsumerId>, limit: u32) -> Result<Vec<ConsumerId>, StoreError> {
    let mut statement =
        conn.prepare_cached("SELECT DISTINCT consumer FROM cursors WHERE consumer > ?1 ORDER BY consumer LIMIT ?2")?;
    let found = statement.query_map(params![after.map_or("", ConsumerId::as_str), limit], |row| row.get::<_, String>(0))?;
    found.map(|id| ConsumerId::new(&id?).map_err(|_| damaged("who has a cursor"))).collect()
}

pub(super) fn audit_log(conn: &Connection, query: &AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
    const COLUMNS: &str = "id, at, kind, who, what, origin, detail";
    let by_kind = if query.kind.is_some() { "kind = ?5" } else { "?5 IS NULL" };
    let sql =
        format!("SELECT {COLUMNS} FROM audit WHERE id < ?1 AND at >= ?2 AND at < ?3 AND {by_kind} ORDER BY id DESC LIMIT ?4");
    let mut statement = conn.prepare_cached(&sql)?;
    let (before, since, until) = (sql_integer(query.before_id), sql_integer(query.since), sql_integer(query.until));
    let mut rows = statement.query(params![before, since, until, query.limit, query.kind.map(Event::as_str)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let kind = row.get_ref(2)?.as_str().ok().and_then(|kind| kind.parse().ok());
        found.push(AuditRow {
            id: row.get(0)?,
            entry: Entry {
                at: row.get(1)?,
                kind: kind.ok_or_else(|| damaged("the kind of an entry of the audit log"))?,
                who: row.get(3)?,
                what: row.get(4)?,
                origin: row.get(5)?,
                detail: row.get(6)?,
            },
        });
    }
    Ok(found)
}

pub(super) fn state(conn: &Connection, name: &str) -> Result<Option<Bytes>, StoreError> {
    let value: Option<Vec<u8>> =
        conn.prepare_cached("SELECT value FROM state WHERE name = ?1")?.query_row([name], |row| row.get(0)).optional()?;
    Ok(value.map(Bytes::from))
}

/// Small values in the order of their names, those after `after`.
pub(super) fn states(conn: &Connection, after: &str, limit: u32) -> Result<Vec<(String, Bytes)>, StoreError> {
    let mut statement = conn.prepare_cached("SELECT name, value FROM state WHERE name > ?1 ORDER BY name LIMIT ?2")?;
    let rows = statement.query_map(params![after, limit], |row| Ok((row.get(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
