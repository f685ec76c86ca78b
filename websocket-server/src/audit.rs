//! Writes the audit log into the store.

use std::sync::Arc;

use common::audit::{Entry, TICK};
use store::AuditEntry;

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

/// Writes what waits, as long as the broker runs.
pub async fn keep(broker: Arc<Broker>) {
    loop {
        tokio::time::sleep(TICK).await;
        write(&broker).await;
    }
}

/// Writes what waits.
pub async fn write(broker: &Broker) {
    let entries: Vec<_> = broker.audit.take().into_iter().map(stored).collect();
    if entries.is_empty() {
        return;
    }
    let count = entries.len();
    if let Err(error) = broker.channels.store().audit(entries).await {
        tracing::warn!(%error, count, "entries of the audit log were not written");
    }
}

fn stored(entry: Entry) -> AuditEntry {
    let Entry { at, kind, who, what, origin, detail } = entry;
    AuditEntry { at, kind: kind.as_str().to_owned(), who, what, origin, detail }
}
