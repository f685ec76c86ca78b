//! Tokens that are revoked before they expire: those of ended sessions, and those that were signed
//! before their session logged in.
//!
//! A session's tokens carry a generation, which rises when the session logs in. An entry stores the
//! lowest valid generation, until every older token has expired. Memory holds the newest entries,
//! up to a bound; [`RevocationStore`] holds all of them. So no number of revocations ends a session
//! that nobody revoked, or revives one.
//!
//! In memory, anonymous sessions are kept apart, because anybody may make and end any number of
//! them: they cannot push out the entry of a user.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
    time::SystemTime,
};

use common::{
    id::SessionId,
    timestamp::{from_unix_seconds, unix_seconds},
};
use parking_lot::RwLock;

use super::{
    Revoked, Standing,
    entry::{Entry, Revocation},
    store::RevocationStore,
};

/// Entries of each kind in memory: about 20 MB at most.
pub const CAPACITY: usize = 100_000;

/// See the module.
pub struct Revocations {
    /// Of anonymous sessions, and of users.
    tables: [Table; 2],
    capacity: usize,
    /// Rises with every change.
    newest: u64,
    /// The number up to which changes are in the store.
    written: u64,
    /// Whether the store has entries that are not in memory.
    has_more: bool,
    store: Arc<RevocationStore>,
}

/// Some of the revocations, in the order of their last changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationPage {
    /// The revocations.
    pub revocations: Vec<Revocation>,
    /// The number of the last change in this page.
    pub upto: u64,
    /// Whether there are later ones.
    pub more: bool,
}

impl RevocationStore {
    /// Writes down what has changed in a table and is not written yet, and waits for the disk.
    ///
    /// # Errors
    /// Those of the database. What is not written stays in memory, and is written with the next
    /// that is.
    pub fn write_changes(&self, table: &RwLock<Revocations>) -> io::Result<()> {
        self.write_batches(|most| table.read().unwritten(most), |upto| table.write().on_written(upto))
    }
}

impl Revocations {
    /// The revocations of a store, of which at most `capacity` of each kind are kept in memory.
    ///
    /// # Errors
    /// The store cannot be read. Without it, ended sessions would be valid again.
    pub fn open(capacity: usize, store: Arc<RevocationStore>) -> io::Result<Self> {
        let (count, newest) = store.extent()?;
        let mut tables = [Table::default(), Table::default()];
        for (user, table) in [false, true].into_iter().zip(&mut tables) {
            for (number, revocation) in store.newest(user, capacity)? {
                table.put(revocation.session, Entry { number, ..Entry::of(&revocation) });
            }
        }
        let has_more = tables.iter().map(Table::len).sum::<usize>() < count;
        Ok(Self { tables, capacity, newest, written: newest, has_more, store })
    }

    /// Revokes the credentials of a session below a generation; `until` is when the last of them
    /// expires. Returns whether this is new.
    pub fn revoke(&mut self, of: &Standing, least: u64, until: SystemTime, now: SystemTime) -> bool {
        let entry = Entry::read(least, round_up(now), round_up(until), 0);
        self.insert(of.session, of.has_user, entry, now)
    }

    /// Takes over a revocation from another server. Returns whether it was new.
    pub fn load(&mut self, revocation: Revocation, now: SystemTime) -> bool {
        from_unix_seconds(revocation.until) > now && self.insert(revocation.session, revocation.user, Entry::of(&revocation), now)
    }

    /// What changed after the change of this number, at most `most`. If the store cannot be read,
    /// only what memory holds.
    pub fn since(&self, number: u64, most: usize) -> RevocationPage {
        let enough = most.saturating_add(1);
        let mut found: BTreeMap<u64, Revocation> =
            self.with_users().flat_map(|(user, table)| table.since(number, enough, user)).collect();
        // What has left memory is older than everything of its kind that is still there.
        let is_older = self.tables.iter().any(|table| table.order.first_key_value().is_some_and(|(first, _)| number < *first));
        if self.has_more && is_older {
            match self.store.since(number, enough) {
                Ok(more) => found.extend(more),
                Err(error) => tracing::error!(%error, "revocations cannot be read from the disk"),
            }
        }
        let more = found.len() > most;
        let page: Vec<_> = found.into_iter().take(most).collect();
        let upto = page.last().filter(|_| more).map_or(self.newest, |(number, _)| *number);
        RevocationPage { revocations: page.into_iter().map(|(_, revocation)| revocation).collect(), upto, more }
    }

