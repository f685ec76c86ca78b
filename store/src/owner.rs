//! Whom a record counts for.
//!
//! A record has one *owner*: its sender, as it was when it sent. An owner is charged on the
//! accounts of up to three *holders*: its session, its user, its client address; an agent on the
//! account of its key. All agents without a key share one account. Pure values; [`crate::ledger`]
//! counts.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use crate::quota::{Kind, Quota, Quotas, Usage};

/// How far a sender is trusted, least first. At the bounds, the more trusted find room for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// A session without a user.
    Anonymous,
    /// A session with a user.
    User,
    /// An agent, an operator, or the bridge itself.
    Agent,
}

impl Standing {
    /// Every standing, least trusted first.
    pub const ALL: [Self; 3] = [Self::Anonymous, Self::User, Self::Agent];

    /// How much of a bound it may use: an anonymous session half, a user three quarters, an agent
    /// all of it. So agents find room where others have filled what they may.
    pub const fn part_of(self, bound: u64) -> u64 {
        match self {
            Self::Anonymous => bound / 2,
            Self::User => bound - bound / 4,
            Self::Agent => bound,
        }
    }

    /// The position in [`Standing::ALL`]. Permanent, because backends store it.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The account of agents without a key. No key can have this name.
const NO_KEY: &str = "(no key)";

/// The identity of an owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnerKey {
    /// How far it is trusted.
    pub standing: Standing,
    /// Its address on the bridge: `session:<uuid>` or `agent:<id>`.
    pub sender: String,
    /// The user of the session.
    pub user: Option<String>,
    /// The network address that it counts for; `None` if that is not counted.
    pub address: Option<String>,
    /// The name of an agent's key; `None` if it came without one.
    pub key: Option<String>,
}

impl OwnerKey {
    /// The holders whose accounts are charged.
    pub(crate) fn holders(&self) -> impl Iterator<Item = HolderKey> {
        let session = self.sender.starts_with("session:").then(|| HolderKey(Kind::Session, self.sender.clone()));
        let user = self.user.clone().map(|user| HolderKey(Kind::User, user));
        let address = self.address.clone().map(|address| HolderKey(Kind::Address, address));
        let key = (self.standing == Standing::Agent).then(|| self.account_of_key());
        session.into_iter().chain(user).chain(address).chain(key)
    }

    fn account_of_key(&self) -> HolderKey {
        HolderKey(Kind::Key, self.key.clone().unwrap_or_else(|| NO_KEY.to_owned()))
    }

    /// Its source when an inbox is divided: all sessions of one address, of one user, or all agents
    /// of one key.
    pub(crate) fn source(&self) -> HolderKey {
        let (kind, name) = match self.standing {
            Standing::Anonymous => (Kind::Address, &self.address),
            Standing::User => (Kind::User, &self.user),
            Standing::Agent => return self.account_of_key(),
        };
        name.as_ref().map_or_else(|| HolderKey(Kind::Session, self.sender.clone()), |name| HolderKey(kind, name.clone()))
    }
}

/// Who pays for the positions of clients, in a form that can be stored: the kind and the name of a
/// source. Backends store it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Payer(pub(crate) String);

impl Payer {
    pub(crate) fn of(owner: &Owner) -> Self {
        let HolderKey(kind, name) = owner.key.source();
        Self(format!("{} {name}", kind.as_str()))
    }

    /// The kind and the name, for operators.
    pub(crate) fn split(&self) -> (String, String) {
        let (kind, name) = self.0.split_once(' ').unwrap_or(("", &self.0));
        (kind.to_owned(), name.to_owned())
    }
}

/// The identity of a holder.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct HolderKey(pub(crate) Kind, pub(crate) String);

/// An account: what is stored of a session, a user, an address or a key, or on its way into the
/// store.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) key: HolderKey,
    /// Identifies it among sources, in this process.
    pub(crate) id: u64,
    quota: Quota,
    // Signed, because a release may be counted before the charge.
    records: AtomicI64,
    bytes: AtomicI64,
}

impl Holder {
    pub(crate) fn new(key: HolderKey, id: u64, quotas: &Quotas) -> Self {
        let quota = quotas.of(key.0);
        Self { key, id, quota, records: AtomicI64::new(0), bytes: AtomicI64::new(0) }
    }

    /// Takes room for one record. `Err`: the exceeded bound; nothing was taken then.
    fn take(&self, bytes: i64) -> Result<(), (&'static str, u64)> {
        let over = |bound: u64, have: i64| bound != 0 && u64::try_from(have).is_ok_and(|have| have > bound);
        let records = self.records.fetch_add(1, Relaxed) + 1;
        let all = self.bytes.fetch_add(bytes, Relaxed) + bytes;
        let refused = if over(self.quota.records, records) {
            ("messages", self.quota.records)
        } else if over(self.quota.bytes, all) {
            ("bytes", self.quota.bytes)
        } else {
            return Ok(());
        };
        self.add(-1, -bytes);
        Err(refused)
    }

    fn add(&self, records: i64, bytes: i64) {
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn usage(&self) -> Usage {
        let count = |counter: &AtomicI64| u64::try_from(counter.load(Relaxed)).unwrap_or(0);
        Usage { records: count(&self.records), bytes: count(&self.bytes) }
    }
}

/// A known owner. Made by [`crate::Store::owner`].
#[derive(Debug)]
pub struct Owner {
    pub(crate) id: u64,
    pub(crate) key: OwnerKey,
    pub(crate) source: u64,
    pub(crate) holders: Vec<Arc<Holder>>,
}

impl PartialEq for Owner {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Owner {}

impl Owner {
    /// Its identity.
    pub fn key(&self) -> &OwnerKey {
        &self.key
    }

    /// Takes room for one record on all accounts, or on none. `Err`: whose bound is exceeded, of
    /// what, and the bound.
    pub(crate) fn take(&self, bytes: i64) -> Result<(), (Kind, &'static str, u64)> {
        for (taken, holder) in self.holders.iter().enumerate() {
            if let Err((of, limit)) = holder.take(bytes) {
                self.holders.iter().take(taken).for_each(|holder| holder.add(-1, -bytes));
                return Err((holder.key.0, of, limit));
            }
        }
        Ok(())
    }

    /// Counts so much more (or less) on every account.
    pub(crate) fn add(&self, records: i64, bytes: i64) {
        if records != 0 || bytes != 0 {
            self.holders.iter().for_each(|holder| holder.add(records, bytes));
        }
    }
}
