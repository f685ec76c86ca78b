//! The window in which repeated messages are recognised. Pure; every backend uses it.

use std::collections::VecDeque;

use crate::record::{MessageKey, RecentId};
use foldhash::HashMap;

/// Bytes of one id in the stored form.
const ENCODED: usize = 32;

/// Keys of recent messages, bounded by time and number; the oldest leave first.
#[derive(Debug)]
pub(crate) struct DedupWindow {
    first: HashMap<MessageKey, u64>,
    order: VecDeque<RecentId>,
    /// The number of the newest entries of `order` that are not committed.
    staged: usize,
    window_ms: u64,
    max: usize,
}

impl DedupWindow {
    /// An empty window. A window of 0 milliseconds recognises nothing.
    pub(crate) fn new(window_ms: u64, max: usize) -> Self {
        Self { first: HashMap::default(), order: VecDeque::new(), staged: 0, window_ms, max }
    }

    /// The number of the first message with this key.
    pub(crate) fn find(&mut self, key: &MessageKey, now: u64) -> Option<u64> {
        self.expire(now);
        self.first.get(key).copied()
    }

    /// Adds a message temporarily, until [`Self::commit`] or [`Self::roll_back`].
    pub(crate) fn stage(&mut self, id: RecentId) {
        if self.window_ms == 0 || self.max == 0 {
            return;
        }
        self.first.insert(id.key, id.seq);
        self.order.push_back(id);
        self.staged += 1;
    }

    /// What is staged.
    pub(crate) fn staged(&self) -> impl Iterator<Item = &RecentId> {
        self.order.iter().skip(self.order.len().saturating_sub(self.staged))
    }

    /// Keeps what is staged.
    pub(crate) fn commit(&mut self) {
        self.staged = 0;
        while self.order.len() > self.max {
            self.pop();
        }
    }

    /// Removes what is staged.
    pub(crate) fn roll_back(&mut self) {
        for _ in 0..std::mem::take(&mut self.staged) {
            if let Some(id) = self.order.pop_back() {
                self.first.remove(&id.key);
            }
        }
    }

    /// All that is committed, oldest first.
    pub(crate) fn recent(&self) -> Vec<RecentId> {
        self.order.iter().take(self.order.len().saturating_sub(self.staged)).copied().collect()
    }

    fn expire(&mut self, now: u64) {
        // Staged ones stay: they are the newest, and the stored form is made from them.
        while self.order.len() > self.staged
            && self.order.front().is_some_and(|oldest| oldest.stored_at.saturating_add(self.window_ms) < now)
        {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(id) = self.order.pop_front()
            && self.first.get(&id.key) == Some(&id.seq)
        {
            self.first.remove(&id.key);
        }
    }
}

/// The stored form of some ids.
pub(crate) fn encode<'a>(ids: impl Iterator<Item = &'a RecentId>) -> Vec<u8> {
    let mut stored = Vec::new();
    for id in ids {
        stored.extend_from_slice(&id.key.0);
        stored.extend_from_slice(&id.seq.to_le_bytes());
        stored.extend_from_slice(&id.stored_at.to_le_bytes());
    }
    stored
}

/// Reads the stored form; `None` if it is invalid.
pub(crate) fn decode(stored: &[u8]) -> Option<Vec<RecentId>> {
    let (ids, rest) = stored.as_chunks::<ENCODED>();
    let decode = |id: &[u8; ENCODED]| {
        let (key, numbers) = id.split_at(16);
        let (seq, stored_at) = numbers.split_at(8);
        Some(RecentId {
            key: MessageKey(key.try_into().ok()?),
            seq: u64::from_le_bytes(seq.try_into().ok()?),
            stored_at: u64::from_le_bytes(stored_at.try_into().ok()?),
        })
    };
    if rest.is_empty() { ids.iter().map(decode).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: u8, seq: u64, stored_at: u64) -> RecentId {
        RecentId { key: MessageKey([name; 16]), seq, stored_at }
    }

    #[test]
    fn the_window_ends_by_time_and_by_number() {
        let mut window = DedupWindow::new(100, 2);
        window.stage(id(1, 10, 1_000));
        window.commit();
        assert_eq!(window.find(&MessageKey([1; 16]), 1_100), Some(10));
        assert_eq!(window.find(&MessageKey([1; 16]), 1_101), None);
        for (name, seq) in [(2, 11), (3, 12), (4, 13)] {
            window.stage(id(name, seq, 1_200));
        }
        window.commit();
        assert_eq!(window.find(&MessageKey([2; 16]), 1_200), None);
        assert_eq!(window.find(&MessageKey([3; 16]), 1_200), Some(12));
    }

    #[test]
    fn messages_that_were_rolled_back_can_be_sent_again() {
        let mut window = DedupWindow::new(100, 10);
        window.stage(id(1, 10, 1_000));
        window.commit();
        window.stage(id(2, 11, 1_000));
        assert_eq!(window.find(&MessageKey([2; 16]), 1_000), Some(11));
        window.roll_back();
        assert_eq!(window.find(&MessageKey([2; 16]), 1_000), None);
        assert_eq!(window.find(&MessageKey([1; 16]), 1_000), Some(10));
        assert_eq!(decode(&encode(window.recent().iter())), Some(window.recent()));
        assert_eq!(decode(&[0]), None);
    }
}
