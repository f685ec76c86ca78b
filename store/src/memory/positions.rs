//! The positions of consumers, and the bounds of those of named clients. The same rules as those of
//! the file.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

use crate::{
    channel::ChannelName,
    owner::Payer,
    quota::PositionsReport,
    session::ConsumerId,
    surplus::{Place, Reader, Surplus, addresses_giving_way},
};

/// The number and the time of saving, by channel.
type Saved = BTreeMap<ChannelName, (u64, u64)>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Positions {
    max_of_address: u64,
    max_of_source: u64,
    saved: BTreeMap<ConsumerId, Saved>,
    /// Of each address with clients: how many positions they have, and for whom they count.
    addresses: BTreeMap<String, (u64, Option<Payer>)>,
    of_source: HashMap<Payer, u64>,
}

impl Positions {
    /// Empty, with the bounds of the clients behind one address, and of those of one source.
    pub(super) fn new(max_of_address: u64, max_of_source: u64) -> Self {
        Self { max_of_address, max_of_source, ..Self::default() }
    }

    pub(super) fn save(&mut self, consumer: ConsumerId, cursors: Vec<(ChannelName, u64)>, payer: Option<Payer>, now: u64) {
        if cursors.is_empty() {
            return;
        }
        let saved = self.saved.entry(consumer.clone()).or_default();
        let before = saved.len();
        saved.extend(cursors.into_iter().map(|(channel, seq)| (channel, (seq, now))));
        let new = saved.len() - before;
        if new > 0 {
            self.count(&consumer, new as i64);
            self.limit_address(&consumer);
            self.limit_source(&consumer, payer);
        }
    }

    /// A consumer has so many positions more, or fewer.
    fn count(&mut self, consumer: &ConsumerId, change: i64) {
        let Some((address, _)) = consumer.client() else { return };
        let (positions, payer) = self.addresses.entry(address.to_owned()).or_default();
        *positions = positions.saturating_add_signed(change);
        let (positions, payer) = (*positions, payer.clone());
        if positions == 0 {
            self.addresses.remove(address);
        }
        self.count_of(payer, change);
    }

    fn count_of(&mut self, payer: Option<Payer>, change: i64) {
        let Some(payer) = payer else { return };
        let positions = self.of_source.entry(payer.clone()).or_default();
        *positions = positions.saturating_add_signed(change);
        if *positions == 0 {
            self.of_source.remove(&payer);
        }
    }

    /// The consumers of the clients behind the same address, with what they have.
    fn siblings(&self, consumer: &ConsumerId) -> Vec<Reader> {
        let (Some((first, _)), Some((address, _))) = (consumer.siblings(), consumer.client()) else { return Vec::new() };
        let from = ConsumerId::new(&first).unwrap_or_else(|_| consumer.clone());
        let siblings = self.saved.range(from..).map_while(|(consumer, saved)| {
            consumer.client().filter(|(of, _)| *of == address)?;
            let saved_at = saved.values().map(|(_, saved_at)| *saved_at).max().unwrap_or(0);
            Some(Reader { consumer: consumer.clone(), positions: saved.len() as u64, saved_at })
        });
        siblings.collect()
    }

    fn limit_address(&mut self, saver: &ConsumerId) {
        let most = self.max_of_address;
        if most == 0 || saver.client().is_none() {
            return;
        }
        let surplus = Surplus::of(most, saver, self.siblings(saver));
        surplus.consumers.iter().for_each(|consumer| self.remove(consumer, None));
        if surplus.of_saver > 0
            && let Some(saved) = self.saved.get(saver)
        {
            let mut oldest: Vec<_> = saved.iter().map(|(channel, (_, saved_at))| (*saved_at, channel.clone())).collect();
            oldest.sort_unstable();
            oldest.truncate(usize::try_from(surplus.of_saver).unwrap_or(usize::MAX));
            let channels: Vec<_> = oldest.into_iter().map(|(_, channel)| channel).collect();
            self.remove(saver, Some(&channels));
        }
    }

