//! What is removed, and when. The same rules as those of the file.

use foldhash::HashMap;

use super::state::{Channel, State};
use crate::{
    audit::{self, AuditRow, Group},
    channel::{ChannelFamily, ChannelName},
    dead::{self, DeadReason, Death, Letter},
    error::StoreError,
    inbox::Trimmed,
    lane::lane_of,
    leftovers,
    options::{Bounds, INLINE_BUDGET},
    record::Record,
};

impl State {
    /// Cuts a log to its bounds of number and bytes, as far as the budget allows.
    pub(super) fn enforce_log_bounds(&mut self, name: &ChannelName) {
        let bounds = self.options.policies.family(name.family()).log;
        self.cut_log(name, bounds, 0, INLINE_BUDGET);
    }

    /// Removes the oldest settled records of a log while it is over its bounds or they are older
    /// than `cutoff`. Returns how many.
    fn cut_log(&mut self, name: &ChannelName, bounds: Bounds, cutoff: u64, budget: u64) -> u64 {
        let Some(channel) = self.channels.get_mut(name) else { return 0 };
        let (mut records, mut bytes) = channel.settled();
        if !bounds.exceeded_by(records, bytes) && cutoff == 0 {
            return 0;
        }
        let mut gone = Vec::new();
        let is_by_share = cutoff == 0 && name.family() == ChannelFamily::Dead;
        if is_by_share {
            let letters = channel.records.iter().map(|(seq, record)| Letter {
                seq: *seq,
                bytes: record.frame.len() as u64,
                sender: &record.source,
                share: channel.dead_shares.get(seq).copied().unwrap_or_default(),
            });
            gone = dead::giving_way(letters, bounds);
            gone.truncate(usize::try_from(budget).unwrap_or(usize::MAX));
        }
        for (seq, record) in channel.records.iter().filter(|_| !is_by_share) {
            if gone.len() as u64 >= budget {
                break;
            }
            if channel.waiting.contains_key(&(lane_of(record.priority), *seq)) {
                continue;
            }
            if !(bounds.exceeded_by(records, bytes) || record.stored_at < cutoff) {
                break;
            }
            records -= 1;
            bytes -= record.frame.len() as u64;
            gone.push(*seq);
        }
        let (Some(from), Some(to)) = (gone.first(), gone.last()) else { return 0 };
        let count = gone.len() as u64;
        if is_by_share {
            gone.iter().for_each(|seq| channel.gaps.trimmed(*seq, *seq, 1));
        } else {
            channel.gaps.trimmed(*from, *to, count);
        }
        channel.trimmed += count;
        let mut freed = 0;
        for seq in gone {
            let bytes = channel.records.remove(&seq).map_or(0, |record| record.frame.len() as u64);
            channel.uncharge(&self.ledger, seq, bytes);
            channel.dead_shares.remove(&seq);
            freed += bytes;
        }
        channel.bytes -= freed;
        self.removed(count, freed);
        count
    }

    /// Removes the oldest leftovers while the store is over its bound, as far as the budget allows.
    pub(super) fn reclaim(&mut self) {
        if !self.leftovers.are_due(self.bytes) {
            return;
        }
        let mut excess = self.leftovers.excess(self.bytes);
        let mut budget = leftovers::BUDGET;
        let mut has_more = true;
        while excess > 0 && budget > 0 {
            let Some(name) = leftovers::FAMILIES.into_iter().find_map(|family| self.oldest_settled_of(family)) else {
                has_more = false;
                break;
            };
            let Some(channel) = self.channels.get(&name) else { break };
            let (records, bytes) = channel.settled();
            let removed = self.cut_log(&name, Bounds::default(), u64::MAX, leftovers::portion(excess, records, bytes, budget));
            budget = budget.saturating_sub(removed.max(1));
            excess = self.leftovers.excess(self.bytes);
        }
        self.leftovers.note(self.bytes, has_more);
    }

    /// The channel of a family with the oldest settled record.
    fn oldest_settled_of(&self, family: ChannelFamily) -> Option<ChannelName> {
        let of_family = self.channels.iter().filter(|(name, channel)| name.family() == family && channel.settled().0 > 0);
        let oldest = |channel: &Channel| {
            let is_settled = |(seq, record): &(&u64, &Record)| !channel.waiting.contains_key(&(lane_of(record.priority), **seq));
            channel.records.iter().find(is_settled).map(|(seq, record)| (record.stored_at, *seq))
        };
        of_family.min_by_key(|(_, channel)| oldest(channel)).map(|(name, _)| name.clone())
    }

