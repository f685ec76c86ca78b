//! Writing entries of the audit log, and removing the oldest.

use common::audit::{Entry, Event};
use rusqlite::params;

use super::{append::sql_integer, checked::counter, error::damaged, tx::Tx};
use crate::{
    audit::{self, Group},
    error::StoreError,
};

impl Tx<'_> {
    pub(super) fn audit(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        entries.iter().try_for_each(audit::check)?;
        let mut statement = self
            .conn
            .prepare_cached("INSERT INTO audit (at, kind, who, what, origin, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for entry in entries {
            statement.execute(params![
                sql_integer(entry.at),
                entry.kind.as_str(),
                entry.who,
                entry.what,
                entry.origin,
                entry.detail
            ])?;
        }
        self.state.totals.audit += entries.len() as u64;
        Ok(())
    }

    /// Removes entries that are too old, and those that give way because the log is over its bound:
    /// at most `most` in all. Returns how many.
    pub(super) fn trim_audit(&mut self, now: u64, most: u64) -> Result<u64, StoreError> {
        let bounds = self.options.policies.audit;
        let cutoff = if bounds.age_ms == 0 { 0 } else { now.saturating_sub(bounds.age_ms) };
        let mut removed = self
            .conn
            .prepare_cached("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ?1 ORDER BY at LIMIT ?2)")?
            .execute(params![cutoff, most])? as u64;
        self.state.totals.audit = self.state.totals.audit.saturating_sub(removed);
        if bounds.records != 0 && self.state.totals.audit > bounds.records && self.state.audit_going.is_empty() {
            self.state.audit_going = audit::giving_way(self.audit_groups()?, bounds.records);
        }
        while removed < most
            && let Some(Group { kind, origin, rows, .. }) = self.state.audit_going.last_mut()
        {
            let portion = (*rows).min(most - removed);
            let gone = self
                .conn
                .prepare_cached(
                    "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE kind = ?1 AND origin = ?2 ORDER BY id LIMIT ?3)",
                )?
                .execute(params![kind.as_str(), origin.as_str(), portion])? as u64;
            removed += gone;
            self.state.totals.audit = self.state.totals.audit.saturating_sub(gone);
            *rows -= portion;
            if *rows == 0 {
                self.state.audit_going.pop();
            }
        }
        Ok(removed)
    }

    fn audit_groups(&self) -> Result<Vec<Group>, StoreError> {
        let mut statement =
            self.conn.prepare_cached("SELECT kind, origin, count(*), min(id) FROM audit GROUP BY kind, origin")?;
        let mut rows = statement.query([])?;
        let mut groups = Vec::new();
        while let Some(row) = rows.next()? {
            let kind = row.get_ref(0)?.as_str().ok().and_then(|kind| kind.parse::<Event>().ok());
            groups.push(Group {
                kind: kind.ok_or_else(|| damaged("the kind of an entry of the audit log"))?,
                origin: row.get(1)?,
                rows: counter(row, 2)?,
                oldest: counter(row, 3)?,
            });
        }
        Ok(groups)
    }
}
