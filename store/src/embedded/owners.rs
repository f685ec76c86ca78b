//! The writer's knowledge of the owners of records.
//!
//! A row of `owners` counts what is in the indexes, and retained values. Records that are not there
//! yet are counted only here; when the file is opened again they are counted from the rows of
//! `commits`. The accounts in the [`Ledger`], which callers use, change when a batch is committed.

use std::sync::Arc;

use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, params};

use super::{checked::counter, commits, error::damaged};
use crate::{
    dead::DeadShare,
    error::StoreError,
    ledger::Ledger,
    owner::{Owner, OwnerKey, Standing},
    quota::Usage,
    shares::Member,
};

/// Owners in memory before those without anything stored are removed.
const SWEEP: usize = 4_096;

#[derive(Debug)]
struct Known {
    owner: Arc<Owner>,
    /// In the indexes.
    placed: Usage,
    /// Not in the indexes.
    fresh: Usage,
    /// What the row says; `None`: there is none.
    written: Option<Usage>,
    /// By how much the accounts will change when the batch is committed: what it has stored and
    /// removed, less the room that its callers had taken.
    net: (i64, i64),
    /// The room that callers had taken for what this batch was given.
    taken: (i64, i64),
    is_touched: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Owners {
    pub(super) ledger: Arc<Ledger>,
    known: HashMap<u64, Known>,
    touched: Vec<u64>,
    sweep_at: usize,
}

/// What happens to the count of a record.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Remove,
}

