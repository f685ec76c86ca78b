//! Taking turns: several that wait, known by their keys, in the order in which each has its next turn. Pure.
//!
//! The one whose turn it is lies here; only where there are more is there anything else. All operations but [`Turns::largest`] take constant
//! time.

use std::collections::{HashMap, VecDeque};

/// Something that may have nothing left.
pub(super) trait Waits: Default {
    /// Whether nothing waits in it.
    fn is_empty(&self) -> bool;
}

/// See the module. Where anything waits, it waits in the one whose turn it is, too.
#[derive(Debug, Default)]
pub(super) struct Turns<T> {
    key: u64,
    now: T,
    others: Option<Box<Others<T>>>,
}

#[derive(Debug, Default)]
struct Others<T> {
    by_key: HashMap<u64, T>,
    /// Each key once. Those that were emptied before their turn are passed over when it comes.
    ring: VecDeque<u64>,
}

impl<T: Waits> Turns<T> {
    /// The one whose turn it is.
    #[inline]
    pub fn now(&self) -> &T {
        &self.now
    }

    /// The same, to be changed.
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

    /// The one with this key, which is the last to have its turn if it is new.
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

    /// The one with this key, if there is one.
    pub fn get(&self, key: u64) -> Option<&T> {
        if self.key == key { Some(&self.now) } else { self.others.as_ref()?.by_key.get(&key) }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        if self.key == key { Some(&mut self.now) } else { self.others.as_mut()?.by_key.get_mut(&key) }
    }

    /// The next one has its turn; this one has its next after all others.
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

    /// Something was taken out: sees to it that the one whose turn it is has something, if any has.
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

    /// The key of the one of which there is most, of those of which there is more than `above`; of two that are equal, the greater key.
    pub fn largest(&self, above: usize, size: impl Fn(&T) -> usize) -> Option<u64> {
        let sizes = self.iter().map(|(key, one)| (size(one), key)).filter(|(size, _)| *size > above);
        sizes.max().map(|(_, key)| key)
    }
}
