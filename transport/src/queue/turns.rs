//! Taking turns: several that wait, each with a key, in the order of their next turns. Pure.
//!
//! The one whose turn it is is stored inline; anything else is allocated only if there are more.
//! All operations but [`Turns::largest`] take constant time.

use std::collections::{HashMap, VecDeque};

/// Something that may become empty.
pub(super) trait Waits: Default {
    /// Whether nothing waits in it.
    fn is_empty(&self) -> bool;
}

/// See the module. If anything waits, something waits in the one whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns<T> {
    key: u64,
    now: T,
    others: Option<Box<Others<T>>>,
}

#[derive(Debug, Default)]
struct Others<T> {
    by_key: HashMap<u64, T>,
    /// Each key once. Those that were emptied before their turn are skipped.
    ring: VecDeque<u64>,
}

impl<T: Waits> Turns<T> {
    /// The one whose turn it is.
    #[inline]
    pub fn now(&self) -> &T {
        &self.now
    }

    /// The same, mutable.
    #[inline]
    pub fn now_mut(&mut self) -> &mut T {
        &mut self.now
    }

    /// Whether there is only one.
    pub fn is_one(&self) -> bool {
        self.others.is_none()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        1 + self.others.as_ref().map_or(0, |others| others.by_key.len())
    }

    /// The one with this key. If it is new, it has its turn last.
    #[inline]
    pub fn entry(&mut self, key: u64) -> &mut T {
        if self.others.is_none() && self.now.is_empty() {
            self.key = key;
        }
        if self.key == key { &mut self.now } else { self.other(key) }
    }

    fn other(&mut self, key: u64) -> &mut T {
        let others = self.others.get_or_insert_with(|| Box::new(Others { by_key: HashMap::new(), ring: VecDeque::new() }));
        others.by_key.entry(key).or_insert_with(|| {
            others.ring.push_back(key);
            T::default()
        })
    }

    /// The one with this key, if it exists.
    pub fn get(&self, key: u64) -> Option<&T> {
        if self.key == key { Some(&self.now) } else { self.others.as_ref()?.by_key.get(&key) }
    }

    /// The same, mutable.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        if self.key == key { Some(&mut self.now) } else { self.others.as_mut()?.by_key.get_mut(&key) }
    }

    /// Passes the turn to the next; this one comes last.
    pub fn pass(&mut self) {
        let Some(others) = &mut self.others else { return };
        while let Some(key) = others.ring.pop_front() {
            let Some(next) = others.by_key.remove(&key) else { continue };
            if next.is_empty() {
                continue;
            }
            let (passed, now) = (std::mem::replace(&mut self.key, key), std::mem::replace(&mut self.now, next));
            if !now.is_empty() {
                others.by_key.insert(passed, now);
                others.ring.push_back(passed);
            }
            break;
        }
        if others.ring.is_empty() {
            self.others = None;
        }
    }

    /// Something was removed. Ensures that the one whose turn it is is not empty, if any is not.
    #[inline]
    pub fn settle(&mut self) {
        if self.now.is_empty() {
            self.pass();
        }
    }

    /// All of them, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let others = self.others.iter().flat_map(|others| others.by_key.iter().map(|(key, other)| (*key, other)));
        std::iter::once((self.key, &self.now)).chain(others)
    }

    /// The key of the largest, among those with a size above zero; of two that are equal, the
    /// greater key.
    pub fn largest(&self, size: impl Fn(&T) -> usize) -> Option<u64> {
        let sizes = self.iter().map(|(key, one)| (size(one), key)).filter(|(size, _)| *size > 0);
        sizes.max().map(|(_, key)| key)
    }
}
