//! Tokens that are good no longer before they expire: of sessions that were ended, and those that were signed before their
//! session logged in.
//!
//! A session's tokens carry a generation, which rises when it logs in; an entry says the least generation that is still good.
//! It is kept until every older token has expired. The table is bounded. At the bound the oldest entry gives way, and from
//! then on every token signed up to that entry's moment is refused: the rule errs on the side of ending more sessions, never
//! of reviving an ended one.
//!
//! Sessions of nobody, which anybody may make and end as often as they like, have a table of their own: what they do at its bound
//! ends sessions of nobody.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use common::{
    id::SessionId,
    timestamp::{from_unix_seconds, unix_seconds},
};
use serde::{Deserialize, Serialize};

use super::{Revoked, Standing};

/// Entries kept of each kind by default: about 20 MB at most.
pub const CAPACITY: usize = 100_000;

/// What is written down of a revocation, so that it outlives the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Revocation {
    /// Of one session.
    Session {
        /// The session.
        session: SessionId,
        /// The least generation that is still good; absent: none is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        least: Option<u64>,
        /// When it was revoked, in seconds since 1970.
        at: u64,
        /// When the last of the tokens expires, in seconds since 1970.
        until: u64,
        /// Whether the revoked tokens had a user.
        #[serde(default)]
        user: bool,
    },
    /// Of every session.
    Everything {
        /// Tokens signed up to this second since 1970.
        all_until: u64,
        /// Whether of those with a user, and not of those without.
        #[serde(default)]
        user: bool,
    },
}

impl Revocation {
    /// The session that it ends, and below which generation; `None` where it makes older tokens of a session worth nothing that goes on, and
    /// where it is of every session. Those of users end: a login revokes what had none.
    pub fn ended(&self) -> Option<(SessionId, u64)> {
        match *self {
            Self::Session { session, least, user, .. } if user || least.is_none() => Some((session, least.unwrap_or(u64::MAX))),
            Self::Session { .. } | Self::Everything { .. } => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    least: u64,
    /// Whole seconds, like `until`: what was written down and read is the same as before.
    at: SystemTime,
    until: SystemTime,
    number: u64,
}

/// See the module.
pub struct Revocations {
    of_nobody: Table,
    of_users: Table,
    /// Rises with every change.
    newest: u64,
}

/// Some of the revocations, in the order of their last changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The revocations.
    pub revocations: Vec<Revocation>,
    /// The number of the last change that is in here or before it.
    pub upto: u64,
    /// Whether there are later ones.
    pub more: bool,
}

impl Revocations {
    /// Two tables of at most `capacity` entries each.
    pub fn new(capacity: usize) -> Self {
        Self { of_nobody: Table::new(false, capacity), of_users: Table::new(true, capacity), newest: 0 }
    }

    /// Revokes the credentials of a session below a generation; `until` is when the last of them expires. Answers what is to be written
    /// down.
    pub fn revoke(&mut self, of: &Standing, least: u64, until: SystemTime, now: SystemTime) -> Vec<Revocation> {
        let table = if of.has_user { &mut self.of_users } else { &mut self.of_nobody };
        let mut written = table.insert(of.session, (least, round_up(now), round_up(until)), now, &mut self.newest).1;
        written.extend(table.entries.get(&of.session).map(|entry| entry.written(of.session, table.user)));
        written
    }

    /// Takes in what was written down, or what another one revoked. Says whether it was new.
    pub fn load(&mut self, revocation: Revocation, now: SystemTime) -> bool {
        let (Revocation::Session { user, .. } | Revocation::Everything { user, .. }) = revocation;
        let table = if user { &mut self.of_users } else { &mut self.of_nobody };
        match revocation {
            Revocation::Everything { all_until, .. } => table.refuse_all(from_unix_seconds(all_until), &mut self.newest),
            Revocation::Session { until, .. } if from_unix_seconds(until) <= now => false,
            Revocation::Session { session, least, at, until, .. } => {
                let entry = (least.unwrap_or(u64::MAX), from_unix_seconds(at), from_unix_seconds(until));
                table.insert(session, entry, now, &mut self.newest).0
            }
        }
    }

    /// Everything that is to be written down.
    pub fn written(&self) -> Vec<Revocation> {
        self.since(0, usize::MAX).revocations
    }

    /// What has changed after the change of this number, at most so much.
    pub fn since(&self, number: u64, most: usize) -> Page {
        let mut found: Vec<_> =
            [&self.of_nobody, &self.of_users].into_iter().flat_map(|table| table.since(number, most)).collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        let more = found.len() > most;
        found.truncate(most);
        let upto = found.last().filter(|_| more).map_or(self.newest, |(number, _)| *number);
        Page { revocations: found.into_iter().map(|(_, revocation)| revocation).collect(), upto, more }
    }

