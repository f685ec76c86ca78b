//! What receivers were given and have not confirmed. Pure.
//!
//! A receiver that does not acknowledge itself is asked by a ping that follows what it was given: its pong says that everything
//! before the ping has reached it. One ping at a time is under way to each.

use std::{collections::HashMap, sync::Arc};

use store::ChannelName;

use crate::routing::{ConnectionId, Peer};

/// Numbers up to which channels were given.
pub type Given = HashMap<ChannelName, u64>;

#[derive(Debug)]
struct Receiver {
    peer: Arc<Peer>,
    /// Given since the last mark.
    given: Given,
    /// Given before the mark that is under way.
    marked: Option<(u64, Given)>,
}

/// The receivers of one shard.
#[derive(Debug, Default)]
pub struct Marks {
    receivers: HashMap<ConnectionId, Receiver>,
    last: u64,
}

impl Marks {
    /// The receiver was given everything of a channel up to a number.
    pub fn on_given(&mut self, peer: &Arc<Peer>, channel: ChannelName, seq: u64) {
        let receiver = self.receivers.entry(peer.id).or_insert_with(|| Receiver {
            peer: Arc::clone(peer),
            given: Given::new(),
            marked: None,
        });
        let given = receiver.given.entry(channel).or_default();
        *given = seq.max(*given);
    }

    /// The receiver does not read the channel any more.
    pub fn forget(&mut self, receiver: ConnectionId, channel: &ChannelName) {
        if let Some(receiver) = self.receivers.get_mut(&receiver) {
            receiver.given.remove(channel);
            if let Some((_, given)) = &mut receiver.marked {
                given.remove(channel);
            }
        }
    }

    /// The receivers that are to be asked, each with the number of its mark. Forgets those that are gone: what a close discarded was
    /// not received.
    pub fn to_ask(&mut self) -> Vec<(Arc<Peer>, u64)> {
        self.receivers.retain(|_, receiver| {
            let link = &receiver.peer.link;
            let is_idle = receiver.given.is_empty() && receiver.marked.is_none();
            !is_idle && !link.is_over() && link.closing().is_none()
        });
        let mut asked = Vec::new();
        for receiver in self.receivers.values_mut().filter(|receiver| receiver.marked.is_none()) {
            self.last += 1;
            receiver.marked = Some((self.last, std::mem::take(&mut receiver.given)));
            asked.push((Arc::clone(&receiver.peer), self.last));
        }
        asked
    }

    /// The mark could not be sent.
    pub fn not_sent(&mut self, receiver: ConnectionId) {
        if let Some(receiver) = self.receivers.get_mut(&receiver)
            && let Some((_, marked)) = receiver.marked.take()
        {
            for (channel, seq) in marked {
                let given = receiver.given.entry(channel).or_default();
                *given = seq.max(*given);
            }
        }
    }

    /// The receiver answered a mark: what has reached it.
    pub fn confirmed(&mut self, receiver: ConnectionId, mark: u64) -> Option<(Arc<Peer>, Given)> {
        let receiver = self.receivers.get_mut(&receiver)?;
        let (_, given) = receiver.marked.take_if(|(under_way, _)| *under_way == mark)?;
        Some((Arc::clone(&receiver.peer), given))
    }

    /// Whether nothing waits to be confirmed.
    pub fn is_empty(&self) -> bool {
        self.receivers.is_empty()
    }
}
