//! Numbers as they are read from the file.
//!
//! An overwritten page can hold any number. What is calculated with is therefore checked when it is
//! read. A number that no store has written is damage.

use rusqlite::{Error, Result, Row};

use crate::position::MAX_SEQ;

/// The most bytes of a frame: SQLite holds no longer value.
pub(super) const MAX_SIZE: u64 = i32::MAX.unsigned_abs() as u64;
/// The most deliveries of a message, far above what happens in the life of a store.
pub(super) const MAX_ATTEMPTS: u32 = i32::MAX.unsigned_abs();

fn at_most(row: &Row<'_>, column: usize, most: u64) -> Result<u64> {
    let found: i64 = row.get(column)?;
    let number = u64::try_from(found).ok().filter(|number| *number <= most);
    number.ok_or(Error::IntegralValueOutOfRange(column, found))
}

/// A counter, a sum or a sequence number.
pub(super) fn counter(row: &Row<'_>, column: usize) -> Result<u64> {
    at_most(row, column, MAX_SEQ)
}

/// The bytes of one frame.
pub(super) fn size(row: &Row<'_>, column: usize) -> Result<u64> {
    at_most(row, column, MAX_SIZE)
}

/// How often a message was delivered.
pub(super) fn attempts(row: &Row<'_>, column: usize) -> Result<u32> {
    let found = at_most(row, column, u64::from(MAX_ATTEMPTS))?;
    Ok(u32::try_from(found).unwrap_or(MAX_ATTEMPTS))
}

/// Whether a number that was stored as bytes can be a sequence number or a counter.
pub(super) fn is_counter(number: u64) -> bool {
    number <= MAX_SEQ
}

/// Whether a number that was stored as bytes can be a time.
pub(super) fn is_time(number: u64) -> bool {
    i64::try_from(number).is_ok()
}
