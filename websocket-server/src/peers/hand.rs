//! What a connection with `ack=explicit` was handed and has not acknowledged. Pure.
//!
//! A hand has [`Prefetch`] places. A message takes a place when it is handed out, and frees it when
//! it is acknowledged. The time to acknowledge starts when the message is handed out, and starts
//! again with each acknowledgement of the connection. So a worker that takes one message after
//! another does not run out of time because of its own queue. In all it is at most the wait times
//! the number of places.
//!
//! A message that was refused (`message:nack`) is remembered without a place until it is due. Then
//! it goes before new messages.

use std::collections::{BTreeMap, BTreeSet};

use common::assertion::Prefetch;
use store::{Ack, ChannelName};

/// Refused messages that are remembered without a place. Further ones keep their place until they
/// are due.
const MOST_REFUSED: usize = Prefetch::GREATEST as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It takes a place.
    Handed,
    /// It takes no place.
    Refused,
    /// It takes a place, because too many were refused.
    RefusedInPlace,
}

/// One message. Times are milliseconds of one clock.
#[derive(Clone, Copy, Debug)]
struct Held {
    handed: u64,
    /// How long its acknowledgement may take.
    wait: u64,
    /// It is not due before: asked for by `message:extend` or `message:nack`.
    not_before: u64,
    stage: Stage,
}

/// A message that is to be handed out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its number.
    pub seq: u64,
    /// Whether the connection refused it, and did not just run out of time.
    pub is_refused: bool,
}

/// The hand of one connection.
#[derive(Debug)]
pub struct Hand {
    places: usize,
    taken: usize,
    /// Those without a place, by the time at which they are due. Numbers are unique across
    /// channels.
    refused: BTreeSet<(u64, u64)>,
    /// When the time to acknowledge last started again. In the future after `message:extend`.
    renewed: u64,
    held: BTreeMap<ChannelName, BTreeMap<u64, Held>>,
}

impl Hand {
    /// An empty hand.
    pub fn new(prefetch: Prefetch) -> Self {
        Self { places: prefetch.messages(), taken: 0, refused: BTreeSet::new(), renewed: 0, held: BTreeMap::new() }
    }

    /// How many new messages have a place now. Refused messages that are due go first.
    pub fn room(&self, now: u64) -> usize {
        let free = self.places.saturating_sub(self.taken);
        if free == 0 || self.refused.is_empty() {
            return free;
        }
        free - self.refused.range(..=(now, u64::MAX)).take(free).count()
    }

    /// Hands a new message out, whose acknowledgement may take `wait`. Says whether there was a
    /// place.
    pub fn take(&mut self, inbox: &ChannelName, seq: u64, now: u64, wait: u64) -> bool {
        if self.room(now) == 0 {
            return false;
        }
        self.release(inbox, seq);
        self.insert(inbox, seq, now, wait);
        true
    }

    /// A message that the hand knows was handed out again.
    pub fn take_again(&mut self, inbox: &ChannelName, seq: u64, now: u64, wait: u64) {
        if self.release(inbox, seq) {
            self.insert(inbox, seq, now, wait);
        }
    }

    fn insert(&mut self, inbox: &ChannelName, seq: u64, now: u64, wait: u64) {
        let held = Held { handed: now, wait, not_before: 0, stage: Stage::Handed };
        if let Some(messages) = self.held.get_mut(inbox) {
            messages.insert(seq, held);
        } else {
            self.held.insert(inbox.clone(), BTreeMap::from([(seq, held)]));
        }
        self.taken += 1;
    }

    /// The message is settled, or gone. Says whether the hand knew it.
    pub fn release(&mut self, inbox: &ChannelName, seq: u64) -> bool {
        let Some(held) = self.held.get_mut(inbox).and_then(|messages| messages.remove(&seq)) else { return false };
        match held.stage {
            Stage::Handed | Stage::RefusedInPlace => self.taken -= 1,
            Stage::Refused => drop(self.refused.remove(&(held.not_before, seq))),
        }
        true
    }

