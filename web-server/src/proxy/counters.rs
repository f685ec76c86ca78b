//! Counters and gauges of the proxy.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};
use transport::{LinkPolicy, link::LinkCounts};

use super::machine::State;

/// Totals and gauges over all ProxyActors.
#[derive(Debug)]
pub struct ProxyCounters {
    client_policy: Arc<LinkPolicy>,
    upstream_policy: Arc<LinkPolicy>,
    opened: AtomicU64,
    states: [AtomicU64; 4],
    dials: AtomicU64,
    failed_dials: AtomicU64,
    lost: AtomicU64,
    restored: AtomicU64,
    dropped_messages: AtomicU64,
    dropped_bytes: AtomicU64,
}

const STATE_NAMES: [&str; 4] = ["connecting", "linked", "waiting", "closing"];

impl ProxyCounters {
    /// All zero; the policies carry the counts of the links.
    pub fn new(client_policy: Arc<LinkPolicy>, upstream_policy: Arc<LinkPolicy>) -> Arc<Self> {
        Arc::new(Self {
            client_policy,
            upstream_policy,
            opened: AtomicU64::default(),
            states: Default::default(),
            dials: AtomicU64::default(),
            failed_dials: AtomicU64::default(),
            lost: AtomicU64::default(),
            restored: AtomicU64::default(),
            dropped_messages: AtomicU64::default(),
            dropped_bytes: AtomicU64::default(),
        })
    }

    pub(super) fn on_open(&self, state: State) {
        self.opened.fetch_add(1, Relaxed);
        self.gauge(state).fetch_add(1, Relaxed);
    }

    pub(super) fn on_move(&self, from: State, to: State) {
        if from != to {
            self.gauge(from).fetch_sub(1, Relaxed);
            self.gauge(to).fetch_add(1, Relaxed);
        }
    }

    pub(super) fn on_gone(&self, state: State) {
        self.gauge(state).fetch_sub(1, Relaxed);
    }

    pub(super) fn on_dial(&self) {
        self.dials.fetch_add(1, Relaxed);
    }

    pub(super) fn on_failed_dial(&self) {
        self.failed_dials.fetch_add(1, Relaxed);
    }

    pub(super) fn on_lost(&self) {
        self.lost.fetch_add(1, Relaxed);
    }

    pub(super) fn on_restored(&self) {
        self.restored.fetch_add(1, Relaxed);
    }

    pub(super) fn on_dropped(&self, messages: u64, bytes: u64) {
        self.dropped_messages.fetch_add(messages, Relaxed);
        self.dropped_bytes.fetch_add(bytes, Relaxed);
    }

    /// The clients' side, for statistics; `open` is the number of sockets now.
    pub fn browsers(&self, open: usize) -> Value {
        let counts = &self.client_policy.counts;
        json!({
            "sockets": open,
            "opened": self.opened.load(Relaxed),
            "bytes_in": counts.bytes_in.load(Relaxed),
            "bytes_out": counts.bytes_out.load(Relaxed),
            "slow_consumers": counts.slow_consumers.load(Relaxed),
            "silent": counts.silent.load(Relaxed),
            "pauses": counts.pauses.load(Relaxed),
            "dropped_messages": self.dropped_messages.load(Relaxed),
            "dropped_bytes": self.dropped_bytes.load(Relaxed),
        })
    }

    /// The broker's side, for statistics.
    pub fn upstream(&self) -> Value {
        let counts = &self.upstream_policy.counts;
        let states: serde_json::Map<_, _> = self.states().map(|(name, count)| (name.to_owned(), count.into())).collect();
        json!({
            "states": states,
            "dials": self.dials.load(Relaxed),
            "failed_dials": self.failed_dials.load(Relaxed),
            "lost": self.lost.load(Relaxed),
            "reconnects": self.restored.load(Relaxed),
            "bytes_in": counts.bytes_in.load(Relaxed),
            "bytes_out": counts.bytes_out.load(Relaxed),
            "pauses": counts.pauses.load(Relaxed),
        })
    }

    /// The sockets' connections to the broker, by state.
    pub(crate) fn states(&self) -> impl Iterator<Item = (&'static str, u64)> {
        STATE_NAMES.into_iter().zip(self.states.iter().map(|gauge| gauge.load(Relaxed)))
    }

    /// Clients' sockets since the start.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// What became of connections to the broker, since the start.
    pub(crate) fn dials(&self) -> [(&'static str, u64); 4] {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        [
            ("dialled", load(&self.dials)),
            ("failed", load(&self.failed_dials)),
            ("lost", load(&self.lost)),
            ("restored", load(&self.restored)),
        ]
    }

    /// Messages for clients that were dropped, and their bytes.
    pub(crate) fn dropped(&self) -> (u64, u64) {
        (self.dropped_messages.load(Relaxed), self.dropped_bytes.load(Relaxed))
    }

    /// The counts of the clients' sockets, and of the connections to the broker.
    pub(crate) fn links(&self) -> [(&'static str, &LinkCounts); 2] {
        [("client", &self.client_policy.counts), ("broker", &self.upstream_policy.counts)]
    }

    fn gauge(&self, state: State) -> &AtomicU64 {
        let [connecting, linked, waiting, closing] = &self.states;
        match state {
            State::Connecting { .. } => connecting,
            State::Linked { .. } => linked,
            State::Waiting { .. } => waiting,
            State::Hushed | State::Closing => closing,
        }
    }
}
