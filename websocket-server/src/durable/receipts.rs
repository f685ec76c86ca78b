//! Senders that asked for receipts: when their message is delivered and acknowledged.
//!
//! Kept in memory, by the channel and number of the message. After a restart the messages
//! themselves say it again when they are read. At the bound the oldest request is forgotten: a
//! receipt that never comes means nothing. A request lasts as long as its message waits, and is
//! charged to its sender with the message. So the quotas of stored messages divide the table among
//! senders.

use common::{envelope::Envelope, message::SystemMessage};
use foldhash::fast::RandomState;
use hashlink::LinkedHashMap;
use parking_lot::Mutex;
use store::{ChannelName, Record};

/// The most requests.
const MOST: usize = 262_144;

type Key = (ChannelName, u64);

/// Whom to tell, and the message's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The sender's address.
    pub source: String,
    /// The message's id.
    pub message_id: String,
}

/// A request, and whether its sender was told of the delivery.
#[derive(Debug)]
struct Wanted {
    wish: Wish,
    is_delivered: bool,
}

/// What the sender of a message is told about it, besides that it is stored.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The sender's address.
    pub to: String,
    /// The message's id.
    pub correlation_id: String,
    /// The content of the receipt.
    pub message: SystemMessage,
}

/// The requests of all senders.
#[derive(Debug, Default)]
pub struct Receipts(Mutex<Wishes>);

/// In the order in which they were made.
#[derive(Debug, Default)]
struct Wishes(LinkedHashMap<Key, Wanted, RandomState>);

impl Wishes {
    /// Remembers a request, unless it is known.
    fn insert(&mut self, key: Key, wanted: Wanted) {
        if self.0.contains_key(&key) {
            return;
        }
        self.0.insert(key, wanted);
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }
}

impl Receipts {
    /// The sender of a message asked for receipts.
    pub fn want(&self, channel: &ChannelName, seq: u64, source: &str, message_id: &str) {
        let wish = Wish { source: source.to_owned(), message_id: message_id.to_owned() };
        self.0.lock().insert((channel.clone(), seq), Wanted { wish, is_delivered: false });
    }

    /// A stored message is delivered: its sender may have asked for receipts in an earlier life of
    /// the process. `is_delivered`: the message was delivered before.
    pub fn recall(&self, channel: &ChannelName, record: &Record, is_delivered: bool) {
        let frame = String::from_utf8_lossy(&record.frame);
        if frame.contains("\"receipt\"") && Envelope::parse(&frame, usize::MAX).is_ok_and(|envelope| envelope.receipt) {
            let wish = Wish { source: record.source.clone(), message_id: record.message_id.clone() };
            self.0.lock().insert((channel.clone(), record.seq), Wanted { wish, is_delivered });
        }
    }

    /// A message is delivered. Returns who asked for receipts of it, but only once.
    pub fn delivered(&self, channel: &ChannelName, seq: u64) -> Option<Wish> {
        let mut wishes = self.0.lock();
        if wishes.0.is_empty() {
            return None;
        }
        let wanted = wishes.0.get_mut(&(channel.clone(), seq))?;
        let is_told = std::mem::replace(&mut wanted.is_delivered, true);
        (!is_told).then(|| wanted.wish.clone())
    }

    /// The last receipt of a message was sent. Returns who asked for it.
    pub fn forget(&self, channel: &ChannelName, seq: u64) -> Option<Wish> {
        let mut wishes = self.0.lock();
        if wishes.0.is_empty() {
            return None;
        }
        wishes.0.remove(&(channel.clone(), seq)).map(|wanted| wanted.wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_remembered_until_the_last_word() {
        let (receipts, channel) = (Receipts::default(), ChannelName::parse("agent:a").expect("a channel"));
        assert_eq!(receipts.delivered(&channel, 1), None);
        receipts.want(&channel, 1, "agent:s", "m1");
        let wish = Wish { source: "agent:s".into(), message_id: "m1".into() };
        assert_eq!(receipts.delivered(&channel, 1), Some(wish.clone()));
        receipts.want(&channel, 1, "agent:s", "m1");
        assert_eq!(receipts.delivered(&channel, 1), None, "the delivery is told once");
        assert_eq!(receipts.forget(&channel, 1), Some(wish));
        assert_eq!(receipts.forget(&channel, 1), None);
    }

    #[test]
    fn the_oldest_is_forgotten_at_the_bound() {
        let (receipts, channel) = (Receipts::default(), ChannelName::parse("agent:a").expect("a channel"));
        for seq in 0..=MOST as u64 {
            receipts.want(&channel, seq, "agent:s", "m");
        }
        assert_eq!(receipts.delivered(&channel, 0), None);
        assert!(receipts.delivered(&channel, 1).is_some());
    }

    #[test]
    fn requests_that_were_fulfilled_push_nobodys_out() {
        let (receipts, channel) = (Receipts::default(), ChannelName::parse("agent:a").expect("a channel"));
        receipts.want(&channel, 0, "agent:honest", "m");
        for seq in 1..=2 * MOST as u64 {
            receipts.want(&channel, seq, "session:busy", "m");
            assert!(receipts.forget(&channel, seq).is_some());
        }
        assert!(receipts.delivered(&channel, 0).is_some());
    }
}
