//! The audit log: who did what, when, from where. Append-only; no payloads unless its writer puts them in.

use common::audit::{Entry, Event};

use crate::error::StoreError;

pub(crate) fn check(entry: &Entry) -> Result<(), StoreError> {
    if entry.fits() { Ok(()) } else { Err(StoreError::Invalid("an audit entry has a field over its limit")) }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number: rising, without reuse.
    pub id: u64,
    /// What it says.
    pub entry: Entry,
}

/// Which entries are asked for; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// At or after this time, in milliseconds since 1970.
    pub since: u64,
    /// Before this time, in milliseconds since 1970; `u64::MAX` for no bound.
    pub until: u64,
    /// Of this kind only.
    pub kind: Option<Event>,
    /// With numbers below this one: the `id` of the last row of the page before; `u64::MAX` for the first page.
    pub before_id: u64,
    /// How many.
    pub limit: u32,
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self { since: 0, until: u64::MAX, kind: None, before_id: u64::MAX, limit: 100 }
    }
}