    /// Whether credentials are refused, and why.
    pub fn check(&self, of: &Standing) -> Result<(), Revoked> {
        let own = if of.has_user { &self.of_users } else { &self.of_nobody };
        let is_of_users = self.of_users.refuses(of);
        if !is_of_users && !self.of_nobody.refuses(of) && !own.refuses_all_of(of) {
            return Ok(());
        }
        Err(if is_of_users || self.of_nobody.is_ended(of.session) || self.of_users.is_ended(of.session) {
            Revoked::Ended
        } else {
            Revoked::Superseded
        })
    }
}

/// The revocations of one kind of credentials.
struct Table {
    /// Whether they have a user.
    user: bool,
    entries: HashMap<SessionId, Entry>,
    /// In the order of their last changes, by their numbers.
    order: BTreeMap<u64, SessionId>,
    capacity: usize,
    /// Credentials signed up to this moment are refused, and the number of that change.
    all_until: Option<(SystemTime, u64)>,
}

impl Table {
    fn new(user: bool, capacity: usize) -> Self {
        Self { user, entries: HashMap::new(), order: BTreeMap::new(), capacity: capacity.max(1), all_until: None }
    }

    fn refuses(&self, of: &Standing) -> bool {
        self.entries.get(&of.session).is_some_and(|entry| of.generation < entry.least)
    }

    fn refuses_all_of(&self, of: &Standing) -> bool {
        self.all_until.is_some_and(|(moment, _)| of.issued_at <= moment)
    }

    fn is_ended(&self, id: SessionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.least == u64::MAX)
    }

    fn since(&self, number: u64, most: usize) -> impl Iterator<Item = (u64, Revocation)> {
        let all = self.all_until.filter(|(_, at)| *at > number).map(|(until, at)| (at, self.everything(until)));
        let later = self
            .order
            .range(number.saturating_add(1)..)
            .filter_map(|(number, id)| self.entries.get(id).map(|entry| (*number, entry.written(*id, self.user))));
        // One more than asked for, so that it is known whether there are more.
        all.into_iter().chain(later.take(most.saturating_add(1)))
    }

    fn everything(&self, until: SystemTime) -> Revocation {
        Revocation::Everything { all_until: unix_seconds(until), user: self.user }
    }

    /// Says whether that is new.
    fn refuse_all(&mut self, until: SystemTime, newest: &mut u64) -> bool {
        let is_new = self.all_until.is_none_or(|(known, _)| known < until);
        if is_new {
            *newest += 1;
            self.all_until = Some((until, *newest));
        }
        is_new
    }

    /// Says whether anything changed, and what is to be written down beside the entry.
    fn insert(
        &mut self,
        id: SessionId,
        (least, at, until): (u64, SystemTime, SystemTime),
        now: SystemTime,
        newest: &mut u64,
    ) -> (bool, Vec<Revocation>) {
        self.forget_expired(now);
        let mut entry = Entry { least, at, until, number: 0 };
        let mut written = Vec::new();
        if let Some(known) = self.entries.get(&id) {
            if known.least >= least && known.at >= at && known.until >= until {
                return (false, written);
            }
            let (least, at, until) = (known.least.max(least), known.at.max(at), known.until.max(until));
            entry = Entry { least, at, until, number: 0 };
            self.order.remove(&known.number);
        } else if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_first().and_then(|(_, oldest)| self.entries.remove(&oldest))
            && self.refuse_all(oldest.at, newest)
        {
            written.push(self.everything(oldest.at));
        }
        *newest += 1;
        entry.number = *newest;
        self.entries.insert(id, entry);
        self.order.insert(entry.number, id);
        (true, written)
    }

    fn forget_expired(&mut self, now: SystemTime) {
        while let Some((number, id)) = self.order.first_key_value()
            && self.entries.get(id).is_none_or(|entry| entry.until < now)
        {
            let (number, id) = (*number, *id);
            self.entries.remove(&id);
            self.order.remove(&number);
        }
    }
}

impl Entry {
    fn written(&self, session: SessionId, user: bool) -> Revocation {
        let least = (self.least < u64::MAX).then_some(self.least);
        Revocation::Session { session, least, at: unix_seconds(self.at), until: unix_seconds(self.until), user }
    }
}

/// The next whole second: the side on which more is refused.
fn round_up(moment: SystemTime) -> SystemTime {
    let whole = unix_seconds(moment);
    from_unix_seconds(if from_unix_seconds(whole) < moment { whole.saturating_add(1) } else { whole })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
