//! What is stored of whom: quotas, and the bound of the whole store. Every backend uses it.
//!
//! A record is charged when it is handed to the store, before anything is done with it. The charge
//! ends when its receiver acknowledges it, when it becomes a dead letter, or when retention removes
//! it from a log. A retained value is charged as one more record, until it is replaced or removed.
//!
//! The same call checks the bound of the whole store, and the part of the disk that stays free.
//! Strangers reach them first: see [`Ledger::charge`]. Only what is charged to somebody counts
//! towards the bound. Acknowledged records and dead letters are charged to nobody: they stay where
//! room is free, and give way where it is not (see [`crate::leftovers`]).

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use foldhash::HashMap;
use parking_lot::Mutex;

use crate::{
    error::StoreError,
    options::StoreOptions,
    owner::{Holder, HolderKey, Owner, OwnerKey, Standing},
    quota::{Kind, Quotas, UsageReport},
    record::NewRecord,
    session::Retained,
};

/// Owners in memory before those without anything stored are removed.
const SWEEP: usize = 16_384;
/// Holders that operators see.
const LISTED: usize = 10;

#[derive(Debug)]
struct Interned {
    owners: HashMap<OwnerKey, Arc<Owner>>,
    holders: HashMap<HolderKey, Arc<Holder>>,
    next_owner: u64,
    next_holder: u64,
    sweep_at: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    quotas: Quotas,
    max_bytes: u64,
    disk_reserve: u64,
    /// Bytes that are charged to owners: in the store and on their way into it.
    held: AtomicI64,
    /// Free bytes on the disk, at the last measurement.
    disk_free: AtomicU64,
    interned: Mutex<Interned>,
    refused: [AtomicU64; Kind::ALL.len()],
    refused_full: AtomicU64,
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Ledger {
    pub(crate) fn new(options: &StoreOptions) -> Self {
        let interned =
            Interned { owners: HashMap::default(), holders: HashMap::default(), next_owner: 1, next_holder: 1, sweep_at: SWEEP };
        Self {
            quotas: options.quotas,
            max_bytes: options.max_bytes,
            disk_reserve: options.disk_reserve,
            held: AtomicI64::new(0),
            disk_free: AtomicU64::new(u64::MAX),
            interned: Mutex::new(interned),
            refused: Default::default(),
            refused_full: AtomicU64::new(0),
        }
    }

    /// The owner with this key.
    pub(crate) fn owner(&self, key: &OwnerKey) -> Arc<Owner> {
        self.interned.lock().owner(key, None, &self.quotas)
    }

    /// The same for an owner that was stored under a number.
    pub(crate) fn stored_owner(&self, key: &OwnerKey, id: u64) -> Arc<Owner> {
        self.interned.lock().owner(key, Some(id), &self.quotas)
    }

    /// Takes room for a record of an owner; [`Ledger::release`] gives it back. A record without an
    /// owner is refused if there is no room, and takes none.
    ///
    /// Of [`StoreOptions::max_bytes`] anonymous sessions may use the first half, users the first
    /// three quarters, and agents all of it. Agents may write until half of
    /// [`StoreOptions::disk_reserve`] is left free.
    ///
    /// # Errors
    /// [`StoreError::Full`], [`StoreError::DiskReserve`], [`StoreError::QuotaExceeded`].
    pub(crate) fn charge(&self, owner: Option<&Owner>, bytes: u64) -> Result<(), StoreError> {
        let (standing, size) = (owner.map_or(Standing::Agent, |owner| owner.key.standing), signed(bytes));
        self.check_room(standing, bytes).inspect_err(|_| {
            self.refused_full.fetch_add(1, Relaxed);
        })?;
        let Some(owner) = owner else { return Ok(()) };
        if let Err((kind, of, limit)) = owner.take(size) {
            if let Some(count) = self.refused.get(kind as usize) {
                count.fetch_add(1, Relaxed);
            }
            return Err(StoreError::QuotaExceeded { kind, of, limit });
        }
        self.held.fetch_add(size, Relaxed);
        Ok(())
    }

    /// Checks that the part of the disk that stays free is not reached.
    ///
    /// # Errors
    /// [`StoreError::DiskReserve`].
    pub(crate) fn check_disk(&self, standing: Standing) -> Result<(), StoreError> {
        let reserve = if standing == Standing::Agent { self.disk_reserve / 2 } else { self.disk_reserve };
        if self.disk_free.load(Relaxed) < reserve {
            return Err(StoreError::DiskReserve { reserve });
        }
        Ok(())
    }

    fn check_room(&self, standing: Standing, bytes: u64) -> Result<(), StoreError> {
        self.check_disk(standing)?;
        let limit = standing.part_of(self.max_bytes);
        let held = u64::try_from(self.held.load(Relaxed)).unwrap_or(0);
        if self.max_bytes != 0 && held.saturating_add(bytes) > limit {
            return Err(StoreError::Full { limit });
        }
        Ok(())
    }

    /// Takes room for the records without it: for all or none.
    ///
    /// # Errors
    /// Those of [`Ledger::charge`].
    pub(crate) fn charge_all(&self, records: &mut [NewRecord]) -> Result<(), StoreError> {
        let mut refused = None;
        let mut charged = 0;
        for record in records.iter() {
            if !record.is_charged
                && let Err(error) = self.charge(record.owner.as_deref(), record.bytes())
            {
                refused = Some(error);
                break;
            }
            charged += 1;
        }
        if let Some(error) = refused {
            // Of all records: those for which callers took room are refused too.
            for (at, record) in records.iter().enumerate() {
                if at < charged || record.is_charged {
                    self.release(record.owner.as_deref(), record.bytes());
                }
            }
            return Err(error);
        }
        records.iter_mut().for_each(|record| record.is_charged = true);
        Ok(())
    }

    /// Gives back the room of a record.
    pub(crate) fn release(&self, owner: Option<&Owner>, bytes: u64) {
        if let Some(owner) = owner {
            self.count(owner, -1, -signed(bytes));
        }
    }

    /// Counts so many records and bytes more (or fewer) on an owner's accounts, whatever their
    /// quotas are.
    pub(crate) fn count(&self, owner: &Owner, records: i64, bytes: i64) {
        owner.add(records, bytes);
        self.held.fetch_add(bytes, Relaxed);
    }

    /// Sets the free bytes on the disk.
    pub(crate) fn measured(&self, disk_free: u64) {
        self.disk_free.store(disk_free, Relaxed);
    }

    pub(crate) fn report(&self) -> UsageReport {
        let interned = self.interned.lock();
        let mut fullest: Vec<_> =
            interned.holders.values().map(|holder| (holder.usage(), holder)).filter(|(used, _)| used.records > 0).collect();
        fullest.sort_unstable_by_key(|(used, _)| std::cmp::Reverse((used.bytes, used.records)));
        let listed = fullest.iter().take(LISTED).map(|(used, holder)| (holder.key.0, holder.key.1.clone(), *used));
        UsageReport {
            holders: fullest.len() as u64,
            fullest: listed.collect(),
            refused: self.refused.each_ref().map(|count| count.load(Relaxed)),
            refused_full: self.refused_full.load(Relaxed),
        }
    }
}

impl Interned {
    fn owner(&mut self, key: &OwnerKey, id: Option<u64>, quotas: &Quotas) -> Arc<Owner> {
        if let Some(known) = self.owners.get(key) {
            return Arc::clone(known);
        }
        if self.owners.len() >= self.sweep_at {
            // The store holds the owners of stored records, and connections hold theirs.
            self.owners.retain(|_, owner| Arc::strong_count(owner) > 1);
            self.holders.retain(|_, holder| Arc::strong_count(holder) > 1);
            self.sweep_at = (2 * self.owners.len()).max(SWEEP);
        }
        let id = id.unwrap_or(self.next_owner);
        self.next_owner = self.next_owner.max(id + 1);
        let source = self.holder(key.source(), quotas).id;
        let holders = key.holders().map(|holder| self.holder(holder, quotas)).collect();
        let owner = Arc::new(Owner { id, key: key.clone(), source, holders });
        self.owners.insert(key.clone(), Arc::clone(&owner));
        owner
    }

