//! The audit log: who came, who was let in or not, what was refused, what operators did. Never what was said.
//!
//! Entries wait in memory and are written several times a second, so that nobody waits for the disk. At the bound of what may wait,
//! entries are counted instead, and the count is an entry.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use store::AuditEntry;

use crate::{broker::Broker, durable::unix_ms, routing::Peer};

/// How often entries are written.
const TICK: Duration = Duration::from_millis(250);
/// Entries that may wait; what comes beyond is counted.
const MOST_WAITING: usize = 1_000;
/// Longest field of an entry that others had a hand in, in bytes.
const LONGEST: usize = 256;

/// What sort of event an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection came or went.
    Connection,
    /// Somebody was let in, or not.
    Authentication,
    /// A message, a subscription or a reading was refused.
    Refusal,
    /// An operator did something.
    Admin,
}

impl Event {
    /// The `kind` in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Authentication => "authentication",
            Self::Refusal => "refusal",
            Self::Admin => "admin",
        }
    }
}

/// What waits to be written.
#[derive(Debug, Default)]
pub struct Audit {
    is_off: bool,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: Vec<AuditEntry>,
    beyond: u64,
}

impl Audit {
    /// The log, or none.
    pub fn new(is_on: bool) -> Self {
        Self { is_off: !is_on, waiting: Mutex::default() }
    }

    /// Notes an event.
    pub fn note(&self, event: Event, who: &str, what: &str, origin: &str) {
        if self.is_off {
            return;
        }
        let mut waiting = self.waiting.lock();
        if waiting.entries.len() >= MOST_WAITING {
            waiting.beyond += 1;
            return;
        }
        waiting.entries.push(entry(event, who, what, origin));
    }

    /// Notes what a peer did, or what happened to it.
    pub fn note_peer(&self, event: Event, peer: &Peer, what: &str) {
        if !self.is_off {
            self.note(event, peer.address(), what, &peer.origin().unwrap_or_default());
        }
    }

    /// What waits, and forgets it.
    fn take(&self) -> Vec<AuditEntry> {
        let mut waiting = self.waiting.lock();
        let mut entries = std::mem::take(&mut waiting.entries);
        let beyond = std::mem::take(&mut waiting.beyond);
        drop(waiting);
        if beyond > 0 {
            entries.push(entry(Event::Admin, "bridge", &format!("{beyond} more events at once than are written"), ""));
        }
        entries
    }
}

fn entry(event: Event, who: &str, what: &str, origin: &str) -> AuditEntry {
    AuditEntry {
        at: unix_ms(),
        kind: event.as_str().to_owned(),
        who: shortened(who),
        what: shortened(what),
        origin: shortened(origin),
        detail: None,
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default().to_owned()
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
    let entries = broker.audit.take();
    if entries.is_empty() {
        return;
    }
    let count = entries.len();
    if let Err(error) = broker.channels.store().audit(entries).await {
        tracing::warn!(%error, count, "entries of the audit log were not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_the_count_is_an_entry() {
        let audit = Audit::new(true);
        for _ in 0..MOST_WAITING + 7 {
            audit.note(Event::Connection, "agent:a", "connected", "127.0.0.1");
        }
        let entries = audit.take();
        assert_eq!(entries.len(), MOST_WAITING + 1);
        assert_eq!(entries.last().map(|entry| entry.what.as_str()), Some("7 more events at once than are written"));
        assert!(audit.take().is_empty());
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let audit = Audit::new(true);
        audit.note(Event::Refusal, &"ä".repeat(1000), "x", "");
        assert_eq!(audit.take().first().map(|entry| entry.who.len()), Some(LONGEST));
    }

    #[test]
    fn nothing_is_noted_where_there_is_no_log() {
        let audit = Audit::new(false);
        audit.note(Event::Connection, "agent:a", "connected", "");
        assert!(audit.take().is_empty());
    }
}
