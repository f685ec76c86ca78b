//! The entries of the audit log, and the queue in which they wait: who connected, who was admitted
//! or refused, which messages were refused, what operators did. Messages themselves are recorded
//! only if the configuration asks for it.
//!
//! Entries wait in memory, and are written or sent to the broker several times a second, so that
//! nobody waits for that. At the bound of the queue, and where strangers could fill the log, events
//! are only counted. The count becomes an entry.

use std::{
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::timestamp::unix_ms;

/// How often waiting entries are written or sent.
pub const TICK: Duration = Duration::from_millis(250);
/// The most entries that wait. Further ones are counted.
const MOST_WAITING: usize = 1_000;
/// How many of them may be about what strangers can cause. The rest is for what operators do.
const MOST_OF_STRANGERS: usize = 900;
/// The longest field of an entry, in bytes.
const LONGEST: usize = 256;
/// The longest detail, in bytes.
const LONGEST_DETAIL: usize = 16 * 1024;

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A connection opened or closed.
    Connection,
    /// Somebody was admitted or refused, or left.
    Authentication,
    /// A message, a subscription or a history read was refused.
    Refusal,
    /// An operator did something.
    Admin,
}

/// The text is not the name of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be connection, authentication, refusal or admin")]
pub struct UnknownEvent;

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        Self::ALL.into_iter().find(|event| event.as_str() == name).ok_or(UnknownEvent)
    }
}

impl Event {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Connection, Self::Authentication, Self::Refusal, Self::Admin];

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

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Its kind.
    pub kind: Event,
    /// Who did it: an address, `operator`, `bridge`; empty if unknown. At most 256 bytes.
    pub who: String,
    /// What was done, at most 256 bytes.
    pub what: String,
    /// The origin: an IP address, at most 256 bytes.
    pub origin: String,
    /// The message, if the configuration asks for it: at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Entry {
    /// An event that happens now. Fields that are too long are cut.
    pub fn new(kind: Event, who: &str, what: &str, origin: &str) -> Self {
        Self { at: unix_ms(), kind, who: who.to_owned(), what: what.to_owned(), origin: origin.to_owned(), detail: None }.cut()
    }

    /// Adds the message.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        Self { detail: Some(detail.to_owned()), ..self }.cut()
    }

    /// Cuts what is too long.
    #[must_use]
    pub fn cut(mut self) -> Self {
        for field in [&mut self.who, &mut self.what, &mut self.origin] {
            cut(field, LONGEST);
        }
        if let Some(detail) = &mut self.detail {
            cut(detail, LONGEST_DETAIL);
        }
        self
    }

    /// Whether no field is too long.
    pub fn fits(&self) -> bool {
        [&self.who, &self.what, &self.origin].into_iter().all(|field| field.len() <= LONGEST)
            && self.detail.as_ref().is_none_or(|detail| detail.len() <= LONGEST_DETAIL)
    }
}

fn cut(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
}

/// Entries to be written or sent; also the body of an edge's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// In the order of the events, at most 1,000 from one edge or broker.
    pub entries: Vec<Entry>,
    /// How many more events there were.
    #[serde(default)]
    pub beyond: u64,
}

impl Batch {
    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.beyond == 0
    }

    /// The entries for the log. The count becomes an entry.
    pub fn into_entries(self) -> Vec<Entry> {
        let Self { mut entries, beyond } = self;
        if beyond > 0 {
            entries.push(Entry::new(Event::Admin, "bridge", &format!("{beyond} more events than are written"), ""));
        }
        entries
    }
}

/// The waiting entries.
#[derive(Debug, Default)]
pub struct Audit {
    is_off: bool,
    waiting: Mutex<Batch>,
}

impl Audit {
    /// The queue for a log, or for none.
    pub fn new(is_on: bool) -> Self {
        Self { is_off: !is_on, waiting: Mutex::default() }
    }

    /// Whether events are recorded.
    pub fn is_on(&self) -> bool {
        !self.is_off
    }

    /// Records an event.
    pub fn note(&self, kind: Event, who: &str, what: &str, origin: &str) {
        if self.is_on() {
            self.add([Entry::new(kind, who, what, origin)]);
        }
    }

