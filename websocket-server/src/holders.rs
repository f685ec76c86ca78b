//! Who has an account at the broker, and the share of each in the tables that all connections use
//! together.

use std::net::IpAddr;

use common::{
    config::{Limits, Settings},
    error::{ClientError, ErrorCode},
    id::{SessionId, UserId},
    rate::Rate,
};
use transport::{Allowance, ShareUsed, accounts::TABLES};

/// The most subscriptions in all.
const SUBSCRIPTIONS: usize = 2_000_000;
/// The number of open requests that shares refer to. All requests together have no bound: each
/// connection's bound is enough.
const REQUESTS: usize = 1_000_000;
/// Messages that may wait in one router while channels are opened.
pub const WAITING_MESSAGES: usize = 1024;
/// The same in bytes of their frames. One message is always allowed.
pub const WAITING_BYTES: usize = 16 << 20;
/// The most history reads in progress.
const READS: usize = 1024;
/// The least share of a table for a holder, if the table has so many places.
const LEAST: usize = 16;

/// A holder of an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// All connections. Its shares are the bounds of the tables.
    Everybody,
    /// All sessions. What they may not have is the reserve for agents.
    Sessions,
    /// An address of sessions.
    AddressOfSessions(IpAddr),
    /// An address of agents. What they send counts for their key.
    AddressOfAgents(IpAddr),
    /// A session.
    Session(SessionId),
    /// A user, over all sessions.
    User(UserId),
    /// The agents with one key, by its name.
    Key(String),
}

/// A table that all connections use together, in which each holder has a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    /// Topics with subscribers. Each counts for one of its present subscribers: the one that
    /// subscribed first.
    Topics,
    /// Subscriptions.
    Subscriptions,
    /// Open requests.
    Requests,
    /// Messages that wait while their channels are opened.
    WaitingMessages,
    /// Bytes of those.
    WaitingBytes,
    /// History reads in progress.
    Reads,
}

impl Table {
    /// Every table, in the order of their numbers.
    pub const ALL: [Self; TABLES] =
        [Self::Topics, Self::Subscriptions, Self::Requests, Self::WaitingMessages, Self::WaitingBytes, Self::Reads];

    /// Its name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Subscriptions => "subscriptions",
            Self::Requests => "open_requests",
            Self::WaitingMessages => "waiting_messages",
            Self::WaitingBytes => "waiting_bytes",
            Self::Reads => "readings_of_the_past",
        }
    }

    fn bound(self, limits: &Limits) -> usize {
        match self {
            Self::Topics => limits.max_topics,
            Self::Subscriptions => SUBSCRIPTIONS,
            Self::Requests => REQUESTS,
            Self::WaitingMessages => WAITING_MESSAGES,
            Self::WaitingBytes => WAITING_BYTES,
            Self::Reads => READS,
        }
    }

    /// A holder's share of it; 0: it is not counted.
    fn share(self, holder: &Holder, limits: &Limits) -> usize {
        let bound = self.bound(limits);
        let part = |part: f64| if part >= 1.0 { 0 } else { ((bound as f64 * part) as usize).max(LEAST).min(bound) };
        let or = |own: usize, part: usize| if own == 0 { part } else { own };
        match (self, holder) {
            (Self::Requests, Holder::Everybody | Holder::Sessions) => 0,
            // Each router has these bounds itself. Agents that leave something for very many
            // receivers may fill what sessions leave free.
            (Self::WaitingMessages | Self::WaitingBytes, Holder::Everybody | Holder::Key(_)) => 0,
            (_, Holder::Everybody) => bound,
            (_, Holder::Sessions) => bound - reserve(bound, limits),
            (Self::Subscriptions, Holder::Session(_)) => limits.max_session_subscriptions,
            (Self::Subscriptions, Holder::User(_)) => limits.max_user_subscriptions,
            (Self::Subscriptions, Holder::Key(_)) => or(limits.max_key_subscriptions, part(limits.key_share)),
            (_, Holder::Session(_)) => part(limits.session_share),
            (_, Holder::User(_)) => part(limits.user_share),
            (_, Holder::AddressOfSessions(_)) => part(limits.address_share),
            (_, Holder::AddressOfAgents(_)) => 0,
            (_, Holder::Key(_)) => part(limits.key_share),
        }
    }

    /// The error for a peer that was refused a place.
    pub fn refusal(self, ShareUsed { payer, whose, share }: ShareUsed) -> ClientError {
        // The first payer is everybody, the second one of a session is all sessions.
        let is_full = payer == 0 || whose == SESSIONS;
        let (code, advice) = match self {
            Self::Topics if is_full => (ErrorCode::TooManyTopics, "Try again later."),
            Self::Topics => (ErrorCode::ShareExceeded, "Unsubscribe from one first."),
            Self::Subscriptions => (ErrorCode::TooManySubscriptions, "Unsubscribe from one first."),
            Self::Requests => (ErrorCode::TooManyRequests, "Wait for answers."),
            Self::WaitingMessages | Self::WaitingBytes => (ErrorCode::InboxBusy, "Try again later."),
            Self::Reads => (ErrorCode::TooManyRequests, "Wait for the answers to earlier ones."),
        };
        let what = match self {
            Self::Topics => "topics that nobody had before",
            Self::Subscriptions => "subscriptions",
            Self::Requests => "open requests",
            Self::WaitingMessages => "messages that wait for inboxes to be opened",
            Self::WaitingBytes => "bytes of messages that wait for inboxes to be opened",
            Self::Reads => "history reads in progress",
        };
        ClientError::with_message(code, format!("The share of {whose} is used up: {share} {what}. {advice}"))
    }
}

