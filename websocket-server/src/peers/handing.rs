//! How the messages of inboxes are handed to a connection, and how their places become free. Only a
//! connection with `ack=explicit` has a [`Hand`]; to any other as much is given as its window
//! takes.

use std::time::Duration;

use common::timestamp::millis;
use store::{Ack, ChannelName};
use transport::{Frame, Lane, Sent, clock::now_ms};

use super::{
    Peer,
    hand::{Due, Hand},
};

/// How long to wait for a place before checking that the reader is still connected.
const PLACE_WAIT: Duration = Duration::from_secs(5);

impl Peer {
    /// Gives it a message of an inbox, whose acknowledgement may take `wait` milliseconds.
    /// `Dropped`: it has no place for it, or no room.
    pub(crate) fn hand_out(&self, inbox: &ChannelName, seq: u64, wait: u64, lane: Lane, frame: Frame) -> Sent {
        let Some(hand) = &self.hand else { return self.give(lane, frame) };
        let (mut hand, now) = (hand.lock(), now_ms());
        if hand.room(now) == 0 {
            return Sent::Dropped;
        }
        let sent = self.give(lane, frame);
        if sent.is_queued() {
            hand.take(inbox, seq, now, wait);
        }
        sent
    }

    /// Gives it a message again that it was handed before. `Gone`: it has acknowledged it
    /// meanwhile.
    pub(crate) fn hand_again(&self, inbox: &ChannelName, seq: u64, wait: u64, frame: Frame) -> Sent {
        let Some(hand) = &self.hand else { return Sent::Gone };
        let mut hand = hand.lock();
        if !hand.knows(inbox, seq) {
            return Sent::Gone;
        }
        let sent = self.give(Lane::Normal, frame);
        if sent.is_queued() {
            hand.take_again(inbox, seq, now_ms(), wait);
        }
        sent
    }

    /// How many messages of inboxes may be handed to it now.
    pub(crate) fn places(&self) -> usize {
        self.hand.as_ref().map_or(usize::MAX, |hand| hand.lock().room(now_ms()))
    }

    /// Waits until it has a place for a message, or a while: who waits looks again.
    pub(crate) async fn wait_for_place(&self) {
        // Before the look: the acknowledgement that frees a place may come right after it.
        let freed = self.room_made();
        if self.places() == 0 {
            let _ = tokio::time::timeout(PLACE_WAIT, freed).await;
        }
    }

    /// Works on its hand, if it has one, in a way that may free places.
    fn change_hand(&self, change: impl FnOnce(&mut Hand)) {
        if let Some(hand) = &self.hand {
            change(&mut hand.lock());
            self.make_room();
        }
    }

    /// It has acknowledged or refused something: it goes on working.
    pub(crate) fn goes_on(&self) {
        if let Some(hand) = &self.hand {
            hand.lock().goes_on(now_ms());
        }
    }

    /// Its acknowledgement is stored.
    pub(crate) fn settle(&self, inbox: &ChannelName, ack: &Ack) {
        self.change_hand(|hand| hand.settle(inbox, ack));
    }

    /// Messages of an inbox are acknowledged or gone.
    pub(crate) fn free_places(&self, inbox: &ChannelName, seqs: &[u64]) {
        self.change_hand(|hand| {
            for seq in seqs {
                hand.release(inbox, *seq);
            }
        });
    }

    /// It has refused a message, and wants it again after `delay`.
    pub(crate) fn refuse_in_hand(&self, inbox: &ChannelName, seq: u64, delay: Duration) {
        let due = now_ms().saturating_add(millis(delay));
        self.change_hand(|hand| hand.refuse(inbox, seq, due));
    }

    /// It needs so much longer for a message. Says whether it holds the message.
    pub(crate) fn extend(&self, inbox: &ChannelName, seq: u64, by: Duration) -> bool {
        let until = now_ms().saturating_add(millis(by));
        self.hand.as_ref().is_some_and(|hand| hand.lock().extend(inbox, seq, until))
    }

    /// The messages up to a number that it has refused and waits for, in these inboxes and in
    /// order.
    pub(crate) fn refused_through(&self, inboxes: &[ChannelName], last: u64) -> Vec<u64> {
        let Some(hand) = &self.hand else { return Vec::new() };
        let hand = hand.lock();
        let mut refused: Vec<u64> = inboxes.iter().flat_map(|inbox| hand.refused_through(inbox, last)).collect();
        refused.sort_unstable();
        refused
    }

    /// Whether it has refused messages that it waits for.
    pub(crate) fn waits_for_refused(&self) -> bool {
        self.hand.as_ref().is_some_and(|hand| hand.lock().has_refused())
    }

    /// Messages of an inbox after a number that are to be handed to it again, the first so many.
    pub(crate) fn due(&self, inbox: &ChannelName, after: u64, limit: usize) -> Vec<Due> {
        self.hand.as_ref().map_or_else(Vec::new, |hand| hand.lock().due(inbox, after, now_ms(), limit))
    }

    /// Whether it was handed a message and may still acknowledge it in time.
    pub(crate) fn awaits(&self, inbox: &ChannelName, seq: u64) -> bool {
        self.hand.as_ref().is_some_and(|hand| hand.lock().awaits(inbox, seq, now_ms()))
    }

    /// How long until something of an inbox is to be handed to it again; `None` if it holds
    /// nothing.
    pub(crate) fn next_due(&self, inbox: &ChannelName) -> Option<Duration> {
        let due = self.hand.as_ref()?.lock().next_due(inbox)?;
        Some(Duration::from_millis(due.saturating_sub(now_ms())))
    }
}
