//! Writes the audit log into the store.

use std::{net::IpAddr, sync::Arc};

use common::{
    audit::{Batch, Entry, TICK},
    error::ClientError,
};

use crate::{broker::Broker, routing::Peer};

pub use common::audit::{Audit, Event};

impl Broker {
    /// Records what a peer did, or what happened to it.
    pub fn note_peer(&self, event: Event, peer: &Peer, what: &str) {
        if self.audit.is_on() {
            self.audit.note(event, peer.address(), what, &peer.origin().unwrap_or_default());
        }
    }

    /// Records a refusal because of a connection's credentials, with the refused message if the
    /// configuration asks for it. Without a `peer` the connection is not registered yet; then
    /// `origin` is where it comes from.
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

/// Ticks after which the count of unrecorded events is written. Strangers can keep it rising, and
/// its own entries must not fill the log.
const TICKS_PER_COUNT: u32 = 240;

/// Writes what waits, as long as the broker runs.
pub async fn keep(broker: Arc<Broker>) {
    for tick in (0..TICKS_PER_COUNT).cycle() {
        tokio::time::sleep(TICK).await;
        let batch = if tick == 0 { broker.audit.take() } else { broker.audit.take_entries() };
        store(&broker, batch).await;
    }
}

/// Writes everything that waits.
pub async fn write(broker: &Broker) {
    store(broker, broker.audit.take()).await;
}

/// What the store refuses keeps waiting.
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