impl Owners {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, known: HashMap::default(), touched: Vec::new(), sweep_at: SWEEP }
    }

    /// Reads who has what in the indexes. [`Owners::recall`] adds the rest.
    pub(super) fn load(&mut self, conn: &Connection) -> Result<(), StoreError> {
        // The accounts are those of the owners that are known now: none may be dropped before its
        // successor exists.
        let mut found = HashMap::default();
        let mut statement = conn.prepare_cached("SELECT id, standing, sender, user, address, key, records, bytes FROM owners")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let standing: usize = row.get(1)?;
            let standing = Standing::ALL.get(standing).copied().ok_or_else(|| damaged("the standing of an owner"))?;
            let key = OwnerKey { standing, sender: row.get(2)?, user: row.get(3)?, address: row.get(4)?, key: row.get(5)? };
            let (id, placed) = (counter(row, 0)?, Usage { records: counter(row, 6)?, bytes: counter(row, 7)? });
            let owner = self.ledger.stored_owner(&key, id);
            found.insert(id, Known { placed, written: Some(placed), ..Known::new(owner) });
        }
        self.known = found;
        self.touched.clear();
        Ok(())
    }

    /// A stored record is not in the indexes.
    pub(super) fn recall(&mut self, owner: u64, bytes: u64) {
        if let Some(known) = self.known.get_mut(&owner) {
            known.fresh.add(bytes);
        }
    }

    /// Opens the accounts of everything stored, at the start.
    pub(super) fn open_accounts(&self) {
        for known in self.known.values() {
            let count = |of: fn(&Usage) -> u64| i64::try_from(of(&known.placed) + of(&known.fresh)).unwrap_or(i64::MAX);
            self.ledger.count(&known.owner, count(|used| used.records), count(|used| used.bytes));
        }
    }

    /// The properties of a sender that an inbox needs.
    pub(super) fn member(&self, owner: u64) -> Member {
        Member { owner, ..Member::of(self.known.get(&owner).map(|known| &*known.owner)) }
    }

    /// Whose share a dead letter of this sender takes.
    pub(super) fn dead_share(&self, owner: u64) -> DeadShare {
        DeadShare::of(self.known.get(&owner).map(|known| &*known.owner))
    }

    fn touch(&mut self, owner: u64) -> Option<&mut Known> {
        let known = self.known.get_mut(&owner)?;
        if !known.is_touched {
            known.is_touched = true;
            self.touched.push(owner);
        }
        Some(known)
    }

    /// A caller had taken room for this record.
    pub(super) fn taken(&mut self, owner: &Arc<Owner>, bytes: u64) {
        self.known.entry(owner.id).or_insert_with(|| Known::new(Arc::clone(owner)));
        if let Some(known) = self.touch(owner.id) {
            known.taken.0 += 1;
            known.taken.1 += i64::try_from(bytes).unwrap_or(i64::MAX);
        }
    }

    /// A record was appended.
    pub(super) fn appended(&mut self, owner: &Arc<Owner>, bytes: u64) {
        self.known.entry(owner.id).or_insert_with(|| Known::new(Arc::clone(owner)));
        self.change(owner.id, bytes, true, Change::Add);
    }

    /// A retained value was stored.
    pub(super) fn kept(&mut self, owner: &Arc<Owner>, bytes: u64) {
        self.known.entry(owner.id).or_insert_with(|| Known::new(Arc::clone(owner)));
        self.change(owner.id, bytes, false, Change::Add);
    }

    /// A record, or a retained value, is no longer charged to anybody. `is_fresh`: it is not in the
    /// indexes.
    pub(super) fn uncharge(&mut self, owner: u64, bytes: u64, is_fresh: bool) {
        if owner != 0 {
            self.change(owner, bytes, is_fresh, Change::Remove);
        }
    }

    fn change(&mut self, owner: u64, bytes: u64, is_fresh: bool, change: Change) {
        let Some(known) = self.touch(owner) else { return };
        let used = if is_fresh { &mut known.fresh } else { &mut known.placed };
        let signed = i64::try_from(bytes).unwrap_or(i64::MAX);
        match change {
            Change::Add => {
                used.add(bytes);
                known.net = (known.net.0 + 1, known.net.1 + signed);
            }
            Change::Remove => {
                used.remove(bytes);
                known.net = (known.net.0 - 1, known.net.1 - signed);
            }
        }
    }

    /// A record was put into the indexes.
    pub(super) fn placed(&mut self, owner: u64, bytes: u64) {
        if owner != 0
            && let Some(known) = self.touch(owner)
        {
            known.fresh.remove(bytes);
            known.placed.add(bytes);
        }
    }

    /// Writes what was changed.
    pub(super) fn flush(&mut self, conn: &Connection) -> Result<(), StoreError> {
        for id in &self.touched {
            let Some(known) = self.known.get_mut(id) else { continue };
            if known.written == Some(known.placed) {
                continue;
            }
            if known.written.is_some() {
                conn.prepare_cached("UPDATE owners SET records = ?2, bytes = ?3 WHERE id = ?1")?.execute(params![
                    id,
                    known.placed.records,
                    known.placed.bytes
                ])?;
            } else {
                let OwnerKey { standing, sender, user, address, key } = &known.owner.key;
                conn.prepare_cached(
                    "INSERT INTO owners (id, standing, sender, user, address, key, records, bytes)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                )?
                .execute(params![
                    id,
                    standing.index(),
                    sender,
                    user,
                    address,
                    key,
                    known.placed.records,
                    known.placed.bytes
                ])?;
            }
            known.written = Some(known.placed);
        }
        Ok(())
    }

    /// Keeps what the batch has changed.
    pub(super) fn commit(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(known) = self.known.get_mut(&id) {
                let (net, taken) = (std::mem::take(&mut known.net), std::mem::take(&mut known.taken));
                if net != taken {
                    self.ledger.count(&known.owner, net.0 - taken.0, net.1 - taken.1);
                }
                known.is_touched = false;
            }
        }
    }

    /// Gives back the room that was taken for what this batch was given. Stored data must be read
    /// again. Until then all owners stay known: the ledger forgets an owner, with its accounts,
    /// once nobody holds it.
    pub(super) fn roll_back(&mut self) {
        for id in self.touched.drain(..) {
            if let Some(known) = self.known.get_mut(&id) {
                let taken = std::mem::take(&mut known.taken);
                self.ledger.count(&known.owner, -taken.0, -taken.1);
                known.is_touched = false;
            }
        }
    }

    /// Removes owners without anything stored and without a connection, once there are many.
    /// Returns how many.
    pub(super) fn sweep(&mut self, conn: &Connection, most: u64) -> Result<u64, StoreError> {
        if self.known.len() < self.sweep_at {
            return Ok(0);
        }
        let is_unused = |known: &Known| {
            known.placed.records == 0 && known.fresh.records == 0 && !known.is_touched && Arc::strong_count(&known.owner) <= 2
        };
        let unused = self.known.iter().filter(|(_, known)| is_unused(known)).map(|(id, _)| *id);
        let unused: Vec<u64> = unused.take(usize::try_from(most).unwrap_or(usize::MAX)).collect();
        for id in &unused {
            conn.prepare_cached("DELETE FROM owners WHERE id = ?1")?.execute([id])?;
            self.known.remove(id);
        }
        if (unused.len() as u64) < most {
            self.sweep_at = (2 * self.known.len()).max(SWEEP);
        }
        Ok(unused.len() as u64)
    }
}

impl Known {
    fn new(owner: Arc<Owner>) -> Self {
        let none = Usage::default();
        Self { owner, placed: none, fresh: none, written: None, net: (0, 0), taken: (0, 0), is_touched: false }
    }
}

/// The owner of a record that is not in the indexes; 0 if there is none.
pub(super) fn owner_of(conn: &Connection, record: &commits::Unplaced) -> Result<u64, StoreError> {
    let found: Option<(u64, bool)> = conn
        .prepare_cached("SELECT owner, needs_ack FROM records WHERE seq = ?1")?
        .query_row([record.seq], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    // What is acknowledged is charged to nobody.
    Ok(found.filter(|(_, needs_ack)| record.waits || !needs_ack).map_or(0, |(owner, _)| owner))
}