    /// One step of everything that depends on time, and of what appends have left.
    pub(super) fn trim(&mut self, now: u64, limit: u32) -> Result<Trimmed, StoreError> {
        let mut budget = u64::from(limit.max(1));
        let mut done = Trimmed::default();
        while budget > 0
            && let Some((at, seq, name)) = self.expiring.first().cloned()
            && at <= now
        {
            done.dead_lettered.extend(self.dead_letter(&name, seq, &Death::of(DeadReason::Expired, now))?);
            budget -= 1;
        }
        self.bury_aged(now, &mut budget, &mut done)?;
        self.cut_logs(now, &mut budget, &mut done);
        self.forget_channels(now, &mut budget, &mut done);
        while budget > 0
            && let Some((at, name)) = self.expiring_values.first().cloned()
            && at <= now
        {
            self.forget_value(&name);
            done.rows += 1;
            budget -= 1;
        }
        self.trim_rows(now, &mut budget, &mut done);
        done.more = budget == 0;
        Ok(done)
    }

    fn bury_aged(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) -> Result<(), StoreError> {
        let mut aged: Vec<(ChannelName, u64)> = Vec::new();
        for (name, channel) in &self.channels {
            let age = self.options.policies.family(name.family()).inbox.age_ms;
            let cutoff = now.saturating_sub(age);
            if age == 0 || channel.waiting.is_empty() {
                continue;
            }
            let mut seqs: Vec<u64> = channel
                .waiting
                .keys()
                .map(|(_, seq)| *seq)
                .filter(|seq| channel.records.get(seq).is_some_and(|record| record.stored_at < cutoff))
                .collect();
            seqs.sort_unstable();
            aged.extend(seqs.into_iter().map(|seq| (name.clone(), seq)));
            if aged.len() as u64 >= *budget {
                break;
            }
        }
        for (name, seq) in aged {
            if *budget == 0 {
                break;
            }
            done.dead_lettered.extend(self.dead_letter(&name, seq, &Death::of(DeadReason::Age, now))?);
            *budget -= 1;
        }
        Ok(())
    }

    fn cut_logs(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) {
        let names: Vec<ChannelName> = self.channels.keys().cloned().collect();
        for name in names {
            if *budget == 0 {
                return;
            }
            let bounds = self.options.policies.family(name.family()).log;
            let cutoff = if bounds.age_ms == 0 { 0 } else { now.saturating_sub(bounds.age_ms) };
            let removed = self.cut_log(&name, bounds, cutoff, *budget);
            done.records += removed;
            *budget = budget.saturating_sub(removed);
        }
    }

    fn forget_channels(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) {
        let unused = self.options.policies.forget_channels_ms;
        if unused == 0 {
            return;
        }
        let cutoff = now.saturating_sub(unused);
        let is_unused = |channel: &Channel| channel.records.is_empty() && channel.last_stored_at < cutoff;
        let names = self.channels.iter().filter(|(_, channel)| is_unused(channel)).map(|(name, _)| name.clone());
        let names: Vec<_> = names.take(usize::try_from(*budget).unwrap_or(usize::MAX)).collect();
        *budget -= names.len() as u64;
        done.channels += names.len() as u64;
        for name in names {
            self.channels.remove(&name);
            self.forget_told(&name);
        }
    }

    fn trim_rows(&mut self, now: u64, budget: &mut u64, done: &mut Trimmed) {
        let unsaved = self.options.policies.forget_cursors_ms;
        if unsaved != 0 {
            let removed = self.positions.trim(now.saturating_sub(unsaved), *budget);
            *budget -= removed;
            done.rows += removed;
        }
        let bounds = self.options.policies.audit;
        let cutoff = if bounds.age_ms == 0 { 0 } else { now.saturating_sub(bounds.age_ms) };
        while *budget > 0
            && let Some(oldest) = self.audit.front()
            && oldest.entry.at < cutoff
        {
            self.audit.pop_front();
            *budget -= 1;
            done.rows += 1;
        }
        if bounds.records != 0 && self.audit.len() as u64 > bounds.records {
            self.limit_audit(bounds.records, budget, done);
        }
    }

    /// Cuts the audit log to its bound, as far as the budget allows.
    fn limit_audit(&mut self, most: u64, budget: &mut u64, done: &mut Trimmed) {
        let mut groups: HashMap<(&str, &str), Group> = HashMap::default();
        for AuditRow { id, entry } in &self.audit {
            let group = groups.entry((entry.kind.as_str(), &entry.origin));
            group.or_insert_with(|| Group { kind: entry.kind, origin: entry.origin.clone(), rows: 0, oldest: *id }).rows += 1;
        }
        let going = audit::giving_way(groups.into_values().collect(), most);
        let mut going: HashMap<_, _> = going.into_iter().map(|group| ((group.kind.as_str(), group.origin), group.rows)).collect();
        self.audit.retain(|row| {
            let Some(rows) = going.get_mut(&(row.entry.kind.as_str(), row.entry.origin.clone())) else { return true };
            let stays = *budget == 0 || *rows == 0;
            if !stays {
                *rows -= 1;
                *budget -= 1;
                done.rows += 1;
            }
            stays
        });
    }
}
