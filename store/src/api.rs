//! The contract of every store.
//!
//! Each *write* takes its place in line when it is made, not when its future is first polled: two writes made one after the other
//! take effect in that order, whoever awaits them and when. A write whose future is dropped is not taken back. A read begins when its
//! future is first polled, and sees at least every write that was answered by then.
//!
//! A store has no clock. Times are given by the caller, in milliseconds since 1970.

use std::{future::Future, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use common::{audit::Entry, id::SessionId};

use crate::{
    audit::{AuditQuery, AuditRow},
    channel::{ChannelFamily, ChannelName},
    error::StoreError,
    health::StoreHealth,
    inbox::{Ack, DeadLettered, Death, Delivered, Nack, Pending, PendingQuery, Trimmed},
    owner::{Owner, OwnerKey},
    position::Epoch,
    quota::UsageReport,
    record::{Appended, ChannelInfo, Limits, NewRecord, Page, ReadFrom, RecentId},
    session::{ConsumerId, Forgotten, Retained, StoredSession},
};

/// The answer to a call, when it is there. A write answers once it is as safe as [`crate::Durability`] says.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'static>>;

/// What outlives connections and, but for the one in memory, the process.
///
/// Writes fail with [`StoreError::Busy`] when as many wait as may; who can pause awaits [`Store::ready`] first. A failed write has
/// changed nothing, except that after [`StoreError::Io`] its records may turn up when the file is opened again: the disk had
/// them, but did not say so. A sender that repeats such a message under its id is answered [`Appended::Duplicate`].
pub trait Store: Send + Sync + 'static {
    /// Which history this is.
    fn epoch(&self) -> Epoch;

    /// How it is. Never blocks.
    fn health(&self) -> StoreHealth;

    /// Answers when at least half of the room for waiting writes is free, or with [`StoreError::Closed`].
    fn ready(&self) -> Reply<()>;

    /// Takes the next `count` sequence numbers (at least 1) of the one counter that all channels share.
    ///
    /// Durable against power loss at every [`crate::Durability`] that has a file: a number that was answered is never answered
    /// again, used or not.
    fn reserve(&self, count: u32) -> Reply<Range<u64>>;

    /// The owner with this key, to be named in records. Never blocks.
    fn owner(&self, key: &OwnerKey) -> Arc<Owner>;

    /// Takes room for a record that is about to be appended, or refuses it: before anything else is done with it. Never blocks. Whoever
    /// appends the record says so in [`NewRecord::is_charged`]; if it is not appended, [`Store::release`] gives the room back.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`], [`StoreError::Full`], [`StoreError::DiskReserve`].
    fn charge(&self, owner: Option<&Owner>, bytes: u64) -> Result<(), StoreError>;

    /// Gives back the room for a record that is not appended after all.
    fn release(&self, owner: Option<&Owner>, bytes: u64);

    /// What is charged to whom. Never blocks for long.
    fn usage(&self) -> UsageReport;

    /// Appends records, all or none. The answers are in the order of the records. Room is taken for those for which none was taken yet:
    /// it is given back when they are acknowledged, go to the dead letters, or are removed. A record without an owner takes no room.
    ///
    /// Acknowledged records and dead letters stay while the store has room for them. Above [`crate::StoreOptions::max_bytes`] the oldest
    /// are removed: of sessions' inboxes first, then of users', of agents', and dead letters last.
    ///
    /// Bounds are enforced in the same step: what leaves an inbox is told, what retention removes is counted. A full inbox gives up a message
    /// of who has most there. Anonymous sessions are sure of a quarter of an inbox, users of a quarter, agents of half; of those with more
    /// the least trusted give way: among them the source (address, user, key) with most, of its senders the one with most, and of that
    /// sender's messages the oldest of the lowest priority, which may be the new one.
    fn append(&self, records: Vec<NewRecord>) -> Reply<Vec<Appended>>;

    /// The messages of the window in which repeated ones are recognised, oldest first; read once at start, by whoever must know
    /// repeated messages before they are delivered live.
    fn recent_ids(&self) -> Reply<Vec<RecentId>>;

    /// Reads a stretch of a channel's log. A channel that never was is empty.
    fn read(&self, channel: ChannelName, from: ReadFrom, limits: Limits) -> Reply<Page>;

    /// What is known of a channel.
    fn channel(&self, channel: ChannelName) -> Reply<Option<ChannelInfo>>;

    /// The channels in the order of their names, those after `after`.
    fn channels(&self, family: Option<ChannelFamily>, after: Option<ChannelName>, limit: u32) -> Reply<Vec<ChannelInfo>>;

    /// Marks records as acknowledged. Answers the numbers that were not before, in rising order.
    fn ack(&self, channel: ChannelName, ack: Ack) -> Reply<Vec<u64>>;

    /// Postpones a record that its receiver could not use. Answers how often it was delivered, `None` if it does not wait.
    fn nack(&self, channel: ChannelName, seq: u64, nack: Nack) -> Reply<Option<u32>>;

    /// Notes deliveries. Those of records that do not wait (any more) are passed over.
    fn mark_delivered(&self, deliveries: Vec<Delivered>) -> Reply<()>;

    /// Unacknowledged records in the order of their numbers.
    fn pending(&self, channel: ChannelName, query: PendingQuery) -> Reply<Vec<Pending>>;

    /// Moves an unacknowledged record to the dead-letter channel. `None` if it does not wait.
    fn dead_letter(&self, channel: ChannelName, seq: u64, death: Death) -> Reply<Option<DeadLettered>>;

    /// One step of retention, of at most about `limit` records: expired and over-aged records, logs over their bounds, forgotten
    /// channels, old audit entries and cursors. To be called regularly, and again at once while the answer says `more`.
    fn trim(&self, now: u64, limit: u32) -> Reply<Trimmed>;

    /// Sets a channel's retained value, or removes it.
    fn set_retained(&self, channel: ChannelName, value: Option<Retained>) -> Reply<()>;

    /// A channel's retained value.
    fn retained(&self, channel: ChannelName) -> Reply<Option<Retained>>;

    /// Saves positions of a consumer; those of other channels stay.
    fn save_cursors(&self, consumer: ConsumerId, cursors: Vec<(ChannelName, u64)>, now: u64) -> Reply<()>;

    /// The positions of a consumer, in the order of the channels' names.
    fn cursors(&self, consumer: ConsumerId) -> Reply<Vec<(ChannelName, u64)>>;

    /// Who has positions, in the order of their ids, those after `after`.
    fn consumers(&self, after: Option<ConsumerId>, limit: u32) -> Reply<Vec<ConsumerId>>;

    /// Forgets a consumer's positions: of these channels, or of all.
    fn drop_cursors(&self, consumer: ConsumerId, channels: Option<Vec<ChannelName>>) -> Reply<()>;

    /// Writes a session, in place of what was known of it.
    fn put_session(&self, session: StoredSession) -> Reply<()>;

    /// Notes that sessions were seen; unknown ones are passed over.
    fn touch_sessions(&self, sessions: Vec<SessionId>, now: u64) -> Reply<()>;

    /// A session.
    fn session(&self, id: SessionId) -> Reply<Option<StoredSession>>;

    /// Sessions in the order of their ids, those after `after`.
    fn sessions(&self, after: Option<SessionId>, limit: u32) -> Reply<Vec<StoredSession>>;

    /// One step of forgetting sessions last seen before a time, with their inboxes, of at most about `limit` sessions and records.
    /// What they had not acknowledged goes to the dead-letter channel. To be called again while the answer says `more`.
    fn forget_sessions(&self, not_seen_since: u64, now: u64, limit: u32) -> Reply<Forgotten>;

    /// Appends to the audit log.
    fn audit(&self, entries: Vec<Entry>) -> Reply<()>;

    /// Reads the audit log.
    fn audit_log(&self, query: AuditQuery) -> Reply<Vec<AuditRow>>;

    /// Keeps a small value under a name (1 to 128 bytes), or removes it.
    fn put_state(&self, name: String, value: Option<Bytes>) -> Reply<()>;

    /// A small value.
    fn state(&self, name: String) -> Reply<Option<Bytes>>;

    /// Writes what waits, and closes. Calls after this fail with [`StoreError::Closed`].
    fn close(&self) -> Reply<()>;
}

/// Refuses names of small values that are not 1 to 128 bytes long.
pub(crate) fn check_state_name(name: &str) -> Result<(), StoreError> {
    if (1..=common::id::MAX_NAME).contains(&name.len()) {
        Ok(())
    } else {
        Err(StoreError::Invalid("the name of a value has 1 to 128 bytes"))
    }
}
