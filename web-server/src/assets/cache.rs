//! A cache bounded by the bytes that it holds. At the bound the least recently used entries are
//! removed.
//!
//! For values that can be made again, not for anything that must not be lost.

use std::{collections::HashMap, hash::Hash};

/// The cost of an entry besides its value, so that many empty values are bounded too.
const ENTRY_COST: usize = 256;

/// See the module.
pub struct BoundedCache<K, V> {
    entries: HashMap<K, Entry<V>>,
    limit: usize,
    held: usize,
    clock: u64,
}

struct Entry<V> {
    value: V,
    cost: usize,
    used: u64,
}

impl<K: Eq + Hash + Clone, V: Clone> BoundedCache<K, V> {
    /// A cache that holds at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { entries: HashMap::new(), limit, held: 0, clock: 0 }
    }

    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.used = self.clock;
        Some(entry.value.clone())
    }

    /// Stores a value of `bytes` bytes. A value larger than the whole cache is not stored.
    pub fn put(&mut self, key: K, value: V, bytes: usize) {
        let cost = bytes + ENTRY_COST;
        self.remove(&key);
        if cost > self.limit {
            return;
        }
        while self.held + cost > self.limit {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { break };
            self.remove(&oldest);
        }
        self.clock += 1;
        self.held += cost;
        self.entries.insert(key, Entry { value, cost, used: self.clock });
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.held -= entry.cost;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_used_longest_ago_goes_first() {
        let mut cache = BoundedCache::new(3 * (ENTRY_COST + 10));
        for key in ["a", "b", "c"] {
            cache.put(key, key.len(), 10);
        }
        assert_eq!(cache.get(&"a"), Some(1));
        cache.put("d", 4, 10);
        assert_eq!(cache.get(&"b"), None);
        assert_eq!((cache.get(&"a"), cache.get(&"c"), cache.get(&"d")), (Some(1), Some(1), Some(4)));
    }

    #[test]
    fn the_bound_holds_and_what_cannot_fit_is_not_kept() {
        let mut cache = BoundedCache::new(10 * ENTRY_COST);
        for key in 0..1000 {
            cache.put(key, (), 0);
        }
        assert_eq!(cache.entries.len(), 10);
        cache.put(5000, (), 10 * ENTRY_COST);
        assert_eq!(cache.get(&5000), None);
        cache.put(999, (), ENTRY_COST);
        assert!(cache.held <= cache.limit);
    }
}
