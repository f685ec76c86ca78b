//! The store that ends with its process: for tests, and for brokers that need no more.
//!
//! It has the same contract as every other store, under one lock: each call is executed when it is
//! made. It is bounded by the same options. The lock is never held longer than one call takes, and
//! nothing waits for anything.

mod inbox;
mod keep;
mod log;
mod positions;
mod retention;
mod state;

use std::{
    future::ready,
    ops::{Bound, Range},
    sync::Arc,
};

use bytes::Bytes;
use common::{audit::Entry, id::SessionId};
use parking_lot::Mutex;

use self::state::State;
use crate::{
    api::{Reply, Store, check_state_name},
    audit::{AuditQuery, AuditRow},
    channel::{ChannelFamily, ChannelName},
    dead::{DeadLettered, Death},
    error::StoreError,
    health::StoreHealth,
    inbox::{Ack, Delivered, Nack, Pending, PendingQuery, Trimmed},
    ledger::Ledger,
    options::StoreOptions,
    owner::{Owner, OwnerKey, Payer},
    position::Epoch,
    quota::{PositionsReport, UsageReport},
    record::{Appended, ChannelInfo, Limits, NewRecord, Page, ReadFrom, RecentId},
    session::{ConsumerId, Forgotten, Retained},
};

/// A store without a file. Its epoch is new each time.
pub struct MemoryStore {
    epoch: Epoch,
    ledger: Arc<Ledger>,
    state: Mutex<State>,
}

impl MemoryStore {
    /// An empty store. The options for files, queues and threads have no meaning here.
    ///
    /// # Errors
    /// The options cannot work.
    pub fn new(options: StoreOptions) -> Result<Self, StoreError> {
        options.check()?;
        let ledger = Arc::new(Ledger::new(&options));
        Ok(Self { epoch: Epoch::fresh(), state: Mutex::new(State::new(options, Arc::clone(&ledger))), ledger })
    }

    fn call<T: Send + 'static>(&self, run: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Reply<T> {
        let mut state = self.state.lock();
        let outcome = if state.closed { Err(StoreError::Closed) } else { run(&mut state) };
        Box::pin(ready(outcome))
    }

    fn change<T: Send + 'static>(&self, run: impl FnOnce(&mut State) -> Result<T, StoreError>) -> Reply<T> {
        self.call(|state| {
            let outcome = run(state);
            state.reclaim();
            state.dedup.commit();
            state.commits += u64::from(outcome.is_ok());
            outcome
        })
    }
}

impl Store for MemoryStore {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn health(&self) -> StoreHealth {
        self.state.lock().health()
    }

    fn reserve(&self, count: u32) -> Reply<Range<u64>> {
        self.change(|state| state.reserve(count))
    }

    fn owner(&self, key: &OwnerKey) -> Arc<Owner> {
        self.ledger.owner(key)
    }

    fn charge(&self, owner: Option<&Owner>, bytes: u64) -> Result<(), StoreError> {
        self.ledger.charge(owner, bytes)
    }

    fn release(&self, owner: Option<&Owner>, bytes: u64) {
        self.ledger.release(owner, bytes);
    }

    fn refuses(&self, _channel: &ChannelName) -> Option<StoreError> {
        None
    }

    fn usage(&self) -> UsageReport {
        self.ledger.report()
    }

    fn append(&self, records: Vec<NewRecord>) -> Reply<Vec<Appended>> {
        self.change(|state| state.append(records))
    }

    fn recent_ids(&self) -> Reply<Vec<RecentId>> {
        self.call(|state| Ok(state.dedup.recent()))
    }

    fn read(&self, channel: ChannelName, from: ReadFrom, limits: Limits) -> Reply<Page> {
        self.call(|state| Ok(state.read(&channel, from, limits)))
    }

    fn channel(&self, channel: ChannelName) -> Reply<Option<ChannelInfo>> {
        self.call(|state| Ok(state.channels.get(&channel).map(|found| found.info(&channel))))
    }

    fn channels(&self, family: Option<ChannelFamily>, after: Option<ChannelName>, limit: u32) -> Reply<Vec<ChannelInfo>> {
        self.call(|state| Ok(state.list(family, after.as_ref(), limit)))
    }

    fn ack(&self, channel: ChannelName, ack: Ack) -> Reply<Vec<u64>> {
        self.change(|state| Ok(state.ack(&channel, &ack)))
    }

