//! Accounts: what all connections of one address, session, user or key may use together.
//!
//! A connection opens a [`Tab`] on each account that pays for it, and charges what it reads.
//! Charging takes no lock. What exceeds the rate is not rejected: the charge returns how long the
//! connection must not read. An account outlives its last connection until its buckets are full
//! again, so that reconnecting gives no second burst. The table is bounded by the connections of
//! that time.
//!
//! An account also counts what its holder has in tables that all connections use together: see
//! [`crate::shares`].

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::rate::{Rate, SharedBucket};
use parking_lot::Mutex;

use crate::clock::now_ms;

/// The number of tables that accounts can count.
pub const TABLES: usize = 6;
/// Size of the table at which idle accounts are removed. Afterwards it is twice the number of those
/// left.
const FIRST_CLEANING: usize = 1024;

/// How many different allowances are shared by the accounts that have them.
const SHARED_ALLOWANCES: usize = 16;

/// The limits of an account.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Allowance {
    /// Connections at once; 0: no bound.
    pub connections: usize,
    /// Frames.
    pub messages: Rate,
    /// Bytes of those.
    pub bytes: Rate,
    /// The share of each table; 0: not counted.
    pub shares: [u32; TABLES],
    /// Whose account it is, for messages to people: `this session`.
    pub whose: &'static str,
}

impl Allowance {
    /// No bounds at all.
    pub const UNLIMITED: Self =
        Self { connections: 0, messages: Rate::UNLIMITED, bytes: Rate::UNLIMITED, shares: [0; TABLES], whose: "this holder" };
}

/// All accounts of one kind of holder.
#[derive(Debug)]
pub struct Accounts<K> {
    table: Mutex<Table<K>>,
}

#[derive(Debug)]
struct Table<K> {
    accounts: HashMap<K, Arc<Account>>,
    /// One copy of each allowance, so that the many accounts of sessions stay small.
    allowances: Vec<Arc<Allowance>>,
    clean_at: usize,
}

/// The account of one holder.
#[derive(Debug)]
pub struct Account {
    allowance: Arc<Allowance>,
    open: AtomicUsize,
    messages: SharedBucket,
    bytes: SharedBucket,
    held: [AtomicU32; TABLES],
    /// Refusals for each table. Most accounts never have any.
    refused: OnceLock<Box<[AtomicU64; TABLES]>>,
}

/// A connection's part in an account. Dropping it gives it back.
#[derive(Debug)]
pub struct Tab(Arc<Account>);

/// The account has reached its limit of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl<K> Default for Accounts<K> {
    fn default() -> Self {
        Self { table: Mutex::new(Table { accounts: HashMap::new(), allowances: Vec::new(), clean_at: FIRST_CLEANING }) }
    }
}

impl<K: Eq + Hash> Accounts<K> {
    /// The account of a holder. The allowance of the first call counts.
    pub fn account(&self, holder: K, allowance: Allowance) -> Arc<Account> {
        let mut table = self.table.lock();
        if table.accounts.len() >= table.clean_at {
            let now = Duration::from_millis(now_ms());
            // An account with other references pays for a connection, or for an entry in a table.
            table.accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_rested(now));
            table.clean_at = FIRST_CLEANING.max(table.accounts.len() * 2);
        }
        let Table { accounts, allowances, .. } = &mut *table;
        Arc::clone(accounts.entry(holder).or_insert_with(|| Arc::new(Account::new(shared(allowances, allowance)))))
    }

    /// Opens a tab. The allowance of the account's first connection counts.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn open(&self, holder: K, allowance: Allowance) -> Result<Tab, TooMany> {
        Tab::open(self.account(holder, allowance))
    }

    /// Connections of a holder.
    pub fn connections(&self, holder: &K) -> usize {
        self.table.lock().accounts.get(holder).map_or(0, |account| account.open.load(Relaxed))
    }

    /// The holder, among those that `is_meant` accepts, that has most of a table, and how much.
    /// `None` if nobody has any. Reads every account.
    pub fn largest(&self, table: usize, is_meant: impl Fn(&K) -> bool) -> Option<(K, u32)>
    where
        K: Clone,
    {
        let accounts = self.table.lock();
        let meant = accounts.accounts.iter().filter(|(holder, _)| is_meant(holder));
        let (holder, held) = meant.map(|(holder, account)| (holder, account.held(table))).max_by_key(|(_, held)| *held)?;
        (held > 0).then(|| (holder.clone(), held))
    }
}

/// The shared copy of an allowance.
fn shared(allowances: &mut Vec<Arc<Allowance>>, allowance: Allowance) -> Arc<Allowance> {
    if let Some(known) = allowances.iter().find(|known| ***known == allowance) {
        return Arc::clone(known);
    }
    let new = Arc::new(allowance);
    if allowances.len() < SHARED_ALLOWANCES {
        allowances.push(Arc::clone(&new));
    }
    new
}

impl Account {
    fn new(allowance: Arc<Allowance>) -> Self {
        Self {
            allowance,
            open: AtomicUsize::new(0),
            messages: SharedBucket::default(),
            bytes: SharedBucket::default(),
            held: Default::default(),
            refused: OnceLock::new(),
        }
    }

    fn is_rested(&self, now: Duration) -> bool {
        self.messages.is_full(now) && self.bytes.is_full(now)
    }

