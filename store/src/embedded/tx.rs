//! One batch of writes: the transaction, and what the writer knows in memory beside it.
//!
//! The operations on [`Tx`] are in the modules named after what they change. Each either refuses
//! before it has changed anything, or succeeds, or fails with a fault that ends the batch: then
//! both file and memory go back to the last commit.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use rusqlite::Connection;

use super::{
    channels::{Channels, name_of},
    checked::counter,
    commits,
    damage::Damage,
    error::damaged,
    fresh_records::{self, Fresh},
    owners::{Owners, owner_of},
    schema,
};
use crate::{
    admission::Held,
    audit::Group,
    channel::ChannelName,
    dedup::{self, DedupWindow},
    error::StoreError,
    ledger::Ledger,
    leftovers::Leftovers,
    options::StoreOptions,
    position::MAX_SEQ,
    record::RecentId,
};

/// Records that one commit may remove, however small the disk is.
const LEAST_REMOVED: u64 = 8;
/// Numbers that the store reserves at once for what it moves to dead-letter channels.
const OWN_BLOCK: u32 = 256;

/// Sums over all channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) channels: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) retained: u64,
    /// Entries of the audit log.
    pub(super) audit: u64,
    /// Since the store was opened.
    pub(super) appended: u64,
    /// Since the store was opened.
    pub(super) duplicates: u64,
}

/// The counter for all sequence numbers.
#[derive(Clone, Debug)]
struct Counter {
    next: u64,
    own: Range<u64>,
}

/// What the writer keeps in memory.
pub(super) struct WriterState {
    pub(super) channels: Channels,
    pub(super) dedup: DedupWindow,
    pub(super) totals: Totals,
    /// Channels whose log has grown in this batch.
    pub(super) grown: BTreeSet<ChannelName>,
    /// Channels whose log was over its bounds after the last step.
    pub(super) over: BTreeSet<ChannelName>,
    pub(super) fresh: Fresh,
    pub(super) owners: Owners,
    pub(super) leftovers: Leftovers,
    /// Entries of the audit log that give way in the next steps. Only a hint.
    pub(super) audit_going: Vec<Group>,
    pub(super) damage: Arc<Damage>,
    /// The channel in which this batch found damage.
    pub(super) suspect: Option<ChannelName>,
    /// What one commit should write at most, in bytes, approximately.
    commit_bytes: u64,
    counter: Counter,
    at_begin: (Totals, Counter),
}

impl WriterState {
    /// Reads what must be known before the first write.
    pub(super) fn load(
        conn: &Connection,
        options: &StoreOptions,
        ledger: Arc<Ledger>,
        damage: Arc<Damage>,
    ) -> Result<Self, StoreError> {
        let next = schema::next_seq(conn)?;
        schema::placed(conn)?;
        let mut totals = Totals {
            retained: conn.query_row("SELECT count(*) FROM retained", [], |row| row.get(0))?,
            audit: conn.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?,
            ..Totals::default()
        };
        (totals.channels, totals.records, totals.bytes) =
            conn.query_row("SELECT count(*), coalesce(sum(records), 0), coalesce(sum(bytes), 0) FROM channels", [], |row| {
                Ok((counter(row, 0)?, counter(row, 1)?, counter(row, 2)?))
            })?;
        let counter = Counter { next, own: 0..0 };
        let mut state = Self {
            channels: Channels::default(),
            dedup: DedupWindow::new(options.dedup_window_ms, options.dedup_max),
            totals,
            grown: BTreeSet::new(),
            over: BTreeSet::new(),
            fresh: Fresh::unknown(),
            owners: Owners::new(ledger),
            leftovers: Leftovers::new(options.max_bytes),
            audit_going: Vec::new(),
            damage,
            suspect: None,
            commit_bytes: u64::MAX,
            at_begin: (totals, counter.clone()),
            counter,
        };
        state.load_recent_ids(conn, options)?;
        state.load_over(conn, options)?;
        state.owners.load(conn)?;
        state.load_unplaced(conn)?;
        state.owners.open_accounts();
        state.at_begin.0 = state.totals;
        Ok(state)
    }

    fn load_recent_ids(&mut self, conn: &Connection, options: &StoreOptions) -> Result<(), StoreError> {
        let mut statement = conn.prepare("SELECT newest_at, ids FROM commits ORDER BY id DESC")?;
        let mut rows = statement.query([])?;
        let mut newest_first: Vec<Vec<RecentId>> = Vec::new();
        let (mut count, mut cutoff) = (0, 0);
        while count < options.dedup_max
            && let Some(row) = rows.next()?
        {
            let newest_at: u64 = row.get(0)?;
            if newest_first.is_empty() {
                cutoff = newest_at.saturating_sub(options.dedup_window_ms);
            } else if newest_at < cutoff {
                break;
            }
            let stored: Vec<u8> = row.get(1)?;
            let ids = dedup::decode(&stored).ok_or_else(|| damaged("a list of recent messages"))?;
            count += ids.len();
            newest_first.push(ids);
        }
        newest_first.into_iter().rev().flatten().for_each(|id| self.dedup.stage(id));
        self.dedup.commit();
        Ok(())
    }

