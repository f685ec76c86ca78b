//! Loop damping: how many answers to answers a chain of messages has had.
//!
//! A message is an answer to an answer if its `correlation_id` names a message that itself answers
//! another. All messages that are connected in this way are a chain. Each message of a chain that
//! is answered takes from the chain's bucket once, however long its answer streams. Two programs
//! that answer each other soon empty it, also if each answers twice; people and models do not.
//!
//! The tables have a fixed size and no locks: the later write wins, so under heavy load a chain may
//! be forgotten and start again. A loop is fast compared to that. An id counts together with its
//! sender, or with the topic that it was sent to.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use common::rate::{Rate, SharedBucket};

/// Answers that are remembered, 8 bytes each.
const ANSWERS: usize = 1 << 16;
/// Chains that are remembered, 16 bytes each.
const CHAINS: usize = 1 << 13;
/// Marks an answer in the table that has been answered.
const ANSWERED: u64 = 1;

/// The ids of a message, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Its id.
    pub id: u64,
    /// The id of the message it answers, if it does.
    pub answers: Option<u64>,
}

/// The sender and the receivers of a message, as hashes of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// A peer and another.
    Two {
        /// The sender.
        source: u64,
        /// The receiver: the sender of the message that it answers.
        target: u64,
    },
    /// A peer and all of a topic, a user or a broadcast.
    Many {
        /// The sender.
        source: u64,
        /// The target, which is also that of the message that it answers.
        place: u64,
    },
}

/// The tables.
pub struct Chains {
    rate: Rate,
    /// 32 bits of the message's hash, 31 of its chain, and whether it has been answered.
    answers: Box<[AtomicU64]>,
    chains: Box<[Chain]>,
}

#[derive(Default)]
struct Chain {
    name: AtomicU64,
    bucket: SharedBucket,
}

impl std::fmt::Debug for Chains {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Chains").field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Chains {
    /// Empty tables. Without a limit nothing is stored.
    pub fn new(rate: Rate) -> Self {
        let (answers, chains) = if rate.is_unlimited() { (0, 0) } else { (ANSWERS, CHAINS) };
        Self {
            rate,
            answers: (0..answers).map(|_| AtomicU64::new(0)).collect(),
            chains: (0..chains).map(|_| Chain::default()).collect(),
        }
    }

    /// Follows a message.
    ///
    /// # Errors
    /// Its chain has had too many answers: how long until the next one may pass.
    pub fn follow(&self, trace: Trace, between: Between, now_ms: impl FnOnce() -> u64) -> Result<(), Duration> {
        let (source, asker, place) = match between {
            Between::Two { source, target } => (source, target, None),
            Between::Many { source, place } => (source, place, Some(place)),
        };
        let Some(to) = trace.answers else {
            place.into_iter().for_each(|place| self.forget(message(place, trace.id)));
            return Ok(());
        };
        let asked = message(asker, to);
        let Some(slot) = self.slot(asked) else { return Ok(()) };
        let entry = slot.load(Relaxed);
        let chain = if is_of(entry, asked) {
            let chain = entry & u64::from(u32::MAX) & !ANSWERED;
            if entry & ANSWERED == 0 {
                self.count(chain, Duration::from_millis(now_ms()))?;
                slot.store(entry | ANSWERED, Relaxed);
            }
            chain
        } else {
            // A question, or a message that is forgotten: the chain begins here.
            asked & u64::from(u32::MAX) & !ANSWERED
        };
        for whose in std::iter::once(source).chain(place) {
            let own = message(whose, trace.id);
            if let Some(slot) = self.slot(own) {
                // What has been answered stays so: using an id again is no way out.
                let answered = if is_of(slot.load(Relaxed), own) { slot.load(Relaxed) & ANSWERED } else { 0 };
                slot.store(tag(own) | chain | answered, Relaxed);
            }
        }
        Ok(())
    }

    /// A question is sent to many under an id that an answer there had: a peer that numbers its
    /// messages from one is not a loop.
    fn forget(&self, own: u64) {
        if let Some(slot) = self.slot(own)
            && is_of(slot.load(Relaxed), own)
        {
            slot.store(0, Relaxed);
        }
    }

    fn count(&self, chain: u64, now: Duration) -> Result<(), Duration> {
        let at = usize::try_from(chain >> 1).unwrap_or_default() & (CHAINS - 1);
        let Some(entry) = self.chains.get(at) else { return Ok(()) };
        if entry.name.swap(chain, Relaxed) != chain {
            entry.bucket.fill();
        }
        self.rate.take_shared(&entry.bucket, 1, now)
    }

    fn slot(&self, message: u64) -> Option<&AtomicU64> {
        self.answers.get(usize::try_from(message).unwrap_or_default() & (ANSWERS - 1))
    }
}

