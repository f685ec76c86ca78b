//! How much of the store one holder may use.

/// The kind of account that a quota is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A session.
    Session,
    /// A user, with all of its sessions.
    User,
    /// A client address, with all sessions that come from it.
    Address,
    /// An agent key, with all agents that present it.
    Key,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Session, Self::User, Self::Address, Self::Key];

    /// The name in messages and statistics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::User => "user",
            Self::Address => "address",
            Self::Key => "key",
        }
    }
}

/// What one holder may have stored; 0: no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Messages.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// The quotas of all kinds of holders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of one session.
    pub session: Quota,
    /// Of one user.
    pub user: Quota,
    /// Of one client address.
    pub address: Quota,
    /// Of one agent key.
    pub key: Quota,
}

impl Quotas {
    /// The quota of a kind.
    pub fn of(&self, kind: Kind) -> Quota {
        match kind {
            Kind::Session => self.session,
            Kind::User => self.user,
            Kind::Address => self.address,
            Kind::Key => self.key,
        }
    }
}

/// How much is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

impl Usage {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, bytes: u64) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// What is charged to whom, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageReport {
    /// Holders that have anything stored, or recently had.
    pub holders: u64,
    /// The fullest of them by bytes, fullest first: kind, name, and what is charged to it.
    pub fullest: Vec<(Kind, String, Usage)>,
    /// Messages refused since the start because of a quota, in the order of [`Kind::ALL`].
    pub refused: [u64; 4],
    /// Messages refused since the start because the store was full.
    pub refused_full: u64,
}

/// The positions of named clients that are kept, for operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PositionsReport {
    /// All of them.
    pub positions: u64,
    /// The sessions and agents behind which their clients are.
    pub addresses: u64,
    /// Who has most of them, most first, at most [`PositionsReport::LISTED`]: `address`, `user`,
    /// `key` or `session`, its name, and how many.
    pub largest: Vec<(String, String, u64)>,
}

impl PositionsReport {
    /// The most holders listed.
    pub const LISTED: usize = 10;
}