const SESSIONS: &str = "all sessions together";

/// The part of a table with so many places that is reserved for agents.
fn reserve(bound: usize, limits: &Limits) -> usize {
    (bound as f64 * limits.agents_reserve) as usize
}

impl Holder {
    /// The limits of the holder's account.
    pub fn allowance(&self, settings: &Settings) -> Allowance {
        let (limits, rates) = (&settings.limits, &settings.rates);
        let free = Rate::UNLIMITED;
        let (connections, messages, bytes, whose) = match self {
            Self::Everybody => (limits.max_connections, free, free, "the server"),
            Self::Sessions => {
                let most = limits.max_connections - reserve(limits.max_connections, limits);
                (most.max(1), free, free, SESSIONS)
            }
            Self::AddressOfSessions(_) => {
                (limits.max_address_connections, rates.address_messages, rates.address_bytes, "this address")
            }
            Self::AddressOfAgents(_) => (limits.max_address_connections, free, free, "this address"),
            Self::Session(_) => (limits.max_session_connections, rates.session_messages, rates.session_bytes, "this session"),
            Self::User(_) => (limits.max_user_connections, rates.user_messages, rates.user_bytes, "this user"),
            Self::Key(_) => (limits.max_key_connections, rates.key_messages, rates.key_bytes, "this agent key"),
        };
        let share = |table: Table| u32::try_from(table.share(self, limits)).unwrap_or(u32::MAX);
        Allowance { connections, messages, bytes, shares: Table::ALL.map(share), whose }
    }

    /// Whether it represents many peers.
    pub const fn is_collective(&self) -> bool {
        matches!(self, Self::Everybody | Self::Sessions)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everybody => out.write_str("everybody"),
            Self::Sessions => out.write_str("sessions"),
            Self::AddressOfSessions(address) | Self::AddressOfAgents(address) => write!(out, "address:{address}"),
            Self::Session(session_id) => write!(out, "session:{session_id}"),
            Self::User(user) => write!(out, "user:{user}"),
            Self::Key(key) => write!(out, "key:{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_parts_of_the_bounds_and_leave_a_reserve_to_agents() {
        let settings = Settings::default();
        let share = |table: Table, holder: Holder| holder.allowance(&settings).shares[table as usize];
        let session = || Holder::Session(SessionId::fresh());
        let key = || Holder::Key("k".to_owned());
        assert_eq!(share(Table::Topics, Holder::Everybody), 100_000);
        assert_eq!(share(Table::Topics, Holder::Sessions), 90_000);
        assert_eq!(share(Table::Topics, session()), 2000);
        assert_eq!(share(Table::Topics, key()), 50_000);
        assert_eq!(share(Table::Subscriptions, session()), 4096);
        assert_eq!(Holder::Sessions.allowance(&settings).connections, 18_000);
        for table in Table::ALL {
            assert_eq!(Table::ALL[table as usize], table);
            let address = share(table, Holder::AddressOfSessions([192, 0, 2, 1].into()));
            assert!(address > 0 && (address as usize) < table.bound(&settings.limits) / 2, "{table:?}: {address}");
        }
    }

    #[test]
    fn small_tables_and_parts_of_one_have_no_shares_that_are_too_small() {
        let mut settings = Settings::default();
        settings.limits.max_topics = 5;
        settings.limits.user_share = 1.0;
        let topics = |holder: Holder| holder.allowance(&settings).shares[Table::Topics as usize];
        assert_eq!(topics(Holder::Session(SessionId::fresh())), 5);
        assert_eq!(topics(Holder::Sessions), 5);
        assert_eq!(topics(Holder::User(UserId::new("ann").expect("a name"))), 0, "not counted");
    }
}
