//! Writes the audit log into the store.

use std::sync::Arc;

use common::{
    audit::{Batch, Entry, TICK},
    error::ClientError,
};

use crate::{broker::Broker, routing::Peer};

pub use common::audit::{Audit, Event};

impl Broker {
    /// Notes what a peer did, or what happened to it.
    pub fn note_peer(&self, event: Event, peer: &Peer, what: &str) {
        if self.audit.is_on() {
            self.audit.note(event, peer.address(), what, &peer.origin().unwrap_or_default());
        }
    }

    /// Notes what a peer was refused, with what it had sent where that is wanted.
    pub fn note_refusal(&self, peer: &Peer, what: &str, sent: Option<&str>) {
        if self.audit.is_on() {
            let entry = Entry::new(Event::Refusal, peer.address(), what, &peer.origin().unwrap_or_default());
            let sent = sent.filter(|_| self.settings.store.audit_payloads);
            self.audit.add([match sent {
                Some(sent) => entry.with_detail(sent),
                None => entry,
            }]);
        }
    }
}

/// Ticks after which the count of what was too much is written. Strangers can keep it rising: its own entries are not to fill the log.
const TICKS_PER_COUNT: u32 = 240;

/// Writes what waits, as long as the broker runs.
pub async fn keep(broker: Arc<Broker>) {
    for tick in (0..TICKS_PER_COUNT).cycle() {
        tokio::time::sleep(TICK).await;
        let batch = if tick == 0 { broker.audit.take() } else { broker.audit.take_entries() };
        store(&broker, batch).await;
    }
}

/// Writes all that waits.
pub async fn write(broker: &Broker) {
    store(broker, broker.audit.take()).await;
}

/// What the store does not take waits on.
async fn store(broker: &Broker, batch: Batch) {
    if batch.is_empty() {
        return;
    }
    let entries = batch.clone().into_entries();
    if let Err(error) = broker.channels.store().audit(entries).await {
        tracing::warn!(%error, entries = batch.entries.len(), "entries of the audit log are not written yet");
        broker.audit.put_back(batch);
    }
}
