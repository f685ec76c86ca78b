//! Appending to logs and reading them.

use std::{collections::BTreeSet, ops::Bound, sync::Arc};

use super::state::{Channel, State, Waiting};
use crate::{
    admission::{self, Held},
    channel::{ChannelFamily, ChannelName},
    dead::{DeadLettered, DeadReason, Death},
    error::StoreError,
    lane::lane_of,
    ledger::Appending,
    record::{Appended, ChannelInfo, Limits, NewRecord, Page, ReadFrom, RecentId, Record},
    shares::Member,
};

impl State {
    pub(super) fn append(&mut self, records: Vec<NewRecord>) -> Result<Vec<Appended>, StoreError> {
        let mut appending = Appending::charge(&self.ledger, records)?;
        let held = Held { channels: self.channels.len() as u64, next_seq: self.next_seq };
        let head_of = |name: &ChannelName| Ok(self.channels.get(name).map(|channel| channel.head));
        admission::check(appending.records(), &self.options, held, head_of)?;
        appending.hand_over();
        let records = appending.records();
        let mut answers = Vec::with_capacity(records.len());
        let mut touched = BTreeSet::new();
        for record in records {
            let key = record.key();
            if let Some(seq) = self.dedup.find(&key, record.stored_at) {
                self.duplicates += 1;
                self.ledger.release(record.owner.as_deref(), record.bytes());
                answers.push(Appended::Duplicate { seq });
                continue;
            }
            self.insert(record);
            self.dedup.stage(RecentId { key, seq: record.seq, stored_at: record.stored_at });
            let evicted = if record.delivery.is_some() { self.evict(&record.channel, record.stored_at)? } else { Vec::new() };
            touched.extend(evicted.iter().map(|letter| letter.dead_channel.clone()));
            touched.insert(record.channel.clone());
            answers.push(Appended::Stored { seq: record.seq, evicted });
        }
        for channel in &touched {
            self.enforce_log_bounds(channel);
        }
        Ok(answers)
    }

    /// The channel, created if necessary, as the place of a record with this number.
    pub(super) fn channel_for(&mut self, name: &ChannelName, seq: u64) -> &mut Channel {
        self.channels.entry(name.clone()).or_insert_with(|| Channel { born: seq, ..Channel::default() })
    }

    fn insert(&mut self, record: &NewRecord) {
        let bytes = record.bytes();
        let channel = self.channel_for(&record.channel, record.seq);
        let stored_at = record.stored_at.max(channel.last_stored_at);
        channel.head = record.seq;
        channel.last_stored_at = stored_at;
        channel.bytes += bytes;
        channel.appended += 1;
        channel.records.insert(
            record.seq,
            Record {
                seq: record.seq,
                prev: record.prev,
                message_id: record.message_id.clone(),
                source: record.source.clone(),
                frame: record.frame.clone(),
                priority: record.priority,
                expires_at: record.expires_at,
                stored_at,
                dead: None,
            },
        );
        if let Some(owner) = &record.owner {
            channel.charged.insert(record.seq, Arc::clone(owner));
        }
        if let Some(delivery) = record.delivery {
            let member = Member::of(record.owner.as_deref());
            let waiting = Waiting { attempts: delivery.attempts, due_at: delivery.due_at, reason: None, member };
            if let Some(shares) = &mut channel.shares {
                shares.add(member, bytes);
            }
            channel.waiting.insert((lane_of(record.priority), record.seq), waiting);
            channel.unacked_bytes += bytes;
            if let Some(at) = record.expires_at {
                self.expiring.insert((at, record.seq, record.channel.clone()));
            }
        }
        self.records += 1;
        self.bytes += bytes;
        self.appended += 1;
    }

    /// Brings an inbox back within its bounds: the largest sender gives way, with its oldest of the
    /// lowest priority.
    fn evict(&mut self, name: &ChannelName, now: u64) -> Result<Vec<DeadLettered>, StoreError> {
        let bounds = self.options.policies.family(name.family()).inbox;
        let mut evicted = Vec::new();
        while let Some(channel) = self.channels.get_mut(name)
            && bounds.exceeded_by(channel.waiting.len() as u64, channel.unacked_bytes)
            && let Some(victim) = channel.shares().victim(bounds)
            && let Some(((_, seq), _)) = channel.waiting.iter().find(|(_, waiting)| waiting.member.owner == victim)
        {
            let seq = *seq;
            evicted.extend(self.bury(name, seq, &Death::of(DeadReason::InboxFull, now))?);
        }
        Ok(evicted)
    }

    pub(super) fn read(&self, name: &ChannelName, from: ReadFrom, limits: Limits) -> Page {
        let Some(channel) = self.channels.get(name) else { return Page::of_nothing(from) };
        let (after, lost) = match from {
            ReadFrom::After(after) => (after, channel.gaps.lost_after(after, channel.born)),
            ReadFrom::Time(time) => {
                let first = channel.records.values().find(|record| record.stored_at >= time);
                (first.map_or(channel.head, |record| record.seq.saturating_sub(1)), None)
            }
            ReadFrom::Last(count) => {
                let before = channel.records.keys().rev().nth(count as usize).copied();
                (before.unwrap_or(0), None)
            }
        };
        let first_available = channel.records.keys().next().copied();
        let mut page = Page { records: Vec::new(), next: after, head: channel.head, first_available, lost };
        let mut bytes = 0_u64;
        for (seq, record) in channel.records.range((Bound::Excluded(after), Bound::Unbounded)) {
            let size = record.frame.len() as u64;
            let full = page.records.len() >= limits.records.max(1) as usize || bytes.saturating_add(size) > limits.bytes;
            if full && !page.records.is_empty() {
                return page;
            }
            bytes = bytes.saturating_add(size);
            page.next = *seq;
            page.records.push(record.clone());
        }
        page.next = page.next.max(channel.head);
        page
    }

    pub(super) fn list(&self, family: Option<ChannelFamily>, after: Option<&ChannelName>, limit: u32) -> Vec<ChannelInfo> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.channels
            .range::<ChannelName, _>((start, Bound::Unbounded))
            .filter(|(name, _)| family.is_none_or(|family| name.family() == family))
            .take(limit as usize)
            .map(|(name, channel)| channel.info(name))
            .collect()
    }
}