    fn holder(&mut self, key: HolderKey, quotas: &Quotas) -> Arc<Holder> {
        if let Some(known) = self.holders.get(&key) {
            return Arc::clone(known);
        }
        let id = self.next_holder;
        self.next_holder += 1;
        let holder = Arc::new(Holder::new(key.clone(), id, quotas));
        self.holders.insert(key, Arc::clone(&holder));
        holder
    }
}

/// Records on their way into a store. Room is taken for them until the store has them, or this is
/// dropped.
#[derive(Debug)]
pub(crate) struct Appending {
    records: Vec<NewRecord>,
    ledger: Arc<Ledger>,
    is_charged: bool,
}

impl Appending {
    /// Takes room for records.
    ///
    /// # Errors
    /// Those of [`Ledger::charge`].
    pub(crate) fn charge(ledger: &Arc<Ledger>, mut records: Vec<NewRecord>) -> Result<Self, StoreError> {
        ledger.charge_all(&mut records)?;
        Ok(Self { records, ledger: Arc::clone(ledger), is_charged: true })
    }

    pub(crate) fn records(&self) -> &[NewRecord] {
        &self.records
    }

    /// From now on the store answers for the taken room. Returns whether there is any.
    pub(crate) fn hand_over(&mut self) -> bool {
        std::mem::take(&mut self.is_charged)
    }

    /// Gives the room back.
    pub(crate) fn release(&mut self) {
        if self.hand_over() {
            self.records.iter().for_each(|record| self.ledger.release(record.owner.as_deref(), record.bytes()));
        }
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        self.release();
    }
}

/// The room that was taken for a retained value on its way into a store, until the store has the
/// value, or this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    owner: Option<Arc<Owner>>,
    bytes: u64,
    ledger: Arc<Ledger>,
    is_taken: bool,
}

impl Room {
    /// The caller of the store has taken room for a value of an owner.
    pub(crate) fn taken(ledger: &Arc<Ledger>, owner: Option<Arc<Owner>>, value: Option<&Retained>) -> Self {
        let bytes = value.map_or(0, |value| value.frame.len() as u64);
        Self { is_taken: value.is_some(), owner, bytes, ledger: Arc::clone(ledger) }
    }

    pub(crate) fn owner(&self) -> Option<&Arc<Owner>> {
        self.owner.as_ref()
    }

    /// The standing of the owner; without one, that of an agent.
    pub(crate) fn standing(&self) -> Standing {
        self.owner.as_ref().map_or(Standing::Agent, |owner| owner.key.standing)
    }

    /// From now on the store answers for the room. Returns whether it was taken.
    pub(crate) fn hand_over(&mut self) -> bool {
        std::mem::take(&mut self.is_taken)
    }

    /// Gives the room back.
    pub(crate) fn release(&mut self) {
        if self.hand_over() {
            self.ledger.release(self.owner.as_deref(), self.bytes);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.release();
    }
}
