//! Traffic counters of one shard. Written by one thread, read by any.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::{envelope::Family, error::ErrorCode};

/// The kinds of sender and receiver of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Agent to agent.
    AgentToAgent,
    /// Agent to one session.
    AgentToSession,
    /// Agent to one user.
    AgentToUser,
    /// Session to agent.
    SessionToAgent,
    /// Anyone to a topic.
    Topic,
    /// A broadcast.
    Broadcast,
    /// A peer to the bridge.
    Bridge,
}

impl Route {
    /// Names in the order of the enum.
    pub const NAMES: [&'static str; 7] =
        ["agent_to_agent", "agent_to_session", "agent_to_user", "session_to_agent", "topic", "broadcast", "bridge"];
}

/// Messages and bytes, in and out.
#[derive(Debug, Default)]
pub struct RouteCounts {
    /// Messages that came in.
    pub messages_in: AtomicU64,
    /// Their bytes.
    pub bytes_in: AtomicU64,
    /// Deliveries: one for each receiver.
    pub messages_out: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
}

impl RouteCounts {
    fn count(&self, bytes_in: u64, deliveries: u64, bytes_out: u64) {
        add(&self.messages_in, 1);
        add(&self.bytes_in, bytes_in);
        add(&self.messages_out, deliveries);
        add(&self.bytes_out, bytes_out);
    }
}

/// The counters of one shard.
#[derive(Debug, Default)]
pub struct Counters {
    /// By family of type, in the order of [`Family::NAMES`].
    pub families: [RouteCounts; Family::NAMES.len()],
    /// By route, in the order of [`Route::NAMES`].
    pub routes: [RouteCounts; Route::NAMES.len()],
    /// Errors told to peers.
    pub errors: ErrorCounts,
    /// Messages that wait in the router's mailbox.
    pub mailbox: AtomicU64,
}

impl Counters {
    /// A message was dispatched.
    pub fn on_message(&self, family: Family, route: Route, bytes_in: usize, deliveries: usize, frame_bytes: usize) {
        let (bytes_in, deliveries) = (bytes_in as u64, deliveries as u64);
        let bytes_out = deliveries * frame_bytes as u64;
        self.families[family as usize].count(bytes_in, deliveries, bytes_out);
        self.routes[route as usize].count(bytes_in, deliveries, bytes_out);
    }
}

/// How often each error was told.
#[derive(Debug)]
pub struct ErrorCounts([AtomicU64; ErrorCode::ALL.len()]);

impl Default for ErrorCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl ErrorCounts {
    /// It was told once more.
    pub fn count(&self, code: ErrorCode) {
        self.0[code.index()].fetch_add(1, Relaxed);
    }

    /// How often it was told.
    pub fn of(&self, code: ErrorCode) -> u64 {
        self.0[code.index()].load(Relaxed)
    }
}

/// Adds without a locked instruction: only the shard's own thread writes.
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(amount), Relaxed);
}
