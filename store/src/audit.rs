//! The audit log: who did what, when, from where. Append-only; no payloads unless its writer puts them in.

use crate::error::StoreError;

/// Longest `kind`, in bytes.
const MAX_KIND: usize = 64;
/// Longest `who`, `what` and `origin`, in bytes.
const MAX_FIELD: usize = 512;
/// Longest `detail`, in bytes.
const MAX_DETAIL: usize = 16 * 1024;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// What sort of event, to look for: `connection`, `authentication`, `refusal`, `admin`, … 1 to 64 bytes.
    pub kind: String,
    /// Who, at most 512 bytes.
    pub who: String,
    /// What, at most 512 bytes.
    pub what: String,
    /// From where: an address, at most 512 bytes.
    pub origin: String,
    /// More, as JSON, at most 16 KiB.
    pub detail: Option<String>,
}

impl AuditEntry {
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let short = |text: &str| text.len() <= MAX_FIELD;
        let fits = (1..=MAX_KIND).contains(&self.kind.len())
            && short(&self.who)
            && short(&self.what)
            && short(&self.origin)
            && self.detail.as_ref().is_none_or(|detail| detail.len() <= MAX_DETAIL);
        if fits { Ok(()) } else { Err(StoreError::Invalid("an audit entry has a field over its limit")) }
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its number: rising, without reuse.
    pub id: u64,
    /// What it says.
    pub entry: AuditEntry,
}

/// Which entries are asked for; the newest come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditQuery {
    /// At or after this time, in milliseconds since 1970.
    pub since: u64,
    /// Before this time, in milliseconds since 1970; `u64::MAX` for no bound.
    pub until: u64,
    /// Of this kind only.
    pub kind: Option<String>,
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