    fn nack(&self, channel: ChannelName, seq: u64, nack: Nack) -> Reply<Option<u32>> {
        self.change(|state| Ok(state.nack(&channel, seq, &nack)))
    }

    fn mark_delivered(&self, deliveries: Vec<Delivered>) -> Reply<()> {
        self.change(|state| {
            state.mark_delivered(&deliveries);
            Ok(())
        })
    }

    fn pending(&self, channel: ChannelName, query: PendingQuery) -> Reply<Vec<Pending>> {
        self.call(|state| Ok(state.pending(&channel, query)))
    }

    fn dead_letter(&self, channel: ChannelName, seq: u64, death: Death) -> Reply<Option<DeadLettered>> {
        self.change(|state| state.dead_letter(&channel, seq, &death))
    }

    fn trim(&self, now: u64, limit: u32) -> Reply<Trimmed> {
        self.change(|state| state.trim(now, limit))
    }

    fn set_retained(&self, channel: ChannelName, value: Option<Retained>, owner: Option<Arc<Owner>>) -> Reply<()> {
        self.change(|state| state.set_retained(&channel, value, owner))
    }

    fn retained(&self, channel: ChannelName) -> Reply<Option<Retained>> {
        self.call(|state| Ok(state.retained.get(&channel).map(|(value, _)| value.clone())))
    }

    fn save_cursors(
        &self,
        consumer: ConsumerId,
        cursors: Vec<(ChannelName, u64)>,
        payer: Option<Arc<Owner>>,
        now: u64,
    ) -> Reply<()> {
        self.change(|state| {
            state.positions.save(consumer, cursors, payer.as_deref().map(Payer::of), now);
            Ok(())
        })
    }

    fn positions(&self) -> Reply<PositionsReport> {
        self.call(|state| Ok(state.positions.report()))
    }

    fn cursors(&self, consumer: ConsumerId) -> Reply<Vec<(ChannelName, u64)>> {
        self.call(|state| Ok(state.positions.of(&consumer)))
    }

    fn consumers(&self, after: Option<ConsumerId>, limit: u32) -> Reply<Vec<ConsumerId>> {
        self.call(move |state| Ok(state.positions.consumers(after.as_ref(), limit)))
    }

    fn drop_cursors(&self, consumer: ConsumerId, channels: Option<Vec<ChannelName>>) -> Reply<()> {
        self.change(|state| {
            state.positions.remove(&consumer, channels.as_deref());
            Ok(())
        })
    }

    fn put_session(&self, session: SessionId, now: u64) -> Reply<()> {
        self.change(|state| {
            state.sessions.insert(session, now);
            Ok(())
        })
    }

    fn touch_sessions(&self, sessions: Vec<SessionId>, now: u64) -> Reply<()> {
        self.change(|state| {
            state.touch_sessions(&sessions, now);
            Ok(())
        })
    }

    fn forget_sessions(&self, not_seen_since: u64, now: u64, limit: u32) -> Reply<Forgotten> {
        self.change(|state| state.forget_sessions(not_seen_since, now, limit))
    }

    fn audit(&self, entries: Vec<Entry>) -> Reply<()> {
        self.change(|state| state.audit(entries))
    }

    fn audit_log(&self, query: AuditQuery) -> Reply<Vec<AuditRow>> {
        self.call(|state| Ok(state.audit_log(&query)))
    }

    fn put_state(&self, name: String, value: Option<Bytes>) -> Reply<()> {
        self.change(|state| {
            check_state_name(&name)?;
            match value {
                Some(value) => state.values.insert(name, value),
                None => state.values.remove(&name),
            };
            Ok(())
        })
    }

    fn state(&self, name: String) -> Reply<Option<Bytes>> {
        self.call(|state| Ok(state.values.get(&name).cloned()))
    }

    fn states(&self, after: Option<String>, limit: u32) -> Reply<Vec<(String, Bytes)>> {
        self.call(|state| {
            // No name is empty.
            let after = (Bound::Excluded(after.unwrap_or_default()), Bound::Unbounded);
            let found = state.values.range(after).take(limit as usize);
            Ok(found.map(|(name, value)| (name.clone(), value.clone())).collect())
        })
    }

    fn close(&self) -> Reply<()> {
        self.state.lock().closed = true;
        Box::pin(ready(Ok(())))
    }
}
