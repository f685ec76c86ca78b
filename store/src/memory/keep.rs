//! Sessions, cursors, retained values, audit.

use std::{collections::btree_map::Entry, ops::Bound, sync::Arc};

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
    surplus::{Reader, Surplus},
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

    pub(super) fn save_cursors(&mut self, consumer: ConsumerId, cursors: Vec<(ChannelName, u64)>, now: u64) {
        if cursors.is_empty() {
            return;
        }
        let saved = self.cursors.entry(consumer.clone()).or_default();
        let before = saved.len();
        saved.extend(cursors.into_iter().map(|(channel, seq)| (channel, (seq, now))));
        if saved.len() > before {
            self.limit_positions(&consumer);
        }
    }

    /// Forgets positions if the clients behind the address of this one have too many.
    fn limit_positions(&mut self, saver: &ConsumerId) {
        let (most, Some((first, _)), Some((address, _))) = (self.options.max_positions, saver.siblings(), saver.client()) else {
            return;
        };
        if most == 0 {
            return;
        }
        let from = ConsumerId::new(&first).unwrap_or_else(|_| saver.clone());
        let siblings = self.cursors.range(from..).map_while(|(consumer, saved)| {
            consumer.client().filter(|(of, _)| *of == address)?;
            let saved_at = saved.values().map(|(_, saved_at)| *saved_at).max().unwrap_or(0);
            Some(Reader { consumer: consumer.clone(), positions: saved.len() as u64, saved_at })
        });
        let surplus = Surplus::of(most, saver, siblings.collect());
        for consumer in &surplus.consumers {
            self.cursors.remove(consumer);
        }
        if surplus.of_saver > 0
            && let Some(saved) = self.cursors.get_mut(saver)
        {
            let mut oldest: Vec<_> = saved.iter().map(|(channel, (_, saved_at))| (*saved_at, channel.clone())).collect();
            oldest.sort_unstable();
            let count = usize::try_from(surplus.of_saver).unwrap_or(usize::MAX);
            oldest.iter().take(count).for_each(|(_, channel)| {
                saved.remove(channel);
            });
        }
    }

    pub(super) fn cursors_of(&self, consumer: &ConsumerId) -> Vec<(ChannelName, u64)> {
        let saved = self.cursors.get(consumer).into_iter().flatten();
        saved.map(|(channel, (seq, _))| (channel.clone(), *seq)).collect()
    }

    pub(super) fn consumers(&self, after: Option<&ConsumerId>, limit: u32) -> Vec<ConsumerId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.cursors.range::<ConsumerId, _>((start, Bound::Unbounded));
        found.take(limit as usize).map(|(consumer, _)| consumer.clone()).collect()
    }

    pub(super) fn drop_cursors(&mut self, consumer: ConsumerId, channels: Option<&[ChannelName]>) {
        let Entry::Occupied(mut saved) = self.cursors.entry(consumer) else { return };
        match channels {
            Some(channels) => saved.get_mut().retain(|channel, _| !channels.contains(channel)),
            None => saved.get_mut().clear(),
        }
        if saved.get().is_empty() {
            saved.remove();
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
            self.cursors.remove(&own);
            let clients = format!("{own}#");
            self.cursors.retain(|consumer, _| !consumer.as_str().starts_with(&clients));
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
        self.drop_cursors(ConsumerId::told_of_dead_letters(), Some(std::slice::from_ref(inbox)));
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
