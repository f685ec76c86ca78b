//! Which messages came a moment ago, to know repeated ones before they are delivered live. The store knows them too.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use store::MessageKey;

/// Messages remembered; the oldest are forgotten first.
const REMEMBERED: usize = 200_000;
/// For how long. Both are a little less than the store's own: a message that is taken for a repeated one here, and is not delivered, must
/// be one to the store as well.
const REMEMBERED_MS: u64 = 2 * 60 * 1000 - 5_000;

/// See the module.
#[derive(Default)]
pub(super) struct Recent {
    /// With when they came.
    keys: HashMap<MessageKey, u64>,
    order: VecDeque<(u64, MessageKey)>,
}

impl Recent {
    /// Remembers a message. Says whether it was known.
    pub(super) fn remember(&mut self, key: MessageKey, now_ms: u64) -> bool {
        while let Some((at, oldest)) = self.order.front()
            && (at.saturating_add(REMEMBERED_MS) <= now_ms || self.order.len() > REMEMBERED)
        {
            if let Entry::Occupied(known) = self.keys.entry(*oldest)
                && known.get() == at
            {
                known.remove();
            }
            self.order.pop_front();
        }
        let Entry::Vacant(free) = self.keys.entry(key) else { return true };
        free.insert(now_ms);
        self.order.push_back((now_ms, key));
        false
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The message did not get into the store.
    pub(super) fn forget(&mut self, key: &MessageKey) {
        self.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use store::ChannelName;

    use super::*;

    fn key(number: usize) -> MessageKey {
        MessageKey::of(&ChannelName::parse("topic:t").expect("a channel"), "agent:a", &number.to_string())
    }

    #[test]
    fn a_message_is_known_for_as_long_as_it_is_to_the_store_and_no_longer() {
        let (mut recent, key) = (Recent::default(), key(7));
        assert!(!recent.remember(key, 1_000));
        assert!(recent.remember(key, 1_000 + REMEMBERED_MS - 1));
        assert!(!recent.remember(key, 1_000 + REMEMBERED_MS));
        recent.forget(&key);
        assert!(!recent.remember(key, 1_000 + REMEMBERED_MS));
    }

    #[test]
    fn the_oldest_leave_first() {
        let mut recent = Recent::default();
        for number in 0..=REMEMBERED + 1 {
            assert!(!recent.remember(key(number), 1_000));
        }
        assert!(recent.remember(key(REMEMBERED), 1_000));
        assert!(!recent.remember(key(0), 1_000));
    }
}
