//! The broker's audit log: what is recorded, and how it gets into the store.

use std::{net::IpAddr, sync::Arc};

use common::{
    audit::{Audit, Batch, Entry, TICK},
    config::StoreSettings,
    error::ClientError,
};
use store::Store;

use crate::peers::Peer;

pub use common::audit::Event;

/// Ticks after which the count of unrecorded events is written. Strangers can keep it rising, and
/// its own entries must not fill the log.
const TICKS_PER_COUNT: u32 = 240;

/// Entries on their way to the store.
#[derive(Debug)]
pub struct AuditLog {
    waiting: Audit,
    /// Whether the payload of a refused message is recorded with the refusal.
    with_payloads: bool,
}

impl AuditLog {
    /// An empty log, on or off as the settings say.
    pub fn new(settings: &StoreSettings) -> Self {
        Self { waiting: Audit::new(settings.audit), with_payloads: settings.audit_payloads }
    }

    /// Notes an event.
    pub fn note(&self, event: Event, who: &str, what: &str, origin: &str) {
        self.waiting.note(event, who, what, origin);
    }

    /// Adds entries that another part has made.
    pub fn add(&self, entries: impl IntoIterator<Item = Entry>) {
        self.waiting.add(entries);
    }

    /// Counts events that are not recorded one by one.
    pub fn pass_over(&self, events: u64) {
        self.waiting.pass_over(events);
    }

    /// Takes everything that waits to be written.
    pub fn take(&self) -> Batch {
        self.waiting.take()
    }

    /// Records what a peer did, or what happened to it.
    pub fn note_peer(&self, event: Event, peer: &Peer, what: &str) {
        if self.waiting.is_on() {
            self.waiting.note(event, peer.address(), what, &peer.origin().unwrap_or_default());
        }
    }

    /// Records that a connection was refused something because of who it is. The message it had
    /// sent is recorded too, if the settings say so. Without a `peer` the connection is not
    /// registered yet; `origin` is then its address.
    pub fn note_refusal(&self, peer: Option<&Peer>, origin: Option<IpAddr>, error: &ClientError, sent: Option<&str>) {
        if self.waiting.is_on() && matches!(error.code.row().status, 401 | 403) {
            let what = format!("{} {}", error.code, error.target.as_deref().unwrap_or_default());
            let origin = peer.map_or_else(|| origin.map(|address| address.to_string()), Peer::origin).unwrap_or_default();
            let entry = Entry::new(Event::Refusal, peer.map_or("", Peer::address), what.trim_end(), &origin);
            let sent = sent.filter(|_| self.with_payloads);
            self.waiting.add([match sent {
                Some(sent) => entry.with_detail(sent),
                None => entry,
            }]);
        }
    }

    /// Writes everything that waits.
    pub async fn write(&self, store: &dyn Store) {
        self.write_batch(store, self.waiting.take()).await;
    }

    /// Writes what waits, for as long as the broker runs.
    pub async fn keep(self: Arc<Self>, store: Arc<dyn Store>) {
        for tick in (0..TICKS_PER_COUNT).cycle() {
            tokio::time::sleep(TICK).await;
            let batch = if tick == 0 { self.waiting.take() } else { self.waiting.take_entries() };
            self.write_batch(store.as_ref(), batch).await;
        }
    }

    /// Entries that the store refuses keep waiting.
    async fn write_batch(&self, store: &dyn Store, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        let entries = batch.clone().into_entries();
        if let Err(error) = store.audit(entries).await {
            tracing::warn!(%error, entries = batch.entries.len(), "entries of the audit log are not written yet");
            self.waiting.put_back(batch);
        }
    }
}
