//! What the writer keeps in memory of the records that [`super::fresh`] has still to place.

use std::collections::{BTreeMap, VecDeque};

use foldhash::HashMap;

use super::commits::Unplaced;
use crate::channel::ChannelName;

/// Records above which they are moved. The more, the fewer pages of the indexes are written for
/// each: with a quarter of this, the writer is slower by a tenth. Readers search all of them: this
/// many take less than half a millisecond.
pub(super) const MOST: usize = 16_384;
/// The same if the disk is small.
pub(super) const LEAST: usize = 64;
/// What one record takes in the indexes, approximately.
pub(super) const BYTES_IN_INDEXES: u64 = 128;

/// What is counted of a channel and not in its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) unacked: u64,
    pub(super) unacked_bytes: u64,
}

#[derive(Debug)]
pub(super) struct FreshChannel {
    pub(super) name: ChannelName,
    pub(super) share: Share,
    /// Those that wait for an acknowledgement, and their place in `Fresh::records`.
    pub(super) waiting: BTreeMap<u64, usize>,
}

/// The rows of `commits` that have not been placed, and the one that this batch will write.
#[derive(Debug, Default)]
pub(super) struct Fresh {
    pub(super) records: Vec<Unplaced>,
    /// The first of `records` of this batch.
    pub(super) committed: usize,
    /// Numbers of committed ones that this batch has settled.
    pub(super) settled: Vec<u64>,
    pub(super) channels: HashMap<i64, FreshChannel>,
    /// The row of `commits` that this batch will write.
    pub(super) next_commit: i64,
    /// Rows of `commits` up to this one hold nothing that is missing in the indexes, according to
    /// `meta`.
    pub(super) placed: i64,
    /// Of the newest row of `commits`.
    pub(super) newest_at: u64,
    /// The newest rows of `commits`, and how many ids each has.
    pub(super) rows: VecDeque<(i64, usize)>,
    /// Ids in those rows.
    pub(super) ids: usize,
    /// After a roll-back the table is right and this is not.
    pub(super) is_stale: bool,
}

impl Fresh {
    /// What another process may have left.
    pub(super) fn unknown() -> Self {
        Self { is_stale: true, ..Self::default() }
    }

    pub(super) fn add(&mut self, name: &ChannelName, record: Unplaced) {
        let channel = self.channels.entry(record.channel).or_insert_with(|| FreshChannel {
            name: name.clone(),
            share: Share::default(),
            waiting: BTreeMap::new(),
        });
        channel.share.records += 1;
        channel.share.bytes += record.bytes;
        if record.waits {
            channel.share.unacked += 1;
            channel.share.unacked_bytes += record.bytes;
            channel.waiting.insert(record.seq, self.records.len());
        }
        self.records.push(record);
    }

    /// What is counted of a channel and not in its row; `None` if its row is complete.
    pub(super) fn share(&self, channel: i64) -> Option<Share> {
        self.channels.get(&channel).map(|channel| channel.share)
    }

    /// Keeps what the batch has changed.
    pub(super) fn commit(&mut self) {
        self.committed = self.records.len();
        self.settled.clear();
    }

    /// The newest row of `commits` that nobody needs any more, once all are placed: newer ones have
    /// as many ids as the window holds.
    pub(super) fn take_outlived(&mut self, window: usize) -> Option<i64> {
        let mut outlived = None;
        while let Some((id, ids)) = self.rows.front().copied()
            && self.ids - ids >= window
        {
            self.rows.pop_front();
            self.ids -= ids;
            outlived = Some(id);
        }
        outlived
    }

    pub(super) fn roll_back(&mut self) {
        *self = Self::unknown();
    }
}