    /// The connection has acknowledged messages of an inbox.
    pub fn settle(&mut self, inbox: &ChannelName, ack: &Ack) {
        let through_but = |last: u64, kept: &[u64]| -> Vec<u64> {
            let known = self.held.get(inbox).into_iter().flat_map(|messages| messages.range(..=last));
            known.map(|(seq, _)| *seq).filter(|seq| kept.binary_search(seq).is_err()).collect()
        };
        let through: Vec<u64>;
        let seqs = match ack {
            Ack::Each(seqs) => seqs,
            Ack::Through(last) => {
                through = through_but(*last, &[]);
                &through
            }
            Ack::ThroughBut { through: last, kept } => {
                through = through_but(*last, kept);
                &through
            }
            Ack::ThroughUnrefused(last) => {
                through = through_but(*last, &self.refused_through(inbox, *last));
                &through
            }
        };
        for seq in seqs {
            self.release(inbox, *seq);
        }
    }

    /// The connection acknowledged or refused something: the time of all others starts again.
    pub fn goes_on(&mut self, now: u64) {
        self.renewed = self.renewed.max(now);
    }

    /// The message was refused, and is wanted again at `due`. Its place is free.
    pub fn refuse(&mut self, inbox: &ChannelName, seq: u64, due: u64) {
        let Some(held) = self.held.get_mut(inbox).and_then(|messages| messages.get_mut(&seq)) else { return };
        if held.stage == Stage::Refused {
            self.refused.remove(&(held.not_before, seq));
        } else if self.refused.len() >= MOST_REFUSED {
            (held.stage, held.not_before) = (Stage::RefusedInPlace, due);
            return;
        } else {
            self.taken -= 1;
        }
        (held.stage, held.not_before) = (Stage::Refused, due);
        self.refused.insert((due, seq));
    }

    /// The refused messages of an inbox up to a number, in order. They are not held, so an
    /// acknowledgement of everything up to there is not about them.
    pub fn refused_through(&self, inbox: &ChannelName, last: u64) -> Vec<u64> {
        let known = self.held.get(inbox).into_iter().flat_map(|messages| messages.range(..=last));
        known.filter(|(_, held)| held.stage != Stage::Handed).map(|(seq, _)| *seq).collect()
    }

    /// Whether refused messages wait without a place.
    pub fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// The connection works on the message until then. The time of the others starts after that.
    /// Says whether the connection holds the message.
    pub fn extend(&mut self, inbox: &ChannelName, seq: u64, until: u64) -> bool {
        let held = self.held.get_mut(inbox).and_then(|messages| messages.get_mut(&seq));
        let Some(held) = held.filter(|held| held.stage == Stage::Handed) else { return false };
        held.not_before = held.not_before.max(until);
        self.renewed = self.renewed.max(until);
        true
    }

    fn due_of(&self, held: &Held) -> u64 {
        if held.stage != Stage::Handed {
            return held.not_before;
        }
        let longest = held.wait.saturating_mul(self.places as u64);
        let renewed = held.handed.max(self.renewed).saturating_add(held.wait);
        renewed.min(held.handed.saturating_add(longest)).max(held.not_before)
    }

    /// Whether the hand knows a message: it was handed out and is not settled.
    pub fn knows(&self, inbox: &ChannelName, seq: u64) -> bool {
        self.held.get(inbox).is_some_and(|messages| messages.contains_key(&seq))
    }

    /// Whether the connection was handed a message and may still acknowledge it in time.
    pub fn awaits(&self, inbox: &ChannelName, seq: u64, now: u64) -> bool {
        let held = self.held.get(inbox).and_then(|messages| messages.get(&seq));
        held.is_some_and(|held| held.stage == Stage::Handed && self.due_of(held) > now)
    }

    /// The first so many messages of an inbox after a number that are due now, in order. Of refused
    /// ones as many as have a place.
    pub fn due(&self, inbox: &ChannelName, after: u64, now: u64, limit: usize) -> Vec<Due> {
        let mut free = self.places.saturating_sub(self.taken);
        let messages = self.held.get(inbox).into_iter().flat_map(|messages| messages.range(after.saturating_add(1)..));
        let due = messages.filter(|(_, held)| {
            if self.due_of(held) > now {
                return false;
            }
            if held.stage != Stage::Refused {
                return true;
            }
            let has_place = free > 0;
            free = free.saturating_sub(1);
            has_place
        });
        due.take(limit).map(|(seq, held)| Due { seq: *seq, is_refused: held.stage != Stage::Handed }).collect()
    }

