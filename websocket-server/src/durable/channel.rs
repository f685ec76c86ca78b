//! One channel in use: its newest number, its tail, and which receivers are behind. Pure.
//!
//! A receiver is *live* unless it is listed as behind. A reader is behind after it connects,
//! resumes, or lags. It gets nothing live: it reads the store up to a mark, then takes the tail,
//! and is live again. The order between stored and live messages is kept, because both steps happen
//! under the channel's lock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use foldhash::HashMap;
use transport::{Frame, Link};

use super::Notice;
use crate::peers::{ConnectionId, Peer};

/// The next step of a receiver that reads what is pending.
#[derive(Debug, PartialEq, Eq)]
pub enum CatchUpStep {
    /// Something was committed since the read began: continue.
    ReadOn {
        /// Everything up to this number is in the store.
        through: u64,
    },
    /// These are still on their way to the disk: after them the receiver is live.
    GoLive(Vec<OnItsWay>),
}

/// A message on its way to the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnItsWay {
    /// Its number.
    pub seq: u64,
    /// The message.
    pub frame: Frame,
    /// Whether a receiver has got it.
    pub is_given: bool,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
}

/// The machine.
#[derive(Debug, Default)]
pub struct ChannelMachine {
    /// The newest number; `None` until the store was asked.
    head: Option<u64>,
    /// Its value when the store was asked.
    first_head: u64,
    /// Everything up to here is in the store, except for the tail and messages that were given up.
    committed: u64,
    /// The tail: messages on their way to the disk.
    tail: BTreeMap<u64, OnItsWay>,
    /// Notices for senders of messages in the tail, held back until the senders know that these are
    /// stored.
    owed: HashMap<u64, Vec<Notice>>,
    /// Everything up to here was handed to a receiver, or was acknowledged. What earlier lives of
    /// the process handed out is unknown.
    handed_out: u64,
    /// Receivers that get nothing live, each with the turn of its newest catch-up, which ends older
    /// ones.
    behind: HashMap<ConnectionId, u64>,
    turns: u64,
    /// The inbox is being checked for messages to deliver again.
    is_looked_through: bool,
    /// Of an inbox: the connections with explicit acknowledgement that were handed messages.
    explicit_readers: Vec<Weak<Peer>>,
    begun: Begun,
}

/// The message with which catch-ups have begun.
#[derive(Debug, Default)]
struct Begun {
    /// The first message of the last catch-up.
    with: u64,
    /// How many in a row have begun with it, each after the connection of the former one had ended.
    times: u32,
    /// Its receiver.
    by: Weak<Link>,
}

impl ChannelMachine {
    /// Whether the newest number is known.
    pub fn is_loaded(&self) -> bool {
        self.head.is_some()
    }

    /// Sets the newest number, as the store reports it.
    pub fn load(&mut self, head: u64) {
        if self.head.is_none() {
            self.head = Some(head);
            self.first_head = head;
            self.committed = head;
        }
    }

    /// The newest number, as far as it is known.
    pub fn head(&self) -> u64 {
        self.head.unwrap_or(0)
    }

    /// The newest number when the channel came into use.
    pub fn first_head(&self) -> u64 {
        self.first_head
    }

    /// Takes the next message's number; returns the number before it.
    pub fn push(&mut self, seq: u64) -> u64 {
        self.head.replace(seq).unwrap_or(0)
    }

    /// The message is on its way to the disk.
    pub fn sent_to_disk(&mut self, message: OnItsWay) {
        if message.is_given {
            self.on_handed_out(message.seq);
        }
        self.tail.insert(message.seq, message);
    }

    /// A receiver has got a message that may still be on its way to the disk.
    pub fn given(&mut self, seq: u64) {
        self.on_handed_out(seq);
        if let Some(message) = self.tail.get_mut(&seq) {
            message.is_given = true;
        }
    }

    /// Everything up to a number was handed to a receiver.
    pub fn on_handed_out(&mut self, through: u64) {
        self.handed_out = self.handed_out.max(through);
    }

    /// Up to which number everything was handed out, as far as is known.
    pub fn handed_out(&self) -> u64 {
        self.handed_out
    }

    /// Whether a message is on its way to the disk.
    pub fn is_on_its_way(&self, seq: u64) -> bool {
        self.tail.contains_key(&seq)
    }

    /// This number, or the one before the first message of the tail that nobody has got.
    pub fn without_tail(&self, through: u64) -> u64 {
        let unseen = self.tail.values().find(|message| !message.is_given);
        unseen.map_or(through, |message| through.min(message.seq - 1))
    }

    /// Holds back a notice about a message until its sender was told that the message is stored.
    /// Returns the notice if the sender knows that already.
    pub fn hold(&mut self, seq: u64, notice: Notice) -> Option<Notice> {
        if !self.tail.contains_key(&seq) {
            return Some(notice);
        }
        self.owed.entry(seq).or_default().push(notice);
        None
    }