    /// Finds the channels that are over their bounds because the bounds were changed since.
    fn load_over(&mut self, conn: &Connection, options: &StoreOptions) -> Result<(), StoreError> {
        let over = crate::ChannelFamily::ALL.map(|family| {
            let bounds = options.policies.family(family).log;
            let most = |bound: u64| if bound == 0 { MAX_SEQ } else { bound.min(MAX_SEQ) };
            format!(
                "(family = {} AND (records - unacked > {} OR bytes - unacked_bytes > {}))",
                family.index(),
                most(bounds.records),
                most(bounds.bytes)
            )
        });
        let mut statement = conn.prepare(&format!("SELECT name FROM channels WHERE {}", over.join(" OR ")))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            self.over.insert(ChannelName::parse(&name).map_err(|_| damaged("a channel's name"))?);
        }
        Ok(())
    }

    /// Adds what the channels' rows lack.
    fn load_unplaced(&mut self, conn: &Connection) -> Result<(), StoreError> {
        for record in commits::unplaced(conn, None)? {
            self.totals.records += 1;
            self.totals.bytes += record.bytes;
            self.owners.recall(owner_of(conn, &record)?, record.bytes);
            self.over.insert(name_of(conn, record.channel)?);
        }
        Ok(())
    }

    /// Sets the approximate most bytes that one commit should write.
    pub(super) fn fit(&mut self, bytes: u64) {
        self.commit_bytes = bytes;
    }

    /// The number of records outside the indexes above which they are moved there.
    pub(super) fn most_fresh(&self) -> usize {
        let records = usize::try_from(self.commit_bytes / fresh_records::BYTES_IN_INDEXES).unwrap_or(usize::MAX);
        records.clamp(fresh_records::LEAST, fresh_records::MOST)
    }

    /// How many of so many records one commit may remove. Each page that becomes free is written
    /// once more.
    pub(super) fn most_removed(&self, records: u64) -> u64 {
        let size = self.totals.bytes / self.totals.records.max(1) + fresh_records::BYTES_IN_INDEXES;
        records.min((self.commit_bytes / size).max(LEAST_REMOVED))
    }

    /// Remembers where to go back to.
    pub(super) fn begin(&mut self) {
        self.at_begin = (self.totals, self.counter.clone());
        self.suspect = None;
    }

    /// Keeps what the batch has changed.
    pub(super) fn commit(&mut self) {
        self.channels.commit(&self.fresh);
        self.dedup.commit();
        self.fresh.commit();
        self.owners.commit();
    }

    /// Goes back to the last commit. `over` is only a hint and stays.
    pub(super) fn roll_back(&mut self) {
        self.channels.roll_back();
        self.dedup.roll_back();
        self.grown.clear();
        self.fresh.roll_back();
        self.owners.roll_back();
        (self.totals, self.counter) = self.at_begin.clone();
    }

    /// The present content, for checking appends.
    pub(super) fn held(&self) -> Held {
        Held { channels: self.totals.channels, next_seq: self.counter.next }
    }
}

/// A running batch.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) state: &'a mut WriterState,
    pub(super) options: &'a StoreOptions,
}

impl Tx<'_> {
    /// Works on a channel. Damage found meanwhile is attributed to it.
    pub(super) fn within<T>(
        &mut self,
        channel: &ChannelName,
        run: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = run(self);
        if let Err(StoreError::Corrupt(_)) = &outcome {
            self.state.suspect.get_or_insert_with(|| channel.clone());
        }
        outcome
    }

    /// Whether damage was found in a channel.
    pub(super) fn is_damaged(&self, channel: &ChannelName) -> bool {
        self.state.damage.of(channel).is_some()
    }

    /// Reserves the next numbers of the counter.
    pub(super) fn reserve(&mut self, count: u32) -> Result<Range<u64>, StoreError> {
        let first = self.state.counter.next;
        let end = first.saturating_add(u64::from(count.max(1)));
        if end > MAX_SEQ {
            return Err(StoreError::Invalid("the sequence numbers are used up"));
        }
        schema::set_meta(self.conn, "next_seq", end)?;
        self.state.counter.next = end;
        Ok(first..end)
    }

    /// A number for a record that the store itself writes.
    pub(super) fn own_seq(&mut self) -> Result<u64, StoreError> {
        if self.state.counter.own.is_empty() {
            self.state.counter.own = self.reserve(OWN_BLOCK)?;
        }
        self.state.counter.own.next().ok_or(StoreError::Invalid("the sequence numbers are used up"))
    }

    /// Cuts the logs that have grown, and writes what was only collected so far. The last step
    /// before the commit.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        for name in std::mem::take(&mut self.state.grown) {
            self.within(&name, |tx| tx.enforce_log_bounds(&name))?;
        }
        self.reclaim()?;
        self.limit_fresh()?;
        self.state.channels.flush(self.conn, &self.state.fresh)?;
        self.state.owners.flush(self.conn)?;
        self.write_commit()
    }
}
