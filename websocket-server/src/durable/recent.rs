//! Which messages came a moment ago, and what became of them, to know repeated ones before they are delivered live. The store knows those it
//! has, too.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use store::{MessageKey, StoreError};
use tokio::sync::watch;

/// Messages remembered; the oldest are forgotten first.
const REMEMBERED: usize = 200_000;
/// For how long. Both are a little less than the store's own.
const REMEMBERED_MS: u64 = 2 * 60 * 1000 - 5_000;

/// How often a message may be repeated while it is on its way to the disk: each waits for the answer.
const MOST_WAITING: u32 = 16;

/// The number of a message, or why it was not stored; `None` as long as the store has not answered.
pub(super) type Answer = Option<Result<u64, StoreError>>;

/// What became of a message.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It is in the store under this number.
    Stored(u64),
    /// It is on its way to the disk.
    OnItsWay(watch::Receiver<Answer>),
}

impl Fate {
    /// The number of the message once it is in the store.
    ///
    /// # Errors
    /// It was not stored.
    pub(super) async fn settled(self) -> Result<u64, StoreError> {
        match self {
            Self::Stored(seq) => Ok(seq),
            Self::OnItsWay(mut answer) => {
                let answer = answer.wait_for(Option::is_some).await.map_err(|_| StoreError::Closed)?;
                answer.clone().unwrap_or(Err(StoreError::Closed))
            }
        }
    }
}

#[derive(Debug)]
struct Known {
    /// When it came.
    at: u64,
    fate: Fate,
    /// How often it was repeated.
    repeated: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Recent {
    messages: HashMap<MessageKey, Known>,
    order: VecDeque<(u64, MessageKey)>,
    repeated: u64,
}

impl Recent {
    /// What became of a message, if it came before.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: it is on its way, and was repeated too often for that.
    pub(super) fn find(&mut self, key: &MessageKey, now_ms: u64) -> Option<Result<Fate, StoreError>> {
        self.expire(now_ms);
        let known = self.messages.get_mut(key)?;
        known.repeated = known.repeated.saturating_add(1);
        if known.repeated > MOST_WAITING && matches!(known.fate, Fate::OnItsWay(_)) {
            return Some(Err(StoreError::Busy));
        }
        self.repeated += 1;
        Some(Ok(known.fate.clone()))
    }

    /// Remembers a message that came now.
    pub(super) fn remember(&mut self, key: MessageKey, now_ms: u64, fate: Fate) {
        self.expire(now_ms);
        if self.messages.insert(key, Known { at: now_ms, fate, repeated: 0 }).is_none() {
            self.order.push_back((now_ms, key));
        }
    }

    /// The store has the message.
    pub(super) fn stored(&mut self, key: &MessageKey, seq: u64) {
        if let Some(known) = self.messages.get_mut(key) {
            known.fate = Fate::Stored(seq);
        }
    }

    /// The message did not get into the store.
    pub(super) fn forget(&mut self, key: &MessageKey) {
        self.messages.remove(key);
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// How many came again.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((at, oldest)) = self.order.front()
            && (at.saturating_add(REMEMBERED_MS) <= now_ms || self.order.len() > REMEMBERED)
        {
            if let Entry::Occupied(known) = self.messages.entry(*oldest)
                && known.get().at == *at
            {
                known.remove();
            }
            self.order.pop_front();
        }
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
        assert!(recent.find(&key, 1_000).is_none());
        recent.remember(key, 1_000, Fate::Stored(5));
        assert!(matches!(recent.find(&key, 1_000 + REMEMBERED_MS - 1), Some(Ok(Fate::Stored(5)))));
        assert!(recent.find(&key, 1_000 + REMEMBERED_MS).is_none());
        recent.remember(key, 1_000 + REMEMBERED_MS, Fate::Stored(6));
        recent.forget(&key);
        assert!(recent.find(&key, 1_000 + REMEMBERED_MS).is_none());
        assert_eq!(recent.repeated(), 1);
    }

    #[test]
    fn the_oldest_leave_first() {
        let mut recent = Recent::default();
        for number in 0..=REMEMBERED + 1 {
            recent.remember(key(number), 1_000, Fate::Stored(number as u64));
        }
        assert!(recent.find(&key(REMEMBERED), 1_000).is_some());
        assert!(recent.find(&key(0), 1_000).is_none());
    }

    #[tokio::test]
    async fn who_repeats_a_message_on_its_way_hears_what_becomes_of_it() {
        for answer in [Ok(9), Err(StoreError::DiskFull)] {
            let (settle, fate) = watch::channel(None);
            let mut recent = Recent::default();
            recent.remember(key(1), 1_000, Fate::OnItsWay(fate));
            let repeated = recent.find(&key(1), 1_000).expect("known").expect("not too often").settled();
            for _ in 1..MOST_WAITING {
                assert!(recent.find(&key(1), 1_000).expect("known").is_ok());
            }
            assert_eq!(recent.find(&key(1), 1_000).expect("known").err(), Some(StoreError::Busy));
            settle.send_replace(Some(answer.clone()));
            assert_eq!(repeated.await, answer);
            recent.stored(&key(1), 9);
            assert!(recent.find(&key(1), 1_000).expect("known").is_ok(), "nobody has to wait any more");
        }
        let (settle, fate) = watch::channel(None);
        drop(settle);
        assert_eq!(Fate::OnItsWay(fate).settled().await, Err(StoreError::Closed));
    }
}
