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
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use common::{
    id::SessionId,
    timestamp::{from_unix_seconds, unix_seconds},
};
use serde::{Deserialize, Serialize};

use super::token::Session;

/// Entries of each of the two tables: about 30 MB at most in all.
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

#[derive(Clone, Copy, Debug)]
struct Entry {
    least: u64,
    at: SystemTime,
    until: SystemTime,
}

/// See the module.
pub struct Revocations {
    of_nobody: Table,
    of_users: Table,
}

impl Revocations {
    /// Two tables of at most `capacity` entries each, for tokens of this lifetime.
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { of_nobody: Table::new(false, capacity, lifetime), of_users: Table::new(true, capacity, lifetime) }
    }

    /// Revokes the tokens of a session below a generation. Answers what is to be written down.
    pub fn revoke(&mut self, session: &Session, least: u64, now: SystemTime) -> Vec<Revocation> {
        let table = if session.login.is_some() { &mut self.of_users } else { &mut self.of_nobody };
        table.revoke(session, least, now)
    }

    /// Takes back what was written down.
    pub fn load(&mut self, revocation: Revocation, now: SystemTime) {
        let (Revocation::Session { user, .. } | Revocation::Everything { user, .. }) = revocation;
        let table = if user { &mut self.of_users } else { &mut self.of_nobody };
        table.load(revocation, now);
    }

    /// Everything that is to be written down.
    pub fn written(&self) -> Vec<Revocation> {
        let mut written = self.of_nobody.written();
        written.extend(self.of_users.written());
        written
    }

    /// Whether the token that this session came with is refused.
    pub fn is_revoked(&self, session: &Session) -> bool {
        let own = if session.login.is_some() { &self.of_users } else { &self.of_nobody };
        self.of_nobody.refuses(session) || self.of_users.refuses(session) || own.refuses_all_of(session)
    }

    /// Whether the session was ended, not only its older tokens.
    pub fn is_ended(&self, id: SessionId) -> bool {
        self.of_nobody.is_ended(id) || self.of_users.is_ended(id)
    }
}

/// The revocations of one kind of tokens.
struct Table {
    /// Whether the tokens have a user.
    user: bool,
    entries: HashMap<SessionId, Entry>,
    /// In the order in which they were made.
    order: VecDeque<SessionId>,
    capacity: usize,
    /// How long a token lives that is signed now.
    lifetime: Duration,
    /// Tokens signed up to this moment are refused.
    all_until: Option<SystemTime>,
}

impl Table {
    fn new(user: bool, capacity: usize, lifetime: Duration) -> Self {
        Self { user, entries: HashMap::new(), order: VecDeque::new(), capacity: capacity.max(1), lifetime, all_until: None }
    }

    fn revoke(&mut self, session: &Session, least: u64, now: SystemTime) -> Vec<Revocation> {
        let newest = now.checked_add(self.lifetime).unwrap_or(now);
        let entry = Entry { least, at: now, until: newest.max(session.expires_at) };
        let mut written = self.insert(session.id, entry, now);
        written.extend(self.entries.get(&session.id).map(|entry| entry.written(session.id, self.user)));
        written
    }

    fn load(&mut self, revocation: Revocation, now: SystemTime) {
        match revocation {
            Revocation::Everything { all_until, .. } => self.all_until = self.all_until.max(Some(from_unix_seconds(all_until))),
            Revocation::Session { session, least, at, until, .. } => {
                let entry =
                    Entry { least: least.unwrap_or(u64::MAX), at: from_unix_seconds(at), until: from_unix_seconds(until) };
                if entry.until > now {
                    self.insert(session, entry, now);
                }
            }
        }
    }

    fn written(&self) -> Vec<Revocation> {
        let everything = self.all_until.map(|until| Revocation::Everything { all_until: unix_seconds(until), user: self.user });
        let entries = self.order.iter().filter_map(|id| self.entries.get(id).map(|entry| entry.written(*id, self.user)));
        everything.into_iter().chain(entries).collect()
    }

    fn refuses(&self, session: &Session) -> bool {
        self.entries.get(&session.id).is_some_and(|entry| session.generation < entry.least)
    }

    fn refuses_all_of(&self, session: &Session) -> bool {
        self.all_until.is_some_and(|moment| session.issued_at <= moment)
    }

    fn is_ended(&self, id: SessionId) -> bool {
        self.entries.get(&id).is_some_and(|entry| entry.least == u64::MAX)
    }

    fn insert(&mut self, id: SessionId, entry: Entry, now: SystemTime) -> Vec<Revocation> {
        self.forget_expired(now);
        if let Some(known) = self.entries.get_mut(&id) {
            known.least = known.least.max(entry.least);
            known.until = known.until.max(entry.until);
            return Vec::new();
        }
        let mut written = Vec::new();
        if self.order.len() >= self.capacity
            && let Some(oldest) = self.order.pop_front().and_then(|oldest| self.entries.remove(&oldest))
        {
            self.all_until = self.all_until.max(Some(oldest.at));
            written
                .extend(self.all_until.map(|until| Revocation::Everything { all_until: unix_seconds(until), user: self.user }));
        }
        self.entries.insert(id, entry);
        self.order.push_back(id);
        written
    }

    fn forget_expired(&mut self, now: SystemTime) {
        while let Some(id) = self.order.front()
            && self.entries.get(id).is_none_or(|entry| entry.until < now)
        {
            self.entries.remove(id);
            self.order.pop_front();
        }
    }
}

impl Entry {
    fn written(&self, session: SessionId, user: bool) -> Revocation {
        let least = (self.least < u64::MAX).then_some(self.least);
        // Rounded to the side on which more is refused.
        Revocation::Session {
            session,
            least,
            at: unix_seconds(self.at).saturating_add(1),
            until: unix_seconds(self.until).saturating_add(1),
            user,
        }
    }
}

#[cfg(test)]
#[path = "revocations_tests.rs"]
mod tests;