    /// Whose it is, for messages to people.
    pub fn whose(&self) -> &'static str {
        self.allowance.whose
    }

    /// Its share of a table; 0: it is not counted.
    pub fn share(&self, table: usize) -> u32 {
        self.allowance.shares.get(table).copied().unwrap_or_default()
    }

    /// How much it has of a table, if that is counted.
    pub fn held(&self, table: usize) -> u32 {
        self.held.get(table).map_or(0, |held| held.load(Relaxed))
    }

    /// How often something of a table was refused because of this account.
    pub fn refused(&self, table: usize) -> u64 {
        self.refused.get().and_then(|refused| refused.get(table)).map_or(0, |refused| refused.load(Relaxed))
    }

    pub(crate) fn note_refusal(&self, table: usize) {
        if let Some(refused) = self.refused.get_or_init(Box::default).get(table) {
            refused.fetch_add(1, Relaxed);
        }
    }

    /// Takes so much of a table. A holder without any may always take once. `forced`: ignores the
    /// share.
    pub(crate) fn take(&self, table: usize, amount: u32, forced: bool) -> bool {
        let (share, Some(held)) = (self.share(table), self.held.get(table)) else { return true };
        if share == 0 {
            return true;
        }
        let before = held.fetch_add(amount, Relaxed);
        let fits = forced || before == 0 || before.saturating_add(amount) <= share;
        if !fits {
            held.fetch_sub(amount, Relaxed);
        }
        fits
    }

    pub(crate) fn give_back(&self, table: usize, amount: u32) {
        if let Some(held) = self.held.get(table).filter(|_| self.share(table) > 0) {
            held.fetch_sub(amount, Relaxed);
        }
    }
}

impl Tab {
    /// Opens a tab on an account.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn open(account: Arc<Account>) -> Result<Self, TooMany> {
        let most = account.allowance.connections;
        let before = account.open.fetch_add(1, Relaxed);
        // Dropping it gives the place back.
        let tab = Self(account);
        if most > 0 && before >= most { Err(TooMany) } else { Ok(tab) }
    }

    /// The account.
    pub fn account(&self) -> &Arc<Account> {
        &self.0
    }

    /// Whether it limits anything besides the number of connections.
    pub fn is_metered(&self) -> bool {
        let Allowance { messages, bytes, .. } = &*self.0.allowance;
        !messages.is_unlimited() || !bytes.is_unlimited()
    }

    /// Charges a frame of so many bytes. Returns how long the connection must not read.
    pub fn charge(&self, bytes: usize, now_ms: u64) -> Duration {
        let (account, now) = (&*self.0, Duration::from_millis(now_ms));
        let messages = account.allowance.messages.charge(&account.messages, 1, now);
        messages.max(account.allowance.bytes.charge(&account.bytes, bytes as u64, now))
    }

    /// Counts a message of so many bytes that can still be refused.
    ///
    /// # Errors
    /// Over a rate: how long to wait.
    pub fn take(&self, bytes: usize, now_ms: u64) -> Result<(), Duration> {
        let (account, now) = (&*self.0, Duration::from_millis(now_ms));
        account.allowance.messages.take_shared(&account.messages, 1, now)?;
        account.allowance.bytes.take_shared(&account.bytes, bytes as u64, now)
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance =
        Allowance { connections: 2, messages: Rate::new(10, 20), bytes: Rate::new(1000, 2000), ..Allowance::UNLIMITED };

    #[test]
    fn accounts_with_the_same_limits_share_them() {
        let accounts = Accounts::default();
        let [ann, ben] = ["ann", "ben"].map(|holder| accounts.account(holder, ALLOWANCE));
        let other = accounts.account("cid", Allowance::UNLIMITED);
        assert!(Arc::ptr_eq(&ann.allowance, &ben.allowance));
        assert_eq!(*other.allowance, Allowance::UNLIMITED);
    }

    #[test]
    fn connections_share_one_account() {
        let accounts = Accounts::default();
        let one = accounts.open("ann", ALLOWANCE).expect("the first");
        let other = accounts.open("ann", ALLOWANCE).expect("the second");
        assert_eq!(accounts.open("ann", ALLOWANCE).err(), Some(TooMany));
        assert!(accounts.open("ben", ALLOWANCE).is_ok());
        for _ in 0..10 {
            assert_eq!(one.charge(10, 0) + other.charge(10, 0), Duration::ZERO);
        }
        assert_eq!(one.charge(10, 0), Duration::from_millis(100));
        drop((one, other));
        assert_eq!(accounts.connections(&"ann"), 0);
        let back = accounts.open("ann", ALLOWANCE).expect("there is room");
        assert!(back.charge(10, 0) > Duration::ZERO, "who comes back brings no second burst");
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let accounts = Accounts::default();
        let tab = accounts.open(1, ALLOWANCE).expect("the first");
        assert!((0..20).all(|_| tab.take(1, 0).is_ok()));
        assert!((0..20).all(|_| tab.take(1, 0) == Err(Duration::from_millis(100))));
        assert_eq!(tab.take(1, 100), Ok(()));
    }

    #[test]
    fn bytes_count_as_well_as_frames() {
        let accounts = Accounts::default();
        let tab = accounts.open(1, ALLOWANCE).expect("the first");
        assert_eq!(tab.charge(2000, 0), Duration::ZERO);
        assert_eq!(tab.charge(500, 0), Duration::from_millis(500));
        assert!(tab.is_metered() && !accounts.open(2, Allowance::UNLIMITED).expect("no bound").is_metered());
    }

    #[test]
    fn the_table_forgets_who_left_and_is_rested() {
        let accounts = Accounts::default();
        for holder in 0..10 * FIRST_CLEANING {
            drop(accounts.open(holder, ALLOWANCE));
        }
        assert!(accounts.table.lock().accounts.len() <= FIRST_CLEANING);
    }
}