/// Identifies a message by its owner and its id.
fn message(whose: u64, id: u64) -> u64 {
    // The place in the table and the tag use different bits.
    (whose.rotate_left(21) ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn tag(message: u64) -> u64 {
    message & !u64::from(u32::MAX)
}

fn is_of(entry: u64, message: u64) -> bool {
    entry != 0 && tag(entry) == tag(message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hashing::hash;

    const ANN: u64 = 0x1111_1111_1111_1111;
    const BOB: u64 = 0x2222_2222_2222_2222;

    fn chains() -> Chains {
        Chains::new(Rate::new(1, 10))
    }

    fn answer(id: &str, to: &str) -> Trace {
        Trace { id: hash(id), answers: Some(hash(to)) }
    }

    fn two(source: u64, target: u64) -> Between {
        Between::Two { source, target }
    }

    /// Two peers that answer each other, beginning with an answer to message 0; returns how many
    /// pass.
    fn ping_pong(chains: &Chains, from: usize, now_ms: u64) -> usize {
        let passes = |number: &usize| {
            let (source, asker) = if number.is_multiple_of(2) { (ANN, BOB) } else { (BOB, ANN) };
            let answer = answer(&number.to_string(), &(number - 1).to_string());
            chains.follow(answer, two(source, asker), || now_ms).is_ok()
        };
        (from..from + 1000).take_while(passes).count()
    }

    #[test]
    fn two_agents_that_answer_each_other_are_stopped_and_may_continue_slowly() {
        let chains = chains();
        assert_eq!(ping_pong(&chains, 1, 0), 1 + 10, "the first answer is none to an answer");
        assert_eq!(ping_pong(&chains, 12, 999), 0);
        assert_eq!(ping_pong(&chains, 12, 3000), 3);
    }

    #[test]
    fn streams_and_fresh_questions_are_not_counted() {
        let chains = chains();
        for round in 0..1000 {
            let question = format!("q{round}");
            for token in 0..5 {
                let delta = answer(&format!("{round}/{token}"), &question);
                assert!(chains.follow(delta, two(BOB, ANN), || 0).is_ok());
            }
        }
        // A streamed answer to an answer counts once.
        chains.follow(answer("a", "q"), two(BOB, ANN), || 0).expect("an answer");
        for token in 0..1000 {
            assert!(chains.follow(answer(&format!("d{token}"), "a"), two(ANN, BOB), || 0).is_ok());
        }
    }

    #[test]
    fn ids_count_with_their_sender() {
        let chains = chains();
        // Both number their messages from one, and each answers the other's questions.
        for number in 1..1000 {
            let id = number.to_string();
            assert!(chains.follow(answer(&format!("r{id}"), &id), two(BOB, ANN), || 0).is_ok());
            assert!(chains.follow(answer(&format!("r{id}"), &id), two(ANN, BOB), || 0).is_ok());
        }
    }

    #[test]
    fn in_a_topic_all_answers_are_one_chain_also_when_they_double() {
        let chains = chains();
        let room = hash("topic:room");
        let mut alive = vec!["0".to_owned()];
        let mut passed = 0;
        for _ in 0..20 {
            let mut next = Vec::new();
            for asked in &alive {
                for who in ["x", "y"] {
                    let id = format!("{asked}{who}");
                    if chains.follow(answer(&id, asked), Between::Many { source: hash(who), place: room }, || 0).is_ok() {
                        passed += 1;
                        next.push(id);
                    }
                }
            }
            alive = next;
        }
        // Two ids that fall on one place of the table, by chance, begin the chain anew. Without a
        // limit it would be two millions.
        assert!(alive.is_empty() && passed <= 10 * (2 + 2 * 10), "{passed}");
    }

    #[test]
    fn without_a_limit_nothing_is_kept() {
        let chains = Chains::new(Rate::UNLIMITED);
        assert_eq!(ping_pong(&chains, 1, 0), 1000);
        assert!(chains.answers.is_empty() && chains.chains.is_empty());
    }

    #[test]
    fn a_question_under_an_id_that_an_answer_had_begins_a_chain_of_its_own() {
        let (chains, room) = (chains(), hash("topic:room"));
        for _ in 0..1000 {
            let between = Between::Many { source: ANN, place: room };
            chains.follow(Trace { id: hash("5"), answers: None }, between, || 0).expect("a question");
            assert!(chains.follow(answer("5", "5"), Between::Many { source: BOB, place: room }, || 0).is_ok());
        }
    }

    proptest! {
        #[test]
        fn no_numbers_make_it_panic(id in any::<u64>(), to in any::<Option<u64>>(), source in any::<u64>(), other in any::<u64>()) {
            let chains = chains();
            for _ in 0..3 {
                let _ = chains.follow(Trace { id, answers: to }, Between::Two { source, target: other }, || u64::MAX);
                let _ = chains.follow(Trace { id, answers: to }, Between::Many { source, place: other }, || 0);
                let _ = chains.follow(Trace { id, answers: Some(id) }, Between::Two { source: other, target: source }, || 0);
            }
        }
    }
}