    /// When the first message of an inbox is due; `None` if the hand has none.
    pub fn next_due(&self, inbox: &ChannelName) -> Option<u64> {
        self.held.get(inbox)?.values().map(|held| self.due_of(held)).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inbox() -> ChannelName {
        ChannelName::parse("agent:a").expect("a channel")
    }

    fn hand(places: u16) -> Hand {
        Hand::new(Prefetch::new(places).expect("in bounds"))
    }

    impl Hand {
        fn all_due(&self, now: u64) -> Vec<u64> {
            self.due(&inbox(), 0, now, usize::MAX).into_iter().map(|due| due.seq).collect()
        }
    }

    #[test]
    fn a_serial_worker_is_never_cut_off_by_its_own_queue() {
        let (mut hand, inbox) = (hand(10), inbox());
        let (mut next, mut done) = (0, 0);
        for now in (0..20_000).step_by(200) {
            if next > done {
                hand.goes_on(now);
                hand.settle(&inbox, &Ack::Each(vec![done]));
                done += 1;
            }
            while next < 100 && hand.take(&inbox, next, now, 1000) {
                next += 1;
            }
            assert!(hand.all_due(now).is_empty(), "{now}");
            assert!(next - done <= 10);
        }
        assert!(done >= 99);
    }

    #[test]
    fn who_stops_is_given_the_wait_and_no_more() {
        let (mut hand, inbox) = (hand(2), inbox());
        assert!(hand.take(&inbox, 1, 0, 100) && hand.take(&inbox, 2, 0, 100) && !hand.take(&inbox, 3, 0, 100));
        hand.goes_on(60);
        assert!(hand.all_due(159).is_empty());
        assert_eq!(hand.all_due(160), [1, 2]);
        assert!(hand.awaits(&inbox, 1, 159) && !hand.awaits(&inbox, 1, 160));
        // However often it acknowledges others: two places, so twice the wait.
        hand.goes_on(190);
        assert_eq!(hand.next_due(&inbox), Some(200));
        hand.take_again(&inbox, 1, 200, 200);
        hand.settle(&inbox, &Ack::Each(vec![2]));
        assert_eq!(hand.next_due(&inbox), Some(400));
    }

    #[test]
    fn an_extension_prolongs_and_what_waits_behind_it_has_its_time_afterwards() {
        let (mut hand, inbox) = (hand(4), inbox());
        assert!(hand.take(&inbox, 1, 0, 100) && hand.take(&inbox, 2, 0, 100));
        assert!(hand.extend(&inbox, 1, 250) && hand.extend(&inbox, 1, 50) && !hand.extend(&inbox, 3, 500));
        assert_eq!((hand.all_due(349), hand.all_due(350)), (vec![], vec![1, 2]));
        // What is extended has its time, and the others not more than four waits.
        assert!(hand.extend(&inbox, 1, 900));
        assert_eq!((hand.all_due(400), hand.all_due(900)), (vec![2], vec![1, 2]));
    }

    #[test]
    fn what_was_refused_frees_its_place_and_goes_first_when_it_is_due() {
        let (mut hand, inbox) = (hand(1), inbox());
        assert!(hand.take(&inbox, 1, 0, 100));
        hand.refuse(&inbox, 1, 50);
        assert_eq!((hand.room(49), hand.room(50)), (1, 0));
        assert!(!hand.extend(&inbox, 1, 500), "it does not work on it");
        assert!(hand.take(&inbox, 2, 10, 100));
        assert!(hand.all_due(60).is_empty(), "there is no place");
        hand.settle(&inbox, &Ack::Each(vec![2]));
        assert_eq!(hand.due(&inbox, 0, 60, 9), [Due { seq: 1, is_refused: true }]);
        hand.settle(&inbox, &Ack::Through(2));
        assert_eq!((hand.next_due(&inbox), hand.room(60)), (None, 1));
    }

    #[test]
    fn refused_messages_are_bounded_and_further_ones_keep_their_place() {
        let (mut hand, inbox) = (hand(1), inbox());
        for seq in 0..MOST_REFUSED as u64 {
            assert!(hand.take(&inbox, seq, 0, 100));
            hand.refuse(&inbox, seq, 1000);
        }
        let last = MOST_REFUSED as u64;
        assert!(hand.take(&inbox, last, 0, 100));
        hand.refuse(&inbox, last, 500);
        assert_eq!((hand.room(0), hand.next_due(&inbox)), (0, Some(500)));
        assert_eq!(hand.due(&inbox, 0, 500, 9), [Due { seq: last, is_refused: true }]);
        hand.settle(&inbox, &Ack::Through(last));
        assert_eq!((hand.room(0), hand.refused.len(), hand.taken), (1, 0, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take(u64),
        Again(u64),
        Ack(u64),
        Through(u64),
        GoesOn,
        Refuse(u64, u64),
        Extend(u64, u64),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let seq = 1..8_u64;
        let step = prop_oneof![
            4 => seq.clone().prop_map(Step::Take),
            1 => seq.clone().prop_map(Step::Again),
            1 => seq.clone().prop_map(Step::Ack),
            1 => seq.clone().prop_map(Step::Through),
            1 => Just(Step::GoesOn),
            1 => (seq.clone(), 0..300_u64).prop_map(|(seq, by)| Step::Refuse(seq, by)),
            1 => (seq, 0..300_u64).prop_map(|(seq, by)| Step::Extend(seq, by)),
            1 => (0..120_u64).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// Of the naive model: a message with its times.
    #[derive(Clone, Copy)]
    struct Entry {
        seq: u64,
        handed: u64,
        not_before: u64,
        is_refused: bool,
    }

    proptest! {
        #[test]
        fn a_hand_does_what_a_plain_list_does(places in 1..4_u16, steps in steps()) {
            const WAIT: u64 = 100;
            let (mut hand, inbox) = (hand(places), inbox());
            let (mut list, mut renewed, mut now): (Vec<Entry>, u64, u64) = (Vec::new(), 0, 1);
            let places = u64::from(places);
            for step in steps {
                match step {
                    Step::Take(seq) => {
                        let full = list.iter().filter(|it| !it.is_refused || it.not_before <= now).count() as u64 >= places;
                        prop_assert_eq!(hand.take(&inbox, seq, now, WAIT), !full);
                        if !full {
                            list.retain(|entry| entry.seq != seq);
                            list.push(Entry { seq, handed: now, not_before: 0, is_refused: false });
                        }
                    }
                    Step::Again(seq) => {
                        hand.take_again(&inbox, seq, now, WAIT);
                        let again = Entry { seq, handed: now, not_before: 0, is_refused: false };
                        list.iter_mut().filter(|entry| entry.seq == seq).for_each(|entry| *entry = again);
                    }
                    Step::Ack(seq) => {
                        hand.settle(&inbox, &Ack::Each(vec![seq]));
                        list.retain(|entry| entry.seq != seq);
                    }
                    Step::Through(seq) => {
                        hand.settle(&inbox, &Ack::Through(seq));
                        list.retain(|entry| entry.seq > seq);
                    }
                    Step::GoesOn => {
                        hand.goes_on(now);
                        renewed = renewed.max(now);
                    }
                    Step::Refuse(seq, by) => {
                        hand.refuse(&inbox, seq, now + by);
                        for entry in list.iter_mut().filter(|entry| entry.seq == seq) {
                            (entry.not_before, entry.is_refused) = (now + by, true);
                        }
                    }
                    Step::Extend(seq, by) => {
                        let held = list.iter_mut().find(|entry| entry.seq == seq && !entry.is_refused);
                        prop_assert_eq!(hand.extend(&inbox, seq, now + by), held.is_some());
                        if let Some(entry) = held {
                            entry.not_before = entry.not_before.max(now + by);
                            renewed = renewed.max(now + by);
                        }
                    }
                    Step::Pass(by) => now += by,
                }
                let due_of = |entry: &Entry| match entry.is_refused {
                    true => entry.not_before,
                    false => (entry.handed.max(renewed) + WAIT).min(entry.handed + WAIT * places).max(entry.not_before),
                };
                list.sort_by_key(|entry| entry.seq);
                let taken = list.iter().filter(|entry| !entry.is_refused).count() as u64;
                let refused = list.iter().filter(|entry| entry.is_refused && due_of(entry) <= now);
                let mut with_place: Vec<u64> = refused.map(|entry| entry.seq).collect();
                with_place.truncate(places.saturating_sub(taken) as usize);
                let due = list.iter().filter(|entry| due_of(entry) <= now);
                let due: Vec<u64> =
                    due.filter(|it| !it.is_refused || with_place.contains(&it.seq)).map(|entry| entry.seq).collect();
                prop_assert_eq!(hand.all_due(now), due);
                prop_assert_eq!(hand.next_due(&inbox), list.iter().map(due_of).min());
            }
        }
    }
}