    fn limit_source(&mut self, saver: &ConsumerId, payer: Option<Payer>) {
        let (Some((address, _)), Some(payer)) = (saver.client(), payer) else { return };
        if let Some((positions, known)) = self.addresses.get_mut(address)
            && known.as_ref() != Some(&payer)
        {
            let (positions, before) = (*positions as i64, known.replace(payer.clone()));
            self.count_of(before, -positions);
            self.count_of(Some(payer.clone()), positions);
        }
        let most = self.max_of_source;
        if most == 0 || self.of_source.get(&payer).is_none_or(|positions| *positions <= most) {
            return;
        }
        let of_source = self.addresses.iter().filter(|(_, (_, of))| of.as_ref() == Some(&payer));
        let clients_of = |address: &str| ConsumerId::new(&format!("{address}#")).map(|first| self.clients_behind(&first));
        let places = of_source.map(|(address, (positions, _))| {
            let clients = clients_of(address).unwrap_or_default();
            let saved = clients.iter().filter_map(|client| self.saved.get(client)).flat_map(BTreeMap::values);
            Place { address: address.clone(), positions: *positions, saved_at: saved.map(|(_, at)| *at).max().unwrap_or(0) }
        });
        for address in addresses_giving_way(most, address, places.collect()) {
            self.remove_clients(&address);
        }
    }

    /// The consumers from this id on whose ids begin with it.
    fn clients_behind(&self, first: &ConsumerId) -> Vec<ConsumerId> {
        let from = self.saved.range::<ConsumerId, _>(first..).map(|(consumer, _)| consumer);
        from.take_while(|consumer| consumer.as_str().starts_with(first.as_str())).cloned().collect()
    }

    /// Removes the positions of all clients behind an address.
    pub(super) fn remove_clients(&mut self, address: &str) {
        if let Ok(first) = ConsumerId::new(&format!("{address}#")) {
            self.clients_behind(&first).iter().for_each(|consumer| self.remove(consumer, None));
        }
    }

    /// Removes a consumer's positions: in these channels, or all.
    pub(super) fn remove(&mut self, consumer: &ConsumerId, channels: Option<&[ChannelName]>) {
        self.retain(consumer, |channel, _| channels.is_some_and(|channels| !channels.contains(channel)));
    }

    fn retain(&mut self, consumer: &ConsumerId, stays: impl Fn(&ChannelName, u64) -> bool) {
        let Some(saved) = self.saved.get_mut(consumer) else { return };
        let before = saved.len();
        saved.retain(|channel, (_, saved_at)| stays(channel, *saved_at));
        let removed = before - saved.len();
        if saved.is_empty() {
            self.saved.remove(consumer);
        }
        if removed > 0 {
            self.count(consumer, -(removed as i64));
        }
    }

    /// Removes positions that were not saved since `cutoff`, at most so many. Returns how many.
    pub(super) fn trim(&mut self, cutoff: u64, most: u64) -> u64 {
        let old = self.saved.iter().flat_map(|(consumer, saved)| {
            let old = saved.iter().filter(|(_, (_, saved_at))| *saved_at < cutoff);
            old.map(|(channel, _)| (consumer.clone(), channel.clone()))
        });
        let old: Vec<_> = old.take(usize::try_from(most).unwrap_or(usize::MAX)).collect();
        old.iter().for_each(|(consumer, channel)| self.remove(consumer, Some(std::slice::from_ref(channel))));
        old.len() as u64
    }

    pub(super) fn of(&self, consumer: &ConsumerId) -> Vec<(ChannelName, u64)> {
        let saved = self.saved.get(consumer).into_iter().flatten();
        saved.map(|(channel, (seq, _))| (channel.clone(), *seq)).collect()
    }

    pub(super) fn consumers(&self, after: Option<&ConsumerId>, limit: u32) -> Vec<ConsumerId> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.saved.range::<ConsumerId, _>((start, Bound::Unbounded));
        found.take(limit as usize).map(|(consumer, _)| consumer.clone()).collect()
    }

    pub(super) fn report(&self) -> PositionsReport {
        let mut largest: Vec<_> = self.of_source.iter().map(|(payer, positions)| (*positions, payer)).collect();
        largest.sort_by(|(one, a), (other, b)| other.cmp(one).then(a.cmp(b)));
        let listed = largest.into_iter().take(PositionsReport::LISTED).map(|(positions, payer)| {
            let (kind, name) = payer.split();
            (kind, name, positions)
        });
        PositionsReport {
            positions: self.addresses.values().map(|(positions, _)| positions).sum(),
            addresses: self.addresses.len() as u64,
            largest: listed.collect(),
        }
    }
}
