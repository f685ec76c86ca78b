//! Recent messages and their outcome, to recognise repetitions before they are delivered live. The
//! store recognises those it has, too.

use std::collections::VecDeque;

use foldhash::HashMap;
use store::{MessageKey, StoreError};
use tokio::sync::oneshot;

/// The most messages. With more, the oldest of the sender with the most are forgotten.
const REMEMBERED: usize = 200_000;
/// For how long. Both are a little less than the store's own.
const REMEMBERED_MS: u64 = 2 * 60 * 1000 - 5_000;

/// How often a message may be repeated while it is on its way to the disk: each repetition waits
/// for the answer.
const MOST_WAITING: usize = 16;

/// The number of a message, or why it was not stored.
pub type Answer = Result<u64, StoreError>;

/// The outcome of the first message, for a repetition.
#[derive(Debug)]
pub(super) enum First {
    /// It is in the store under this number.
    Stored(u64),
    /// It is on its way to the disk; its outcome will be sent here.
    OnItsWay(oneshot::Receiver<Answer>),
}

impl First {
    /// The number of the message once it is in the store.
    ///
    /// # Errors
    /// It was not stored, or is no longer remembered.
    pub(super) async fn outcome(self) -> Answer {
        match self {
            Self::Stored(seq) => Ok(seq),
            Self::OnItsWay(answer) => answer.await.unwrap_or(Err(StoreError::Closed)),
        }
    }
}

/// What is known about a message. As small as possible: there are many, and for each message one is
/// looked up, one is added, and one is removed.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// Its number in the store or, while it is on its way there, the number that it got when it
    /// came.
    seq: u64,
    sender: SenderKey,
    is_stored: bool,
}

/// The sender of a message, for its share. Senders with one key have one share.
pub(super) type SenderKey = u32;

/// When a message came, and the number that it got then.
type Came = (u64, u64, MessageKey);

/// See the module.
#[derive(Default)]
pub(super) struct Recent {
    messages: HashMap<MessageKey, Known>,
    /// The messages of each sender in the order of arrival.
    senders: HashMap<SenderKey, VecDeque<Came>>,
    /// All senders. The first is checked next for messages whose time is up.
    ring: VecDeque<SenderKey>,
    /// The sender with the most messages, as far as is known, and how many it has.
    largest: (SenderKey, usize),
    /// Messages of all senders.
    count: usize,
    /// Repetitions of messages on their way, which wait for the outcome.
    waiting: HashMap<MessageKey, Vec<oneshot::Sender<Answer>>>,
    repeated: u64,
}

impl Recent {
    /// The outcome of a message, if it came before.
    ///
    /// # Errors
    /// [`StoreError::Busy`]: it is on its way, and was repeated too often for that.
    pub(super) fn find(&mut self, key: &MessageKey, now_ms: u64) -> Option<Result<First, StoreError>> {
        let known = *self.messages.get(key)?;
        self.expire(known.sender, now_ms);
        let known = self.messages.get(key)?;
        let first = if known.is_stored {
            First::Stored(known.seq)
        } else {
            let waiting = self.waiting.entry(*key).or_default();
            if waiting.len() >= MOST_WAITING {
                return Some(Err(StoreError::Busy));
            }
            let (tell, answer) = oneshot::channel();
            waiting.push(tell);
            First::OnItsWay(answer)
        };
        self.repeated += 1;
        Some(Ok(first))
    }

    /// Adds a message that came now and goes to the disk under a number.
    pub(super) fn remember(&mut self, key: MessageKey, sender: SenderKey, now_ms: u64, seq: u64) {
        self.insert(key, now_ms, Known { seq, sender, is_stored: false });
        // Messages of other senders are removed as messages come, so that nothing is held for
        // senders that have fallen silent. One for each message is enough: a message adds at most
        // one sender.
        if let Some(next) = self.ring.pop_front() {
            match self.expire(next, now_ms) {
                0 => drop(self.senders.remove(&next)),
                left => {
                    self.note_largest(next, left);
                    self.ring.push_back(next);
                }
            }
        }
    }

    /// Adds a stored message that came in an earlier life.
    pub(super) fn remember_stored(&mut self, key: MessageKey, at: u64, seq: u64) {
        self.insert(key, at, Known { seq, sender: 0, is_stored: true });
    }

    fn insert(&mut self, key: MessageKey, at: u64, known: Known) {
        self.messages.insert(key, known);
        self.note(known.sender, (at, known.seq, key));
        while self.count > REMEMBERED && self.forget_oldest(self.largest.0) {}
    }

    fn note(&mut self, sender: SenderKey, came: Came) {
        let ring = &mut self.ring;
        let messages = self.senders.entry(sender).or_insert_with(|| {
            ring.push_back(sender);
            VecDeque::new()
        });
        messages.push_back(came);
        let len = messages.len();
        self.count += 1;
        self.note_largest(sender, len);
    }

    fn note_largest(&mut self, sender: SenderKey, len: usize) {
        if len > self.largest.1 {
            self.largest = (sender, len);
        }
    }

    /// The store has answered for a message that went to the disk under a number. What is not in
    /// the store is forgotten: sending it again is a new message, which is delivered.
    pub(super) fn on_answer(&mut self, key: &MessageKey, seq: u64, answer: &Answer) {
        // A message that came so long ago may have been forgotten, and have come again.
        let Some(known) = self.messages.get_mut(key).filter(|known| known.seq == seq && !known.is_stored) else { return };
        match answer {
            Ok(stored) => {
                *known = Known { seq: *stored, is_stored: true, ..*known };
                if *stored != seq {
                    // The store knew it from before.
                    let sender = known.sender;
                    let at = self.senders.get(&sender).and_then(|messages| messages.back()).map_or(0, |(at, ..)| *at);
                    self.note(sender, (at, *stored, *key));
                }
            }
            Err(_) => {
                self.messages.remove(key);
            }
        }
        if !self.waiting.is_empty()
            && let Some(waiting) = self.waiting.remove(key)
        {
            // Those who have left need not hear it.
            waiting.into_iter().for_each(|tell| drop(tell.send(answer.clone())));
        }
    }