    /// The message is in the store, and so is every earlier one that the store has accepted. To be
    /// called when its sender knows it. Returns the held-back notices about the message.
    pub fn stored(&mut self, seq: u64) -> Vec<Notice> {
        self.tail.remove(&seq);
        self.committed = self.committed.max(seq);
        self.take_owed(seq)
    }

    /// The store refused the message. That says nothing about earlier ones: they may still wait in
    /// its line.
    pub fn given_up(&mut self, seq: u64) {
        self.tail.remove(&seq);
        self.take_owed(seq);
    }

    fn take_owed(&mut self, seq: u64) -> Vec<Notice> {
        if self.owed.is_empty() { Vec::new() } else { self.owed.remove(&seq).unwrap_or_default() }
    }

    /// The receiver gets nothing live until it has caught up, and its earlier catch-up ends.
    /// Returns the turn of the new one.
    pub fn fall_behind(&mut self, receiver: ConnectionId) -> u64 {
        self.turns += 1;
        self.behind.insert(receiver, self.turns);
        self.turns
    }

    /// The turn of a receiver's newest catch-up; `None` if it is not behind.
    pub fn turn_of(&self, receiver: ConnectionId) -> Option<u64> {
        self.behind.get(&receiver).copied()
    }

    /// A catch-up begins with this message, the first unacknowledged one. Returns how many in a row
    /// did so before and ended with their connections. If several connections read an inbox at
    /// once, none of them was ended by it.
    pub fn begin_with(&mut self, seq: u64, by: &Arc<Link>) -> u32 {
        let Begun { with, times, by: last } = &self.begun;
        let is_over = last.upgrade().is_none_or(|link| link.is_over());
        let ended = match *with == seq {
            true if is_over => *times,
            true => times.saturating_sub(1),
            false => 0,
        };
        self.begun = Begun { with: seq, times: ended.saturating_add(1), by: Arc::downgrade(by) };
        ended
    }

    /// Begins to check what must be delivered again. Returns whether nobody else does.
    pub fn begin_look(&mut self) -> bool {
        !std::mem::replace(&mut self.is_looked_through, true)
    }

    /// The check is finished.
    pub fn end_look(&mut self) {
        self.is_looked_through = false;
    }

    /// A connection with explicit acknowledgement is about to be handed messages of the inbox.
    pub fn add_explicit_reader(&mut self, peer: &Arc<Peer>) {
        if !self.explicit_readers.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(peer))) {
            self.explicit_readers.retain(|known| known.strong_count() > 0);
            self.explicit_readers.push(Arc::downgrade(peer));
        }
    }

    /// Those of the connections that still exist.
    pub fn explicit_readers(&self) -> Vec<Arc<Peer>> {
        let there = self.explicit_readers.iter().filter_map(Weak::upgrade);
        there.filter(|peer| !peer.link.is_over()).collect()
    }

    /// Whether the receiver gets messages live.
    pub fn is_live(&self, receiver: ConnectionId) -> bool {
        !self.behind.contains_key(&receiver)
    }

    /// The receiver has gone.
    pub fn forget(&mut self, receiver: ConnectionId) {
        self.behind.remove(&receiver);
    }

    /// Everything up to this number can be read from the store.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Whether a message of this number was accepted, and the store may not have it yet. It then
    /// says nothing of a receiver that has got it: a new channel is unknown to the store until its
    /// first message is stored.
    pub fn may_be_unstored(&self, seq: u64) -> bool {
        seq > self.committed && seq <= self.head()
    }

    /// The receiver has got everything pending up to `through`, the last of it `given`. Returns the
    /// next step.
    pub fn caught_up(&mut self, receiver: ConnectionId, through: u64, given: u64) -> CatchUpStep {
        if self.committed > through {
            return CatchUpStep::ReadOn { through: self.committed };
        }
        self.behind.remove(&receiver);
        CatchUpStep::GoLive(self.tail.range(through.max(given) + 1..).map(|(_, message)| message.clone()).collect())
    }

    /// Whether the tail is empty.
    pub fn is_all_stored(&self) -> bool {
        self.tail.is_empty()
    }

    /// Whether the channel is idle: no tail, no receiver behind, no check.
    pub fn is_quiet(&self) -> bool {
        self.tail.is_empty() && self.behind.is_empty() && !self.is_looked_through
    }

    /// Whether it is unused: it is idle, and no reader holds a message.
    pub fn is_idle(&self) -> bool {
        self.is_quiet() && self.explicit_readers.iter().all(|known| known.strong_count() == 0)
    }
}

#[cfg(test)]
mod tests {
    use common::{config::Settings, message::SystemMessage};

    use super::*;

    fn message(seq: u64) -> OnItsWay {
        OnItsWay { seq, frame: Frame::text(&seq.to_string()), is_given: false, expires_at: None }
    }

    fn send(inbox: &mut ChannelMachine, seq: u64) -> u64 {
        let prev = inbox.push(seq);
        inbox.sent_to_disk(message(seq));
        prev
    }

