//! The contract of every store.
//!
//! Each *write* takes its place in line when it is called, not when its future is first polled. Two
//! writes called one after the other take effect in that order, whoever awaits them and when.
//! Dropping the future of a write does not cancel the write. A read begins when its future is first
//! polled, and sees at least every write that was answered by then.
//!
//! A store has no clock. Callers pass times, in milliseconds since 1970.

use std::{future::Future, ops::Range, pin::Pin, sync::Arc};

use bytes::Bytes;
use common::{audit::Entry, id::SessionId};

use crate::{
    audit::{AuditQuery, AuditRow},
    channel::{ChannelFamily, ChannelName},
    dead::{DeadLettered, Death},
    error::StoreError,
    health::StoreHealth,
    inbox::{Ack, Delivered, Nack, Pending, PendingQuery, Trimmed},
    owner::{Owner, OwnerKey},
    position::Epoch,
    quota::{PositionsReport, UsageReport},
    record::{Appended, ChannelInfo, Limits, NewRecord, Page, ReadFrom, RecentId},
    session::{ConsumerId, Forgotten, Retained},
};

/// The future answer to a call. A write answers once it is as safe as [`crate::Durability`] says.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'static>>;

/// What outlives connections and, except for the store in memory, the process.
///
/// Writes fail with [`StoreError::Busy`] at the bound of waiting writes. A failed write has changed
/// nothing, with one exception: after [`StoreError::Io`] its records may appear when the file is
/// opened again, because the disk had them but did not say so. A sender that then repeats such a
/// message under its id gets [`Appended::Duplicate`].
pub trait Store: Send + Sync + 'static {
    /// The epoch of this history.
    fn epoch(&self) -> Epoch;

    /// The state of the store. Never blocks.
    fn health(&self) -> StoreHealth;

    /// Reserves the next `count` sequence numbers (at least 1) of the one counter that all channels
    /// share.
    ///
    /// With every [`crate::Durability`] that has a file, this survives power loss: a number that
    /// was answered is never answered again, used or not.
    fn reserve(&self, count: u32) -> Reply<Range<u64>>;

    /// The owner with this key, for records. Never blocks.
    fn owner(&self, key: &OwnerKey) -> Arc<Owner>;

    /// Takes room for a record that is about to be appended, or refuses it, before anything else is
    /// done with it. Never blocks. The caller marks the appended record with
    /// [`NewRecord::is_charged`]; if it is not appended, [`Store::release`] gives the room back.
    ///
    /// # Errors
    /// [`StoreError::QuotaExceeded`], [`StoreError::Full`], [`StoreError::DiskReserve`].
    fn charge(&self, owner: Option<&Owner>, bytes: u64) -> Result<(), StoreError>;

    /// Gives back the room of a record that was not appended.
    fn release(&self, owner: Option<&Owner>, bytes: u64);

    /// Why writes to a channel are refused: damage was found in it, or in the whole store. Never
    /// blocks.
    ///
    /// Damage that a read or write finds makes its channel refuse appends with
    /// [`StoreError::Damaged`]. If the channel is not known, the whole store refuses writes with
    /// [`StoreError::Corrupt`]. Reads still serve what can be read: damaged records are left out.
    /// [`Store::health`] reports the damage as a fault.
    fn refuses(&self, channel: &ChannelName) -> Option<StoreError>;

    /// What is charged to whom. Never blocks for long.
    fn usage(&self) -> UsageReport;

    /// Appends records, all or none. The answers are in the order of the records. Room is taken for
    /// records without it. It is given back when they are acknowledged, become dead letters, or are
    /// removed. A record without an owner takes no room.
    ///
    /// Acknowledged records and dead letters stay while the store has room for them. Above
    /// [`crate::StoreOptions::max_bytes`] the oldest are removed: first those of sessions' inboxes,
    /// then of users', of agents', and dead letters last.
    ///
    /// Bounds are enforced in the same step: what leaves an inbox is returned, what retention
    /// removes is counted. A full inbox gives up a message of the largest sender. A quarter of an
    /// inbox is guaranteed to anonymous sessions, a quarter to users, half to agents. Of the groups
    /// that have more, the least trusted gives way: in it the source (address, user, key) with
    /// most, of its senders the one with most, and of that sender's messages the oldest of the
    /// lowest priority, which may be the new one.
    fn append(&self, records: Vec<NewRecord>) -> Reply<Vec<Appended>>;

    /// The messages of the window in which repetitions are recognised, oldest first. Read once at
    /// the start, by the code that must recognise repetitions before they are delivered live.
    fn recent_ids(&self) -> Reply<Vec<RecentId>>;

    /// Reads a part of a channel's log. A channel that never existed is empty.
    fn read(&self, channel: ChannelName, from: ReadFrom, limits: Limits) -> Reply<Page>;

    /// What is known about a channel.
    fn channel(&self, channel: ChannelName) -> Reply<Option<ChannelInfo>>;

    /// The channels in the order of their names, those after `after`.
    fn channels(&self, family: Option<ChannelFamily>, after: Option<ChannelName>, limit: u32) -> Reply<Vec<ChannelInfo>>;

    /// Marks records as acknowledged. Returns the numbers of those that were not before, in rising
    /// order.
    fn ack(&self, channel: ChannelName, ack: Ack) -> Reply<Vec<u64>>;

    /// Postpones a record that its receiver could not use. Returns how often it was delivered;
    /// `None` if it does not wait.
    fn nack(&self, channel: ChannelName, seq: u64, nack: Nack) -> Reply<Option<u32>>;

    /// Records deliveries. Those of records that do not wait, or no longer wait, are skipped.
    fn mark_delivered(&self, deliveries: Vec<Delivered>) -> Reply<()>;

    /// Unacknowledged records in the order of their numbers.
    fn pending(&self, channel: ChannelName, query: PendingQuery) -> Reply<Vec<Pending>>;

    /// Moves an unacknowledged record to the dead-letter channel. `None` if it does not wait.
    fn dead_letter(&self, channel: ChannelName, seq: u64, death: Death) -> Reply<Option<DeadLettered>>;

    /// One step of retention, of at most about `limit` records: expired and too old records, logs
    /// over their bounds, forgotten channels, expired retained values, old audit entries and
    /// cursors. To be called regularly, and again at once while the answer says `more`.
    fn trim(&self, now: u64, limit: u32) -> Reply<Trimmed>;

    /// Sets a channel's retained value, or removes it.
    ///
    /// `owner`: to whom a value is charged until it is replaced or removed, whatever becomes of the
    /// record that it came with. The caller has taken room for one record of its size with
    /// [`Store::charge`]. The store gives it back if it does not keep the value. The owner's
    /// standing decides how much of [`crate::StoreOptions::max_retained`] new values may use
    /// ([`crate::Standing::part_of`]); without an owner it is that of an agent.
    fn set_retained(&self, channel: ChannelName, value: Option<Retained>, owner: Option<Arc<Owner>>) -> Reply<()>;

    /// A channel's retained value.
    fn retained(&self, channel: ChannelName) -> Reply<Option<Retained>>;

    /// Saves positions of a consumer; those of other channels stay.
    ///
    /// The clients behind one address have at most [`crate::StoreOptions::max_positions`] together.
    /// At that bound a quarter is freed: clients that have not saved a position for the longest
    /// time lose all of theirs, and the consumer itself its oldest if that is not enough.
    ///
    /// `payer`: the sender for whose source (network address, user, agent key) the positions of a
    /// client count. All of a source have at most [`crate::StoreOptions::max_source_positions`].
    /// There the address gives way whose clients have not saved one for the longest time. Without
    /// a payer they count for whom they counted before, or for nobody.
    ///
    /// # Errors
    /// [`StoreError::DiskReserve`]: too little of the disk is free for positions in channels that
    /// are new to a client. Its other positions were saved.
    fn save_cursors(
        &self,
        consumer: ConsumerId,
        cursors: Vec<(ChannelName, u64)>,
        payer: Option<Arc<Owner>>,
        now: u64,
    ) -> Reply<()>;

    /// How many positions of named clients are kept, and of whom.
    fn positions(&self) -> Reply<PositionsReport>;

    /// The positions of a consumer, in the order of the channels' names.
    fn cursors(&self, consumer: ConsumerId) -> Reply<Vec<(ChannelName, u64)>>;

    /// Consumers with positions, in the order of their ids, those after `after`.
    fn consumers(&self, after: Option<ConsumerId>, limit: u32) -> Reply<Vec<ConsumerId>>;

    /// Removes a consumer's positions: of these channels, or of all.
    fn drop_cursors(&self, consumer: ConsumerId, channels: Option<Vec<ChannelName>>) -> Reply<()>;

    /// Records that something is stored for a session that was seen at `now`, so that the session
    /// can be forgotten later.
    fn put_session(&self, session: SessionId, now: u64) -> Reply<()>;

    /// Records that sessions were seen; those that were never put are skipped.
    fn touch_sessions(&self, sessions: Vec<SessionId>, now: u64) -> Reply<()>;

    /// One step of forgetting sessions that were last seen before a time, with their inboxes, of at
    /// most about `limit` sessions and records. Unacknowledged records become dead letters. To be
    /// called again while the answer says `more`.
    fn forget_sessions(&self, not_seen_since: u64, now: u64, limit: u32) -> Reply<Forgotten>;

    /// Appends to the audit log.
    fn audit(&self, entries: Vec<Entry>) -> Reply<()>;

    /// Reads the audit log.
    fn audit_log(&self, query: AuditQuery) -> Reply<Vec<AuditRow>>;

    /// Stores a small value under a name (1 to 128 bytes), or removes it.
    fn put_state(&self, name: String, value: Option<Bytes>) -> Reply<()>;

    /// A small value.
    fn state(&self, name: String) -> Reply<Option<Bytes>>;

    /// Small values in the order of their names, those after `after`.
    fn states(&self, after: Option<String>, limit: u32) -> Reply<Vec<(String, Bytes)>>;

    /// Writes what waits, and closes. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> Reply<()>;
}

/// Refuses names of small values that are not 1 to 128 bytes long.
pub(crate) fn check_state_name(name: &str) -> Result<(), StoreError> {
    if (1..=common::id::MAX_NAME).contains(&name.len()) {
        Ok(())
    } else {
        Err(StoreError::Invalid("the name of a value must have 1 to 128 bytes"))
    }
}