    /// Whether credentials are refused, and why.
    ///
    /// # Errors
    /// See [`Revoked`].
    pub fn check(&self, of: &Standing) -> Result<(), Revoked> {
        let [nobody, users] = self.tables.each_ref().map(|table| table.entries.get(&of.session).copied());
        let known = judge(nobody, users, of);
        if known == Err(Revoked::Ended) || !self.has_more || nobody.is_some() && users.is_some() {
            return known;
        }
        let kept = self.store.look_up(of.session).map_err(|error| {
            tracing::error!(%error, "revocations cannot be read from the disk");
            Revoked::Unknown
        })?;
        judge(nobody.or(kept[0]), users.or(kept[1]), of)
    }

    /// The first `most` changes that are not in the store yet, in order.
    pub(super) fn unwritten(&self, most: usize) -> Vec<(u64, Revocation)> {
        let mut found: Vec<_> = self.with_users().flat_map(|(user, table)| table.since(self.written, most, user)).collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        found.truncate(most);
        found
    }

    /// Changes up to this number are in the store. Entries beyond the bound of memory leave it.
    pub(super) fn on_written(&mut self, upto: u64) {
        self.written = self.written.max(upto);
        for table in &mut self.tables {
            while table.len() > self.capacity
                && let Some((number, id)) = table.order.first_key_value().map(|(number, id)| (*number, *id))
                && number <= self.written
            {
                table.order.remove(&number);
                table.entries.remove(&id);
                self.has_more = true;
            }
        }
    }

    fn with_users(&self) -> impl Iterator<Item = (bool, &Table)> {
        [false, true].into_iter().zip(&self.tables)
    }

    fn insert(&mut self, id: SessionId, user: bool, entry: Entry, now: SystemTime) -> bool {
        let [nobody, users] = &mut self.tables;
        let table = if user { users } else { nobody };
        table.forget_expired(unix_seconds(now));
        let known = match table.entries.get(&id) {
            None if self.has_more => {
                // If it cannot be read, the revocation counts as new: it is then sent and stored
                // once more.
                let kept = self.store.look_up(id).unwrap_or_default();
                kept[usize::from(user)]
            }
            known => known.copied(),
        };
        if known.is_some_and(|known| known.says_no_less_than(&entry)) {
            return false;
        }
        self.newest += 1;
        let entry = Entry { number: self.newest, ..known.map_or(entry, |known| known.and(&entry)) };
        table.put(id, entry);
        true
    }
}

fn judge(nobody: Option<Entry>, users: Option<Entry>, of: &Standing) -> Result<(), Revoked> {
    let refuses = |entry: &Option<Entry>| entry.is_some_and(|entry| entry.refuses(of));
    if !refuses(&nobody) && !refuses(&users) {
        return Ok(());
    }
    let is_ended = [nobody, users].iter().flatten().any(Entry::is_ended);
    Err(if refuses(&users) || is_ended { Revoked::Ended } else { Revoked::Superseded })
}

/// The revocations of one kind of session that are in memory.
#[derive(Default)]
struct Table {
    entries: HashMap<SessionId, Entry>,
    /// In the order of their last changes, by their numbers.
    order: BTreeMap<u64, SessionId>,
}

impl Table {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn put(&mut self, id: SessionId, entry: Entry) {
        if let Some(before) = self.entries.insert(id, entry) {
            self.order.remove(&before.number);
        }
        self.order.insert(entry.number, id);
    }

    fn since(&self, number: u64, most: usize, user: bool) -> impl Iterator<Item = (u64, Revocation)> {
        let later = self.order.range(number.saturating_add(1)..);
        later.filter_map(move |(number, id)| self.entries.get(id).map(|entry| (*number, entry.told(*id, user)))).take(most)
    }

    fn forget_expired(&mut self, now: u64) {
        while let Some((number, id)) = self.order.first_key_value()
            && self.entries.get(id).is_none_or(|entry| entry.until < now)
        {
            let (number, id) = (*number, *id);
            self.entries.remove(&id);
            self.order.remove(&number);
        }
    }
}

/// The next whole second: rounding up refuses more, not less.
fn round_up(moment: SystemTime) -> u64 {
    let whole = unix_seconds(moment);
    if from_unix_seconds(whole) < moment { whole.saturating_add(1) } else { whole }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