    #[test]
    fn each_message_names_the_one_before() {
        let mut inbox = ChannelMachine::default();
        assert!(!inbox.is_loaded());
        inbox.load(5);
        assert_eq!((send(&mut inbox, 9), send(&mut inbox, 12)), (5, 9));
    }

    #[test]
    fn a_receiver_reads_on_while_commits_overtake_it_and_takes_the_tail_last() {
        let (mut inbox, receiver) = (ChannelMachine::default(), ConnectionId::next());
        inbox.load(0);
        let first = inbox.fall_behind(receiver);
        let second = inbox.fall_behind(receiver);
        assert_ne!(first, second);
        assert_eq!(inbox.turn_of(receiver), Some(second));
        send(&mut inbox, 1);
        send(&mut inbox, 2);
        send(&mut inbox, 3);
        inbox.stored(1);
        assert_eq!(inbox.caught_up(receiver, 0, 0), CatchUpStep::ReadOn { through: 1 });
        assert!(!inbox.is_live(receiver));
        assert_eq!(inbox.caught_up(receiver, 1, 1), CatchUpStep::GoLive(vec![message(2), message(3)]));
        assert!(inbox.is_live(receiver));
        inbox.stored(2);
        inbox.stored(3);
        assert!(inbox.is_idle());
    }

    #[test]
    fn stored_messages_are_not_read_from_the_tail_again() {
        let (mut inbox, receiver) = (ChannelMachine::default(), ConnectionId::next());
        inbox.load(0);
        inbox.fall_behind(receiver);
        send(&mut inbox, 1);
        send(&mut inbox, 2);
        inbox.stored(2);
        // Commits take effect in order, though their answers may not come in order: 1 could be
        // read.
        assert_eq!(inbox.caught_up(receiver, 2, 2), CatchUpStep::GoLive(vec![]));
    }

    #[test]
    fn resumptions_that_begin_with_the_same_message_are_counted() {
        let mut inbox = ChannelMachine::default();
        let policy = crate::links::link_policy(&Settings::for_tests());
        let mut begin = |seq| inbox.begin_with(seq, &Link::new(Arc::clone(&policy)));
        assert_eq!([5, 5, 5, 6, 5].map(&mut begin), [0, 1, 2, 0, 0]);
        // All of these are connected at once.
        let open = [(); 5].map(|()| Link::new(Arc::clone(&policy)));
        assert_eq!(open.each_ref().map(|link| inbox.begin_with(5, link)), [1, 1, 1, 1, 1]);
        drop(open);
        assert_eq!(inbox.begin_with(5, &Link::new(policy)), 2);
    }

    #[test]
    fn a_message_that_no_reader_was_given_was_not_delivered() {
        let mut inbox = ChannelMachine::default();
        inbox.load(4);
        inbox.on_handed_out(3);
        let mut send = |seq, is_given| {
            inbox.push(seq);
            inbox.sent_to_disk(OnItsWay { seq, frame: Frame::text("{}"), is_given, expires_at: None });
            (inbox.handed_out(), inbox.without_tail(10))
        };
        assert_eq!([send(5, true), send(7, false), send(9, false)], [(5, 10), (5, 6), (5, 6)]);
        inbox.given(7);
        assert_eq!((inbox.handed_out(), inbox.without_tail(10), inbox.without_tail(6)), (7, 8, 6));
    }

    #[test]
    fn notices_of_a_message_are_held_until_its_sender_knows_that_it_is_stored() {
        let notice = |id: &str| Notice {
            to: "agent:s".to_owned(),
            correlation_id: id.to_owned(),
            message: SystemMessage::Delivered { channel: "agent:a".to_owned(), seq: 1 },
        };
        let mut inbox = ChannelMachine::default();
        inbox.load(0);
        assert!(inbox.hold(1, notice("of nothing")).is_some());
        send(&mut inbox, 1);
        send(&mut inbox, 2);
        for id in ["one", "other"] {
            assert!(inbox.hold(1, notice(id)).is_none());
        }
        assert!(inbox.hold(2, notice("lost")).is_none());
        inbox.given_up(2);
        let told: Vec<_> = inbox.stored(1).into_iter().map(|notice| notice.correlation_id).collect();
        assert_eq!(told, ["one", "other"]);
        assert!(inbox.hold(1, notice("at once")).is_some());
        assert!(inbox.owed.is_empty());
    }

    #[test]
    fn a_message_that_the_store_refuses_hides_no_earlier_one() {
        let (mut inbox, receiver) = (ChannelMachine::default(), ConnectionId::next());
        inbox.load(4);
        inbox.fall_behind(receiver);
        for seq in 5..=7 {
            send(&mut inbox, seq);
        }
        inbox.given_up(7);
        assert_eq!(inbox.caught_up(receiver, 4, 4), CatchUpStep::GoLive(vec![message(5), message(6)]));
    }
}
