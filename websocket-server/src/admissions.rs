//! The limits on connections: in all, and for each holder.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{assertion::ClientIdentity, config::Settings, error::ErrorCode, id::UserId, network::counted};
use transport::{Account, Accounts, Payers, Tab};

use crate::{
    hashing::hash,
    holders::Holder,
    lifecycle::{Lifecycle, Readiness},
};

/// Admits connections, and keeps an account for each holder.
#[derive(Debug)]
pub struct Admissions {
    settings: Arc<Settings>,
    lifecycle: Arc<Lifecycle>,
    accounts: Accounts<Holder>,
    connections: AtomicUsize,
}

impl Admissions {
    /// Nobody is here yet.
    pub fn new(settings: Arc<Settings>, lifecycle: Arc<Lifecycle>) -> Arc<Self> {
        Arc::new(Self { settings, lifecycle, accounts: Accounts::default(), connections: AtomicUsize::new(0) })
    }

    /// Reserves a place for an agent with this key. Errors: `not_ready` while the broker starts or
    /// drains, `at_capacity` when the broker has its most connections, `too_many_connections` when
    /// the key has its most.
    pub fn admit_agent(self: &Arc<Self>, key: &str, address: IpAddr) -> Result<Admission, ErrorCode> {
        let address = self.counted(address).map(Holder::AddressOfAgents);
        self.admit(std::iter::once(Holder::Key(key.to_owned())).chain(address), None)
    }

    /// Reserves a place for an operator, who is charged for nothing. Errors: `not_ready`,
    /// `at_capacity`.
    pub fn admit_operator(self: &Arc<Self>) -> Result<Admission, ErrorCode> {
        self.admit(std::iter::empty(), None)
    }

    /// Reserves a place for a connection of a session. Errors: `not_ready`, `at_capacity`;
    /// `too_many_connections` when the session, its user or its address has its most.
    pub fn admit_session(self: &Arc<Self>, identity: &ClientIdentity) -> Result<Admission, ErrorCode> {
        let address = identity.ip.as_deref().and_then(|ip| ip.parse().ok()).and_then(|ip| self.counted(ip));
        let user = identity.user_id().cloned().map(Holder::User);
        let own = [Holder::Sessions, Holder::Session(identity.session_id)];
        // Many sessions of one address take turns as one sender.
        self.admit(own.into_iter().chain(user).chain(address.map(Holder::AddressOfSessions)), address.map(hash))
    }

    /// Reserves a place on the accounts of these holders. `group`: the connections that share their
    /// turns with this one.
    fn admit(self: &Arc<Self>, holders: impl Iterator<Item = Holder>, group: Option<u64>) -> Result<Admission, ErrorCode> {
        if self.lifecycle.readiness() != Readiness::Ready {
            return Err(ErrorCode::NotReady);
        }
        self.connections.fetch_add(1, Relaxed);
        let mut admission = Admission { admissions: Arc::clone(self), tabs: Vec::new(), payers: Arc::default(), has_user: false };
        for holder in std::iter::once(Holder::Everybody).chain(holders) {
            admission.open(holder)?;
        }
        admission.payers = Payers::new(admission.tabs.iter(), group);
        Ok(admission)
    }

    /// What an address counts as; `None` if it is not counted.
    fn counted(&self, address: IpAddr) -> Option<IpAddr> {
        counted(address, &self.settings.limits.exempt_networks)
    }

    /// The account of a holder.
    pub fn account(&self, holder: Holder) -> Arc<Account> {
        let allowance = holder.allowance(&self.settings);
        self.accounts.account(holder, allowance)
    }

    /// The single holder with the most places in a table, and how many it has. The holders for all
    /// connections and all sessions do not count.
    pub fn largest(&self, table: usize) -> Option<(Holder, u32)> {
        self.accounts.largest(table, |holder| !holder.is_collective())
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }
}

/// A connection's place among all connections. Dropping it gives it back.
#[derive(Debug)]
pub struct Admission {
    admissions: Arc<Admissions>,
    /// The first are those of [`Holder::Everybody`] and, for a session, of [`Holder::Sessions`].
    tabs: Vec<Tab>,
    payers: Arc<Payers>,
    has_user: bool,
}

impl Admission {
    /// Who pays for the connection's entries in shared tables.
    pub fn payers(&self) -> &Arc<Payers> {
        &self.payers
    }

    fn open(&mut self, holder: Holder) -> Result<(), ErrorCode> {
        let allowance = holder.allowance(&self.admissions.settings);
        self.has_user |= matches!(holder, Holder::User(_));
        let refusal = if holder.is_collective() { ErrorCode::AtCapacity } else { ErrorCode::TooManyConnections };
        self.tabs.push(self.admissions.accounts.open(holder, allowance).map_err(|_| refusal)?);
        Ok(())
    }

    /// The session has logged in: its user pays too, from the next counted frame on.
    ///
    /// # Errors
    /// `too_many_connections` of the user.
    pub fn join(&mut self, user: &UserId) -> Result<(), ErrorCode> {
        if self.has_user {
            return Ok(());
        }
        self.open(Holder::User(user.clone()))?;
        if let Some(tab) = self.tabs.last() {
            self.payers.join(tab);
        }
        Ok(())
    }

    /// Counts a message of so many bytes that can still be refused.
    ///
    /// # Errors
    /// One of the payers is over its rate: how long to wait.
    pub fn take(&self, bytes: usize, now_ms: u64) -> Result<(), Duration> {
        self.tabs.iter().try_for_each(|tab| tab.take(bytes, now_ms))
    }

    /// Whether frames are charged at all.
    pub fn is_metered(&self) -> bool {
        self.tabs.iter().any(Tab::is_metered)
    }

    /// Charges a frame of this many bytes. Returns how long the connection must not be read.
    pub fn charge(&self, bytes: usize, now_ms: u64) -> Duration {
        self.tabs.iter().map(|tab| tab.charge(bytes, now_ms)).max().unwrap_or_default()
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.admissions.connections.fetch_sub(1, Relaxed);
    }
}
