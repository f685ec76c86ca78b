//! What the audit log holds, and how its entries wait: who came, who was let in or not, what was refused, what operators did. What was
//! said only where the configuration wants it.
//!
//! Entries wait in memory and are written, or sent to the broker, several times a second, so that nobody waits. At the bound of what may
//! wait, and where strangers could fill the log, they are counted instead, and the count is an entry.

use std::{
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::timestamp::unix_ms;

/// How often what waits is written or sent.
pub const TICK: Duration = Duration::from_millis(250);
/// Entries that may wait; what comes beyond is counted.
const MOST_WAITING: usize = 1_000;
/// Longest field of an entry, in bytes.
const LONGEST: usize = 256;
/// Longest detail, in bytes.
const LONGEST_DETAIL: usize = 16 * 1024;

/// What sort of event an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A connection came or went.
    Connection,
    /// Somebody was let in, or not, or left.
    Authentication,
    /// A message, a subscription or a reading was refused.
    Refusal,
    /// An operator did something.
    Admin,
}

/// Not the name of an event.
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
    /// Every one.
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

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What sort of event.
    pub kind: Event,
    /// Who: an address, `operator`, `bridge`; empty where that is not known. At most 256 bytes.
    pub who: String,
    /// What, at most 256 bytes.
    pub what: String,
    /// From where: an IP address, at most 256 bytes.
    pub origin: String,
    /// What was said, where that is wanted: at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Entry {
    /// Something that happens now. Fields that are too long are cut.
    pub fn new(kind: Event, who: &str, what: &str, origin: &str) -> Self {
        Self { at: unix_ms(), kind, who: who.to_owned(), what: what.to_owned(), origin: origin.to_owned(), detail: None }.cut()
    }

    /// The same, with what was said.
    #[must_use]
    pub fn with_detail(self, detail: &str) -> Self {
        Self { detail: Some(detail.to_owned()), ..self }.cut()
    }

    /// The same without what is too long.
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

    /// Whether nothing in it is too long.
    pub fn fits(&self) -> bool {
        [&self.who, &self.what, &self.origin].into_iter().all(|field| field.len() <= LONGEST)
            && self.detail.as_ref().is_none_or(|detail| detail.len() <= LONGEST_DETAIL)
    }
}

fn cut(text: &mut String, most: usize) {
    let end = (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(end);
}

/// What waited, to be written or sent; and the body of an edge's report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// In the order in which they were noted, at most 1,000 of one edge or broker.
    pub entries: Vec<Entry>,
    /// How many more events there were.
    #[serde(default)]
    pub beyond: u64,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.beyond == 0
    }

    /// As the log has it: the count is an entry.
    pub fn into_entries(self) -> Vec<Entry> {
        let Self { mut entries, beyond } = self;
        if beyond > 0 {
            entries.push(Entry::new(Event::Admin, "bridge", &format!("{beyond} more events than are written"), ""));
        }
        entries
    }
}

/// What waits.
#[derive(Debug, Default)]
pub struct Audit {
    is_off: bool,
    waiting: Mutex<Batch>,
}

impl Audit {
    /// The log, or none.
    pub fn new(is_on: bool) -> Self {
        Self { is_off: !is_on, waiting: Mutex::default() }
    }

    /// Whether anything is noted.
    pub fn is_on(&self) -> bool {
        !self.is_off
    }

    /// Notes an event.
    pub fn note(&self, kind: Event, who: &str, what: &str, origin: &str) {
        if self.is_on() {
            self.add([Entry::new(kind, who, what, origin)]);
        }
    }

    /// Notes entries.
    pub fn add(&self, entries: impl IntoIterator<Item = Entry>) {
        if self.is_off {
            return;
        }
        add(&mut self.waiting(), entries);
    }

    /// Counts events whose entries would be too many.
    pub fn pass_over(&self, events: u64) {
        if self.is_on() {
            let mut waiting = self.waiting();
            waiting.beyond = waiting.beyond.saturating_add(events);
        }
    }

    /// What waits, and forgets it.
    pub fn take(&self) -> Batch {
        std::mem::take(&mut *self.waiting())
    }

    /// The entries that wait, and forgets them; the count waits on.
    pub fn take_entries(&self) -> Batch {
        Batch { entries: std::mem::take(&mut self.waiting().entries), beyond: 0 }
    }

    /// Has wait again what was taken and not delivered, before what has been noted since.
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
        if waiting.entries.len() < MOST_WAITING {
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
    fn what_is_too_much_is_counted_and_the_count_is_an_entry() {
        let audit = Audit::new(true);
        for _ in 0..MOST_WAITING + 7 {
            audit.note(Event::Connection, "agent:a", "connected", "127.0.0.1");
        }
        let entries = audit.take().into_entries();
        assert_eq!(entries.len(), MOST_WAITING + 1);
        assert_eq!(entries.last().map(|entry| entry.what.as_str()), Some("7 more events than are written"));
        assert!(audit.take().is_empty());
    }

    #[test]
    fn what_is_put_back_keeps_its_place_and_its_count() {
        let audit = Audit::new(true);
        let note = |what: &str, times: usize| (0..times).for_each(|_| audit.note(Event::Connection, "", what, ""));
        note("old", MOST_WAITING + 7);
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
    fn nothing_is_noted_where_there_is_no_log() {
        let audit = Audit::new(false);
        audit.note(Event::Connection, "agent:a", "connected", "");
        assert!(audit.take().is_empty());
    }
}
