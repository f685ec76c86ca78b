//! The audit log: who did what, when, from where. Append-only; without payloads, unless its writer
//! includes them.

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
    /// Its content.
    pub entry: Entry,
}

/// Selects entries; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// At or after this time, in milliseconds since 1970.
    pub since: u64,
    /// Before this time, in milliseconds since 1970; `u64::MAX` for no bound.
    pub until: u64,
    /// Of this kind only.
    pub kind: Option<Event>,
    /// With numbers below this one: the `id` of the last row of the page before; `u64::MAX` for the
    /// first page.
    pub before_id: u64,
    /// The most rows.
    pub limit: u32,
}

impl Default for AuditQuery {
    fn default() -> Self {
        Self { since: 0, until: u64::MAX, kind: None, before_id: u64::MAX, limit: 100 }
    }
}