    /// Adds entries.
    pub fn add(&self, entries: impl IntoIterator<Item = Entry>) {
        if self.is_off {
            return;
        }
        add(&mut self.waiting(), entries);
    }

    /// Counts events without recording them.
    pub fn pass_over(&self, events: u64) {
        if self.is_on() {
            let mut waiting = self.waiting();
            waiting.beyond = waiting.beyond.saturating_add(events);
        }
    }

    /// Removes and returns everything that waits.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.waiting())
    }

    /// Removes and returns the waiting entries. The count stays.
    pub fn take_entries(&self) -> Batch {
        Batch { entries: std::mem::take(&mut self.waiting().entries), beyond: 0 }
    }

    /// Puts back a batch that was not delivered, before newer entries.
    pub fn put_back(&self, batch: Batch) {
        let mut waiting = self.waiting();
        let newer = std::mem::replace(&mut waiting.entries, batch.entries);
        waiting.beyond = waiting.beyond.saturating_add(batch.beyond);
        add(&mut waiting, newer);
    }

    fn waiting(&self) -> MutexGuard<'_, Batch> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(waiting: &mut Batch, entries: impl IntoIterator<Item = Entry>) {
    for entry in entries {
        let most = if entry.kind == Event::Admin { MOST_WAITING } else { MOST_OF_STRANGERS };
        if waiting.entries.len() < most {
            waiting.entries.push(entry);
        } else {
            waiting.beyond = waiting.beyond.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_beyond_the_bound_are_counted_in_an_entry() {
        let audit = Audit::new(true);
        for _ in 0..MOST_OF_STRANGERS + 7 {
            audit.note(Event::Connection, "agent:a", "connected", "127.0.0.1");
        }
        let entries = audit.take().into_entries();
        assert_eq!(entries.len(), MOST_OF_STRANGERS + 1);
        assert_eq!(entries.last().map(|entry| entry.what.as_str()), Some("7 more events than are written"));
        assert!(audit.take().is_empty());
    }

    #[test]
    fn what_operators_do_has_places_that_a_flood_of_connections_does_not_use() {
        let audit = Audit::new(true);
        (0..2 * MOST_WAITING).for_each(|_| audit.note(Event::Connection, "agent:a", "connected", "127.0.0.1"));
        audit.note(Event::Admin, "operator", "revoked a key", "127.0.0.1");
        let batch = audit.take();
        assert_eq!(batch.entries.last().map(|entry| entry.kind), Some(Event::Admin));
        assert_eq!(batch.beyond, (2 * MOST_WAITING - MOST_OF_STRANGERS) as u64);
        (0..2 * MOST_WAITING).for_each(|_| audit.note(Event::Admin, "operator", "read", "127.0.0.1"));
        assert_eq!(audit.take().entries.len(), MOST_WAITING);
    }

    #[test]
    fn entries_that_are_put_back_keep_their_place_and_count() {
        let audit = Audit::new(true);
        let note = |what: &str, times: usize| (0..times).for_each(|_| audit.note(Event::Connection, "", what, ""));
        note("old", MOST_OF_STRANGERS + 7);
        let undelivered = audit.take();
        note("new", 5);
        audit.put_back(undelivered);
        assert!(audit.take_entries().entries.iter().all(|entry| entry.what == "old"), "the older ones stay");
        audit.pass_over(3);
        assert_eq!(audit.take(), Batch { entries: Vec::new(), beyond: 7 + 5 + 3 });
    }

    #[test]
    fn long_fields_are_cut_between_characters() {
        let entry = Entry::new(Event::Refusal, &"ä".repeat(1000), "x", "").with_detail(&"€".repeat(10_000));
        assert!(entry.fits() && !Entry { who: "x".repeat(LONGEST + 1), ..entry.clone() }.fits());
        assert_eq!((entry.who.len(), entry.detail.map(|detail| detail.len())), (LONGEST, Some(LONGEST_DETAIL - 1)));
    }

    #[test]
    fn without_a_log_nothing_is_recorded() {
        let audit = Audit::new(false);
        audit.note(Event::Connection, "agent:a", "connected", "");
        assert!(audit.take().is_empty());
    }
}
