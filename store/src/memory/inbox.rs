//! Acknowledgements, and moving to the dead-letter channel.

use super::state::{State, Waiting};
use crate::{
    channel::ChannelName,
    dead::{DeadLettered, DeadOrigin, DeadShare, Death, cut_reason},
    error::StoreError,
    inbox::{Ack, Delivered, Nack, Pending, PendingQuery},
    lane::lane_of,
    record::Record,
};

impl State {
    pub(super) fn ack(&mut self, name: &ChannelName, ack: &Ack) -> Vec<u64> {
        let through_but = |through: u64, kept: &[u64]| {
            let waiting = self.channels.get(name).into_iter().flat_map(|channel| channel.waiting.keys());
            let is_asked = |seq: &u64| *seq <= through && kept.binary_search(seq).is_err();
            waiting.map(|(_, seq)| *seq).filter(is_asked).collect()
        };
        let asked: Vec<u64> = match ack {
            Ack::Each(seqs) => seqs.clone(),
            Ack::Through(through) => through_but(*through, &[]),
            Ack::ThroughBut { through, kept } => through_but(*through, kept),
            Ack::ThroughUnrefused(through) => {
                let waiting = self.channels.get(name).into_iter().flat_map(|channel| &channel.waiting);
                let unrefused = waiting.filter(|((_, seq), waiting)| *seq <= *through && waiting.reason.is_none());
                unrefused.map(|((_, seq), _)| *seq).collect()
            }
        };
        let mut settled: Vec<u64> = asked.into_iter().filter(|seq| self.settle(name, *seq)).collect();
        settled.sort_unstable();
        if !settled.is_empty() {
            self.enforce_log_bounds(name);
        }
        settled
    }

    /// Removes a record from the list of those that wait. Returns whether it was on it.
    pub(super) fn settle(&mut self, name: &ChannelName, seq: u64) -> bool {
        let Some(channel) = self.channels.get_mut(name) else { return false };
        let Some(record) = channel.records.get(&seq) else { return false };
        let (bytes, expires_at) = (record.frame.len() as u64, record.expires_at);
        let Some(waiting) = channel.waiting.remove(&(lane_of(record.priority), seq)) else { return false };
        channel.unacked_bytes -= bytes;
        channel.uncharge(&self.ledger, seq, bytes);
        if let Some(shares) = &mut channel.shares {
            shares.remove(waiting.member, bytes);
        }
        if let Some(at) = expires_at {
            self.expiring.remove(&(at, seq, name.clone()));
        }
        true
    }

    fn waiting_mut(&mut self, name: &ChannelName, seq: u64) -> Option<&mut Waiting> {
        let channel = self.channels.get_mut(name)?;
        let lane = lane_of(channel.records.get(&seq)?.priority);
        channel.waiting.get_mut(&(lane, seq))
    }

    pub(super) fn nack(&mut self, name: &ChannelName, seq: u64, nack: &Nack) -> Option<u32> {
        let waiting = self.waiting_mut(name, seq)?;
        waiting.due_at = nack.not_before;
        waiting.reason = Some(cut_reason(&nack.reason));
        Some(waiting.attempts)
    }

    pub(super) fn mark_delivered(&mut self, deliveries: &[Delivered]) {
        for delivery in deliveries {
            if let Some(waiting) = self.waiting_mut(&delivery.channel, delivery.seq) {
                waiting.attempts = delivery.attempt;
                waiting.due_at = delivery.next_due;
            }
        }
    }

    pub(super) fn pending(&self, name: &ChannelName, query: PendingQuery) -> Vec<Pending> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let mut due: Vec<(u64, &Waiting)> = channel
            .waiting
            .iter()
            .map(|((_, seq), waiting)| (*seq, waiting))
            .filter(|(seq, waiting)| *seq > query.after && waiting.due_at <= query.due_before)
            .collect();
        due.sort_unstable_by_key(|(seq, _)| *seq);
        let mut bytes = 0_u64;
        let mut found: Vec<Pending> = Vec::new();
        for (seq, waiting) in due.into_iter().take(query.limits.records.max(1) as usize) {
            let Some(record) = channel.records.get(&seq) else { continue };
            bytes = bytes.saturating_add(record.frame.len() as u64);
            if bytes > query.limits.bytes && !found.is_empty() {
                break;
            }
            found.push(Pending {
                record: record.clone(),
                attempts: waiting.attempts,
                due_at: waiting.due_at,
                reason: waiting.reason.clone(),
            });
        }
        found
    }

    pub(super) fn dead_letter(
        &mut self,
        name: &ChannelName,
        seq: u64,
        death: &Death,
    ) -> Result<Option<DeadLettered>, StoreError> {
        let letter = self.bury(name, seq, death)?;
        if let Some(letter) = &letter {
            self.enforce_log_bounds(&letter.dead_channel);
        }
        Ok(letter)
    }

    /// Moves an unacknowledged record to the dead-letter channel.
    pub(super) fn bury(&mut self, name: &ChannelName, seq: u64, death: &Death) -> Result<Option<DeadLettered>, StoreError> {
        if self.waiting_mut(name, seq).is_none() {
            return Ok(None);
        }
        let dead_seq = self.own_seq()?;
        let owner = self.channels.get(name).and_then(|channel| channel.charged.get(&seq));
        let share = DeadShare::of(owner.map(AsRef::as_ref));
        self.settle(name, seq);
        let Some(channel) = self.channels.get_mut(name) else { return Ok(None) };
        let Some(record) = channel.records.remove(&seq) else { return Ok(None) };
        let bytes = record.frame.len() as u64;
        channel.bytes -= bytes;
        channel.dead_lettered += 1;
        channel.gaps.dead_lettered(seq);

        let dead_channel = name.dead();
        let dead = self.channel_for(&dead_channel, dead_seq);
        let stored_at = death.at.max(dead.last_stored_at);
        let prev = std::mem::replace(&mut dead.head, dead_seq);
        dead.last_stored_at = stored_at;
        dead.bytes += bytes;
        dead.appended += 1;
        let letter = DeadLettered {
            channel: name.clone(),
            seq,
            message_id: record.message_id.clone(),
            source: record.source.clone(),
            reason: death.reason,
            dead_channel: dead_channel.clone(),
            dead_seq,
        };
        let origin =
            DeadOrigin { channel: name.clone(), seq, reason: death.reason, detail: death.detail.as_deref().map(cut_reason) };
        dead.dead_shares.insert(dead_seq, share);
        dead.records.insert(dead_seq, Record { seq: dead_seq, prev, expires_at: None, stored_at, dead: Some(origin), ..record });
        Ok(Some(letter))
    }
}