    /// The number of messages.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The number of repetitions.
    pub(super) fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Removes the messages of a sender whose time is up. Returns how many are left.
    fn expire(&mut self, sender: SenderKey, now_ms: u64) -> usize {
        loop {
            let Some(messages) = self.senders.get(&sender) else { return 0 };
            if messages.front().is_none_or(|(at, ..)| at.saturating_add(REMEMBERED_MS) > now_ms) {
                return messages.len();
            }
            self.forget_oldest(sender);
        }
    }

    /// Returns whether there was one.
    fn forget_oldest(&mut self, sender: SenderKey) -> bool {
        let Some(messages) = self.senders.get_mut(&sender) else { return false };
        let Some((_, seq, oldest)) = messages.pop_front() else { return false };
        if sender == self.largest.0 {
            self.largest.1 = messages.len();
        }
        self.count -= 1;
        // It may have been forgotten, and have come again under another number.
        if self.messages.get(&oldest).is_some_and(|known| known.seq == seq) {
            self.messages.remove(&oldest);
            // Those who still wait hear that it is no longer known.
            self.waiting.remove(&oldest);
        }
        true
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
        recent.remember_stored(key, 1_000, 5);
        assert!(matches!(recent.find(&key, 1_000 + REMEMBERED_MS - 1), Some(Ok(First::Stored(5)))));
        assert!(recent.find(&key, 1_000 + REMEMBERED_MS).is_none());
        recent.remember(key, 1, 1_000 + REMEMBERED_MS, 6);
        recent.on_answer(&key, 5, &Ok(5));
        assert!(matches!(recent.find(&key, 1_000 + REMEMBERED_MS), Some(Ok(First::OnItsWay(_)))), "not of the first any more");
        recent.on_answer(&key, 6, &Err(StoreError::DiskFull));
        assert!(recent.find(&key, 1_000 + REMEMBERED_MS).is_none());
        assert_eq!(recent.repeated(), 2);
    }

    #[test]
    fn messages_known_from_the_store_are_forgotten_in_time_too() {
        let mut recent = Recent::default();
        recent.remember(key(1), 1, 1_000, 9);
        recent.on_answer(&key(1), 9, &Ok(4));
        assert!(matches!(recent.find(&key(1), 1_000), Some(Ok(First::Stored(4)))));
        assert!(recent.find(&key(1), 1_000 + REMEMBERED_MS).is_none());
        assert_eq!((recent.messages.len(), recent.len()), (0, 0));
    }

    #[test]
    fn the_oldest_leave_first() {
        let mut recent = Recent::default();
        for number in 0..=REMEMBERED + 1 {
            recent.remember_stored(key(number), 1_000, number as u64);
        }
        assert!(recent.find(&key(REMEMBERED), 1_000).is_some());
        assert!(recent.find(&key(0), 1_000).is_none());
    }

    #[test]
    fn a_flood_of_one_sender_forgets_its_own_messages_and_nobody_elses() {
        let mut recent = Recent::default();
        let seq = |number: usize| number as u64;
        for number in 0..1000 {
            recent.remember(key(number), number as u32 % 10, 1_000, seq(number));
        }
        for number in 1000..2 * REMEMBERED {
            recent.remember(key(number), 10 + number as u32 % 2, 2_000, seq(number));
        }
        assert_eq!((recent.len(), recent.messages.len()), (REMEMBERED, REMEMBERED));
        assert!((0..1000).all(|number| recent.find(&key(number), 3_000).is_some()));
        assert!(recent.find(&key(1000), 3_000).is_none() && recent.find(&key(2 * REMEMBERED - 1), 3_000).is_some());
    }

    #[test]
    fn messages_of_silent_senders_are_forgotten_as_others_send() {
        let mut recent = Recent::default();
        for number in 0..100 {
            recent.remember(key(number), number as u32, 1_000, number as u64);
        }
        for number in 100..200 {
            recent.remember(key(number), 100, 1_000 + REMEMBERED_MS, number as u64);
        }
        assert_eq!((recent.len(), recent.senders.len(), recent.ring.len()), (100, 1, 1));
    }

    #[tokio::test]
    async fn repeating_a_message_in_flight_returns_its_outcome() {
        for answer in [Ok(9), Err(StoreError::DiskFull)] {
            let mut recent = Recent::default();
            recent.remember(key(1), 1, 1_000, 9);
            let waiting: Vec<_> = (0..MOST_WAITING).map(|_| recent.find(&key(1), 1_000)).collect();
            assert_eq!(recent.find(&key(1), 1_000).expect("known").err(), Some(StoreError::Busy));
            recent.on_answer(&key(1), 9, &answer);
            for first in waiting {
                assert_eq!(first.expect("known").expect("not too often").outcome().await, answer);
            }
            assert_eq!(recent.find(&key(1), 1_000).is_some(), answer.is_ok(), "nobody has to wait any more");
        }
        let mut recent = Recent::default();
        recent.remember(key(1), 1, 1_000, 9);
        let first = recent.find(&key(1), 1_000).expect("known").expect("not too often");
        drop(recent);
        assert_eq!(first.outcome().await, Err(StoreError::Closed));
    }
}
