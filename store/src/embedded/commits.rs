//! What one commit adds to the file beside its records, packed into one row.
//!
//! A commit costs the number of pages that it changes, so many small changes all over the file are
//! expensive. Therefore a commit appends its records to `records` and one row to `commits`, and
//! leaves the indexes and the channels' counters as they are. A row holds
//! - the ids by which repeated messages are recognised,
//! - the records that the indexes lack, and
//! - those of them, also of earlier commits, that no longer wait for an acknowledgement.
//!
//! Every reader must take the rows after `meta.placed` into account: a channel is its row and what
//! [`unplaced`] returns.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{
    checked::{MAX_ATTEMPTS, MAX_SIZE, is_counter, is_time},
    error::damaged,
};
use crate::{error::StoreError, lane::LANES};

/// A record that is not in the indexes yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unplaced {
    pub(super) seq: u64,
    /// Its channel's row.
    pub(super) channel: i64,
    pub(super) lane: u8,
    /// Whether it waits for an acknowledgement.
    pub(super) waits: bool,
    pub(super) bytes: u64,
    pub(super) stored_at: u64,
    pub(super) expires_at: Option<u64>,
    pub(super) attempts: u32,
    pub(super) due_at: u64,
    /// Its owner's number; 0: charged to nobody. Not in the stored form, because the record has it.
    pub(super) owner: u64,
}

/// Bytes of a record in the stored form.
const ENCODED: usize = 54;
/// Marks in the stored form that a record does not expire.
const NEVER: u64 = u64::MAX;

/// The stored form of some records.
pub(super) fn encode(records: &[Unplaced]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(records.len() * ENCODED);
    for record in records {
        stored.extend_from_slice(&record.seq.to_le_bytes());
        stored.extend_from_slice(&record.channel.to_le_bytes());
        stored.extend_from_slice(&record.bytes.to_le_bytes());
        stored.extend_from_slice(&record.stored_at.to_le_bytes());
        stored.extend_from_slice(&record.expires_at.unwrap_or(NEVER).to_le_bytes());
        stored.extend_from_slice(&record.due_at.to_le_bytes());
        stored.extend_from_slice(&record.attempts.to_le_bytes());
        stored.extend_from_slice(&[record.lane, u8::from(record.waits)]);
    }
    stored
}

/// Takes the first bytes of what is left.
fn take<const N: usize>(stored: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = stored.split_first_chunk::<N>()?;
    *stored = rest;
    Some(*taken)
}

fn decode_one(mut stored: &[u8]) -> Option<Unplaced> {
    let stored = &mut stored;
    let (seq, channel) = (u64::from_le_bytes(take(stored)?), i64::from_le_bytes(take(stored)?));
    let (bytes, stored_at) = (u64::from_le_bytes(take(stored)?), u64::from_le_bytes(take(stored)?));
    let (expires_at, due_at) = (u64::from_le_bytes(take(stored)?), u64::from_le_bytes(take(stored)?));
    let attempts = u32::from_le_bytes(take(stored)?);
    let [lane, waits] = take(stored)?;
    let expires_at = (expires_at != NEVER).then_some(expires_at);
    let are_times = [stored_at, due_at, expires_at.unwrap_or(0)].into_iter().all(is_time);
    let is_valid =
        are_times && is_counter(seq) && bytes <= MAX_SIZE && attempts <= MAX_ATTEMPTS && usize::from(lane) < LANES.len();
    if !is_valid {
        return None;
    }
    Some(Unplaced { seq, channel, lane, waits: waits != 0, bytes, stored_at, expires_at, attempts, due_at, owner: 0 })
}

/// Adds the records of one channel, or of all, from a stored form. `None` if it is invalid.
fn decode(stored: &[u8], channel: Option<i64>, found: &mut Vec<Unplaced>) -> Option<()> {
    let (records, rest) = stored.as_chunks::<ENCODED>();
    for record in records {
        let record = decode_one(record)?;
        if channel.is_none_or(|channel| channel == record.channel) {
            found.push(record);
        }
    }
    rest.is_empty().then_some(())
}

/// The stored form of some numbers.
pub(super) fn encode_numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The records of one channel, or of all, that are not in the indexes, in the order in which they
/// were appended.
pub(super) fn unplaced(conn: &Connection, channel: Option<i64>) -> Result<Vec<Unplaced>, StoreError> {
    let mut statement = conn.prepare_cached(
        "SELECT unplaced, settled FROM commits WHERE id > (SELECT value FROM meta WHERE name = 'placed') ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    let (mut found, mut settled) = (Vec::new(), HashSet::new());
    while let Some(row) = rows.next()? {
        let blob = |column| row.get_ref(column)?.as_blob().map_err(|_| damaged("a commit"));
        decode(blob(0)?, channel, &mut found).ok_or_else(|| damaged("a list of new records"))?;
        let (numbers, rest) = blob(1)?.as_chunks();
        settled.extend(numbers.iter().map(|number| u64::from_le_bytes(*number)));
        if !rest.is_empty() {
            return Err(damaged("a list of acknowledged records"));
        }
    }
    if !settled.is_empty() {
        found.iter_mut().for_each(|record| record.waits &= !settled.contains(&record.seq));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_a_round_trip_and_damage_is_seen() {
        let first = Unplaced {
            seq: 1 << 50,
            channel: 7,
            lane: 3,
            waits: true,
            bytes: 300,
            stored_at: 1_700_000_000_000,
            expires_at: None,
            attempts: 2,
            due_at: 1,
            owner: 0,
        };
        let second = Unplaced { channel: 8, waits: false, expires_at: Some(0), ..first };
        let stored = encode(&[first, second]);
        let of = |channel| {
            let mut found = Vec::new();
            decode(&stored, channel, &mut found).map(|()| found)
        };
        assert_eq!(of(None), Some(vec![first, second]));
        assert_eq!(of(Some(8)), Some(vec![second]));
        assert_eq!(decode(&stored[1..], None, &mut Vec::new()), None);
        // Numbers that cannot be calculated with.
        let damaged = [
            Unplaced { seq: u64::MAX, ..first },
            Unplaced { bytes: u64::MAX / 2, ..first },
            Unplaced { attempts: u32::MAX, ..first },
            Unplaced { stored_at: u64::MAX, ..first },
            Unplaced { lane: 9, ..first },
        ];
        for record in damaged {
            assert_eq!(decode(&encode(&[record]), None, &mut Vec::new()), None, "{record:?}");
        }
    }
}
