//! The content of the memory store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;
use common::id::SessionId;

use super::positions::Positions;
use crate::{
    audit::AuditRow,
    channel::ChannelName,
    dead::DeadShare,
    dedup::DedupWindow,
    error::StoreError,
    gaps::Gaps,
    health::StoreHealth,
    ledger::Ledger,
    leftovers::Leftovers,
    options::StoreOptions,
    owner::Owner,
    position::MAX_SEQ,
    record::{ChannelInfo, Record},
    session::Retained,
    shares::{Member, Shares},
};

/// The log and the inbox of one channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) born: u64,
    pub(super) head: u64,
    pub(super) last_stored_at: u64,
    pub(super) records: BTreeMap<u64, Record>,
    /// By lane and number: in the order in which a full inbox gives records up.
    pub(super) waiting: BTreeMap<(u8, u64), Waiting>,
    pub(super) bytes: u64,
    pub(super) unacked_bytes: u64,
    /// The owners to whom records are charged, by their numbers.
    pub(super) charged: BTreeMap<u64, Arc<Owner>>,
    /// Of a channel of dead letters: whose share each takes.
    pub(super) dead_shares: BTreeMap<u64, DeadShare>,
    /// What waits, by sender; built when it is first needed.
    pub(super) shares: Option<Shares>,
    pub(super) appended: u64,
    pub(super) trimmed: u64,
    pub(super) dead_lettered: u64,
    pub(super) gaps: Gaps,
}

/// A record that is not acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) attempts: u32,
    pub(super) due_at: u64,
    pub(super) reason: Option<String>,
    pub(super) member: Member,
}

impl Channel {
    /// The settled records, and their bytes.
    pub(super) fn settled(&self) -> (u64, u64) {
        ((self.records.len() - self.waiting.len()) as u64, self.bytes - self.unacked_bytes)
    }

    /// A record is no longer charged to anybody.
    pub(super) fn uncharge(&mut self, ledger: &Ledger, seq: u64, bytes: u64) {
        ledger.release(self.charged.remove(&seq).as_deref(), bytes);
    }

    /// What waits, by sender.
    pub(super) fn shares(&mut self) -> &mut Shares {
        let (waiting, records) = (&self.waiting, &self.records);
        self.shares.get_or_insert_with(|| {
            let mut shares = Shares::default();
            for ((_, seq), waiting) in waiting {
                shares.add(waiting.member, records.get(seq).map_or(0, |record| record.frame.len() as u64));
            }
            shares
        })
    }

    pub(super) fn info(&self, name: &ChannelName) -> ChannelInfo {
        ChannelInfo {
            channel: name.clone(),
            head: self.head,
            last_stored_at: self.last_stored_at,
            oldest_at: self.records.first_key_value().map(|(_, record)| record.stored_at),
            records: self.records.len() as u64,
            bytes: self.bytes,
            unacked: self.waiting.len() as u64,
            unacked_bytes: self.unacked_bytes,
            appended: self.appended,
            trimmed: self.trimmed,
            dead_lettered: self.dead_lettered,
        }
    }
}

/// The whole content.
pub(super) struct State {
    pub(super) options: StoreOptions,
    pub(super) ledger: Arc<Ledger>,
    pub(super) closed: bool,
    pub(super) commits: u64,
    pub(super) appended: u64,
    pub(super) duplicates: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) leftovers: Leftovers,
    pub(super) next_seq: u64,
    own: Range<u64>,
    pub(super) channels: BTreeMap<ChannelName, Channel>,
    /// Unacknowledged records that expire: when, number, channel.
    pub(super) expiring: BTreeSet<(u64, u64, ChannelName)>,
    pub(super) dedup: DedupWindow,
    /// With the owners to whom they are charged.
    pub(super) retained: HashMap<ChannelName, (Retained, Option<Arc<Owner>>)>,
    /// Retained values that expire: when, and of which channel.
    pub(super) expiring_values: BTreeSet<(u64, ChannelName)>,
    pub(super) positions: Positions,
    /// When each was last seen.
    pub(super) sessions: BTreeMap<SessionId, u64>,
    pub(super) audit: VecDeque<AuditRow>,
    pub(super) next_audit: u64,
    pub(super) values: BTreeMap<String, Bytes>,
}

impl State {
    pub(super) fn new(options: StoreOptions, ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            dedup: DedupWindow::new(options.dedup_window_ms, options.dedup_max),
            leftovers: Leftovers::new(options.max_bytes),
            positions: Positions::new(options.max_positions, options.max_source_positions),
            options,
            closed: false,
            commits: 0,
            appended: 0,
            duplicates: 0,
            records: 0,
            bytes: 0,
            next_seq: 1,
            own: 0..0,
            channels: BTreeMap::new(),
            expiring: BTreeSet::new(),
            retained: HashMap::new(),
            expiring_values: BTreeSet::new(),
            sessions: BTreeMap::new(),
            audit: VecDeque::new(),
            next_audit: 1,
            values: BTreeMap::new(),
        }
    }

    /// So many records, and bytes of their frames, are gone.
    pub(super) fn removed(&mut self, records: u64, bytes: u64) {
        self.records -= records;
        self.bytes -= bytes;
    }

    pub(super) fn health(&self) -> StoreHealth {
        StoreHealth {
            closed: self.closed,
            commits: self.commits,
            appended: self.appended,
            duplicates: self.duplicates,
            records: self.records,
            bytes: self.bytes,
            channels: self.channels.len() as u64,
            ..StoreHealth::default()
        }
    }

    pub(super) fn reserve(&mut self, count: u32) -> Result<Range<u64>, StoreError> {
        let first = self.next_seq;
        let end = first.saturating_add(u64::from(count.max(1)));
        if end > MAX_SEQ {
            return Err(StoreError::Invalid("the sequence numbers are used up"));
        }
        self.next_seq = end;
        Ok(first..end)
    }

    /// A number for a record that the store itself writes.
    pub(super) fn own_seq(&mut self) -> Result<u64, StoreError> {
        if self.own.is_empty() {
            self.own = self.reserve(256)?;
        }
        self.own.next().ok_or(StoreError::Invalid("the sequence numbers are used up"))
    }
}
