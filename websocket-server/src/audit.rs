//! Writes the audit log into the store.

use std::{net::IpAddr, sync::Arc};

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

    /// Notes what was refused to a connection because of who it is, with what it had sent where that is wanted. Without a `peer` it is not
    /// registered yet; `origin`: where it comes from then.
    pub fn note_refusal(&self, peer: Option<&Peer>, origin: Option<IpAddr>, error: &ClientError, sent: Option<&str>) {
        if self.audit.is_on() && matches!(error.code.row().status, 401 | 403) {
            let what = format!("{} {}", error.code, error.target.as_deref().unwrap_or_default());
            let origin = peer.map_or_else(|| origin.map(|address| address.to_string()), Peer::origin).unwrap_or_default();
            let entry = Entry::new(Event::Refusal, peer.map_or("", Peer::address), what.trim_end(), &origin);
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
