//! Sessions, retained values, audit.

use std::sync::Arc;

use common::id::SessionId;

use super::state::State;
use crate::{
    audit::{self, AuditQuery, AuditRow},
    channel::ChannelName,
    dead::{DeadReason, Death},
    error::StoreError,
    ledger::Room,
    owner::Owner,
    session::{ConsumerId, Forgotten, Retained},
};

impl State {
    pub(super) fn set_retained(
        &mut self,
        channel: &ChannelName,
        value: Option<Retained>,
        owner: Option<Arc<Owner>>,
    ) -> Result<(), StoreError> {
        // Gives the room back if the value is not kept.
        let mut room = Room::taken(&self.ledger, owner.clone(), value.as_ref());
        let Some(value) = value else {
            self.forget_value(channel);
            return Ok(());
        };
        let limit = self.options.max_record_bytes;
        if value.frame.len() as u64 > limit {
            return Err(StoreError::RecordTooLarge { bytes: value.frame.len() as u64, limit });
        }
        let most = room.standing().part_of(self.options.max_retained);
        let full = self.retained.len() as u64 >= most;
        match self.retained.get(channel) {
            Some((known, _)) if known.seq > value.seq => return Ok(()),
            None if full => return Err(StoreError::TooManyChannels { limit: most }),
            _ => {}
        }
        self.forget_value(channel);
        room.hand_over();
        self.expiring_values.extend(value.expires_at.map(|at| (at, channel.clone())));
        self.retained.insert(channel.clone(), (value, owner));
        Ok(())
    }

    /// Removes the retained value of a channel, if it has one.
    pub(super) fn forget_value(&mut self, channel: &ChannelName) {
        let Some((value, owner)) = self.retained.remove(channel) else { return };
        self.ledger.release(owner.as_deref(), value.frame.len() as u64);
        if let Some(at) = value.expires_at {
            self.expiring_values.remove(&(at, channel.clone()));
        }
    }

    pub(super) fn touch_sessions(&mut self, sessions: &[SessionId], now: u64) {
        for id in sessions {
            if let Some(last_seen) = self.sessions.get_mut(id) {
                *last_seen = now;
            }
        }
    }

    pub(super) fn forget_sessions(&mut self, not_seen_since: u64, now: u64, limit: u32) -> Result<Forgotten, StoreError> {
        let mut budget = limit.max(1) as usize;
        let mut done = Forgotten::default();
        let mut stale: Vec<(u64, SessionId)> = self
            .sessions
            .iter()
            .filter(|(_, last_seen)| **last_seen < not_seen_since)
            .map(|(id, last_seen)| (*last_seen, *id))
            .collect();
        stale.sort_unstable();
        for (_, id) in stale {
            if budget == 0 || !self.empty_inbox(id, now, &mut budget, &mut done)? {
                break;
            }
            self.sessions.remove(&id);
            let own = ConsumerId::session(id);
            self.positions.remove(&own, None);
            self.positions.remove_clients(own.as_str());
            self.forget_value(&ChannelName::session(id));
            done.sessions.push(id);
            budget = budget.saturating_sub(1);
        }
        done.more = budget == 0;
        Ok(done)
    }

    /// Removes the inbox of a session, as far as the budget allows. Returns whether it is gone.
    fn empty_inbox(
        &mut self,
        session: SessionId,
        now: u64,
        budget: &mut usize,
        done: &mut Forgotten,
    ) -> Result<bool, StoreError> {
        let name = ChannelName::session(session);
        let Some(channel) = self.channels.get(&name) else { return Ok(true) };
        let unacked: Vec<u64> = channel.waiting.keys().map(|(_, seq)| *seq).take(*budget).collect();
        let death = Death::of(DeadReason::ReceiverForgotten, now);
        for seq in unacked {
            done.dead_lettered.extend(self.dead_letter(&name, seq, &death)?);
            *budget = budget.saturating_sub(1);
        }
        let Some(channel) = self.channels.get_mut(&name) else { return Ok(true) };
        let (mut removed, mut freed) = (0, 0);
        while *budget > 0
            && let Some((_, record)) = channel.records.pop_first()
        {
            let bytes = record.frame.len() as u64;
            channel.bytes -= bytes;
            channel.uncharge(&self.ledger, record.seq, bytes);
            removed += 1;
            freed += bytes;
            *budget -= 1;
        }
        let is_empty = channel.records.is_empty();
        self.removed(removed, freed);
        if !is_empty {
            return Ok(false);
        }
        self.channels.remove(&name);
        self.forget_told(&name);
        Ok(true)
    }

    /// Removes what was recorded about the dead letters of an inbox that is gone.
    pub(super) fn forget_told(&mut self, inbox: &ChannelName) {
        self.positions.remove(&ConsumerId::told_of_dead_letters(), Some(std::slice::from_ref(inbox)));
    }

    pub(super) fn audit(&mut self, entries: Vec<common::audit::Entry>) -> Result<(), StoreError> {
        entries.iter().try_for_each(audit::check)?;
        for entry in entries {
            self.audit.push_back(AuditRow { id: self.next_audit, entry });
            self.next_audit += 1;
        }
        Ok(())
    }

    pub(super) fn audit_log(&self, query: &AuditQuery) -> Vec<AuditRow> {
        self.audit
            .iter()
            .rev()
            .filter(|row| {
                row.id < query.before_id
                    && (query.since..query.until).contains(&row.entry.at)
                    && query.kind.is_none_or(|kind| kind == row.entry.kind)
            })
            .take(query.limit as usize)
            .cloned()
            .collect()
    }
}
