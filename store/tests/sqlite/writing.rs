//! Short helpers to write, and the conditions that must hold afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use common::envelope::Priority;
use store::{
    ChannelFamily, ChannelName, FamilyPolicy, FirstDelivery, Limits, NewRecord, Policies, ReadFrom, Store, StoreError,
    StoreOptions,
};

/// Options without retention, so that whatever is missing was lost.
pub fn unbounded() -> StoreOptions {
    let mut policies = Policies::default();
    ChannelFamily::ALL.into_iter().for_each(|family| policies.set(family, FamilyPolicy::default()));
    StoreOptions { policies, ..StoreOptions::default() }
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a channel")
}

pub fn record(name: &str, seq: u64, bytes: usize) -> NewRecord {
    NewRecord {
        channel: channel(name),
        seq,
        prev: 0,
        message_id: format!("m{seq}"),
        source: "agent:a".to_owned(),
        key: None,
        frame: Bytes::from(vec![b'x'; bytes]),
        priority: Priority::Normal,
        expires_at: None,
        stored_at: seq,
        delivery: Some(FirstDelivery { attempts: 0, due_at: 0 }),
        owner: None,
        is_charged: false,
    }
}

/// Appends one record with a fresh number; answers the number.
pub async fn put(store: &Arc<impl Store + ?Sized>, name: &str, bytes: usize) -> Result<u64, StoreError> {
    let seq = store.reserve(1).await?.start;
    store.append(vec![record(name, seq, bytes)]).await.map(|_| seq)
}

/// All of a channel: numbers and ids.
pub async fn whole(store: &(impl Store + ?Sized), name: &str) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = store.read(channel(name), ReadFrom::After(after), Limits::default()).await.expect("read");
        assert!(page.records.is_sorted_by_key(|record| record.seq), "{name} is out of order");
        after = page.next;
        let more = page.has_more();
        found.extend(page.records.into_iter().map(|record| (record.seq, record.message_id)));
        if !more {
            return found;
        }
    }
}

/// What was shown to others, over all runs of a store.
#[derive(Clone, Default)]
pub struct Shown {
    /// Confirmed records per channel: number and id.
    pub confirmed: BTreeMap<String, BTreeMap<u64, String>>,
    /// Confirmed acknowledgements per channel.
    pub acknowledged: BTreeMap<String, BTreeSet<u64>>,
    /// The end of each reserved block, by its start.
    pub blocks: BTreeMap<u64, u64>,
}

impl Shown {
    pub fn reserved(&mut self, start: u64, end: u64) {
        if let Some((before, before_end)) = self.blocks.range(..end).next_back() {
            assert!(*before_end <= start, "numbers {start}..{end} were given before, in {before}..{before_end}");
        }
        self.blocks.insert(start, end);
    }

    pub fn confirmed(&mut self, channel: &str, seq: u64, id: &str) {
        let before = self.confirmed.entry(channel.to_owned()).or_default().insert(seq, id.to_owned());
        assert_eq!(before, None, "number {seq} was used twice in {channel}");
    }

    pub fn acknowledged(&mut self, channel: &str, seq: u64) {
        self.acknowledged.entry(channel.to_owned()).or_default().insert(seq);
    }

    pub fn count(&self) -> usize {
        self.confirmed.values().map(BTreeMap::len).sum()
    }

    /// Checks that every confirmation holds in this store.
    pub async fn hold_in(&self, store: &(impl Store + ?Sized)) {
        for (name, confirmed) in &self.confirmed {
            let found = whole(store, name).await;
            for (seq, id) in confirmed {
                assert_eq!(found.get(seq), Some(id), "record {seq} of {name} was confirmed and is not there");
            }
        }
        for (name, acknowledged) in &self.acknowledged {
            let query =
                store::PendingQuery { due_before: u64::MAX, after: 0, limits: Limits { records: u32::MAX, bytes: u64::MAX } };
            for waiting in store.pending(channel(name), query).await.expect("read") {
                let seq = waiting.record.seq;
                assert!(!acknowledged.contains(&seq), "the acknowledgement of {seq} in {name} was confirmed and is lost");
            }
        }
    }
}

/// Waits until something holds, for ten seconds at most.
pub async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(10), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within ten seconds: {what}");
}
