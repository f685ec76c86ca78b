//! Records whose place in the indexes is still to be taken.
//!
//! `logs` and `unacked` are ordered by channel: a commit that wrote to them would change a page of each for every channel it writes to, and pages
//! are what a commit costs. So it writes its records to the end of `records`, and what the indexes lack of them to the end of `fresh`.
//! [`Tx::place`] moves that over when there is enough of it, or when somebody needs an index to be whole. What is acknowledged soon
//! never gets into `unacked` at all. Readers look at both places.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{OptionalExtension, params};

use super::{inbox::Settled, tx::Tx};
use crate::error::StoreError;

/// Rows above which they are moved. Readers go through all of them: this many take a tenth of a millisecond.
const MOST: u64 = 2_048;

/// What the writer knows of the table, so that it need not look.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    /// Of each channel with rows, those that wait for an acknowledgement.
    waiting: HashMap<i64, BTreeSet<u64>>,
    rows: u64,
    /// After a roll-back the table is right and this is not.
    is_stale: bool,
}

impl Fresh {
    /// What another process may have left.
    pub(super) fn unknown() -> Self {
        Self { is_stale: true, ..Self::default() }
    }

    pub(super) fn add(&mut self, channel: i64, seq: u64, waits: bool) {
        let waiting = self.waiting.entry(channel).or_default();
        if waits {
            waiting.insert(seq);
        }
        self.rows += 1;
    }

    /// Rows of a channel that wait.
    pub(super) fn waiting(&self, channel: i64) -> u64 {
        self.waiting.get(&channel).map_or(0, |waiting| waiting.len() as u64)
    }

    pub(super) fn roll_back(&mut self) {
        *self = Self::unknown();
    }
}

impl Tx<'_> {
    /// Begins with what is known to be in the table.
    pub(super) fn begin_fresh(&mut self) -> Result<(), StoreError> {
        if self.state.fresh.is_stale { self.place() } else { Ok(()) }
    }

    /// Keeps the table short.
    pub(super) fn limit_fresh(&mut self) -> Result<(), StoreError> {
        if self.state.fresh.rows > MOST { self.place() } else { Ok(()) }
    }

    /// Makes the indexes whole for a channel. Answers whether they were not.
    pub(super) fn place_channel(&mut self, channel: i64) -> Result<bool, StoreError> {
        let is_fresh = self.state.fresh.waiting.contains_key(&channel);
        if is_fresh {
            self.place()?;
        }
        Ok(is_fresh)
    }

    /// Makes the indexes whole.
    pub(super) fn place(&mut self) -> Result<(), StoreError> {
        if self.state.fresh.rows == 0 && !self.state.fresh.is_stale {
            return Ok(());
        }
        for sql in [
            "INSERT INTO logs (channel, seq) SELECT channel, seq FROM fresh ORDER BY channel, seq",
            "INSERT INTO unacked (channel, lane, seq, bytes, stored_at, expires_at, attempts, due_at)
             SELECT channel, lane, seq, bytes, stored_at, expires_at, attempts, due_at FROM fresh WHERE waits = 1
             ORDER BY channel, lane, seq",
            "DELETE FROM fresh",
        ] {
            self.conn.prepare_cached(sql)?.execute([])?;
        }
        self.state.fresh = Fresh::default();
        Ok(())
    }

    /// One fresh record need not wait any more; `None` if there is no such record that does.
    pub(super) fn settle_fresh(&mut self, channel: i64, seq: u64) -> Result<Option<Settled>, StoreError> {
        if !self.state.fresh.waiting.get_mut(&channel).is_some_and(|waiting| waiting.remove(&seq)) {
            return Ok(None);
        }
        let settled = self
            .conn
            .prepare_cached("SELECT bytes, stored_at FROM fresh WHERE seq = ?1 AND waits = 1")?
            .query_row([seq], |row| Ok(Settled { seq, bytes: row.get(0)?, stored_at: row.get(1)? }))
            .optional()?;
        if settled.is_some() {
            self.conn.prepare_cached("UPDATE fresh SET waits = 0 WHERE seq = ?1")?.execute(params![seq])?;
        }
        Ok(settled)
    }

    /// The fresh records of a channel up to a number need not wait any more.
    pub(super) fn settle_fresh_through(
        &mut self,
        channel: i64,
        through: u64,
        settled: &mut Vec<Settled>,
    ) -> Result<(), StoreError> {
        while let Some(seq) = self.state.fresh.waiting.get(&channel).and_then(|waiting| waiting.first().copied())
            && seq <= through
        {
            settled.extend(self.settle_fresh(channel, seq)?);
        }
        Ok(())
    }
}
