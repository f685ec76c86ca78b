//! What senders are told once the store has answered for their messages.

use std::sync::Arc;

use common::message::SystemMessage;
use store::{Appended, Reply};
use tokio::sync::mpsc;

use crate::{
    broker::Broker,
    durable::{Confirm, SettledMessage},
    routing::{Counters, Peer},
};

/// A message on its way to the disk, and who waits for its confirmation.
struct Unconfirmed {
    from: Arc<Peer>,
    id: String,
    message: SettledMessage,
    committed: Reply<Vec<Appended>>,
}

/// The messages of a shard that the store has not answered for, in the order in which they were given to it. As many as the store's line
/// holds at most: who finds no place there is refused, with an answer that is there at once.
#[derive(Debug)]
pub(super) struct Confirmations(mpsc::UnboundedSender<Unconfirmed>);

impl Confirmations {
    /// Starts to confirm. Runs beside the router, and looks at the oldest message alone: the store answers in order, and is to wake one task
    /// for a commit, not one for each of its messages.
    pub(super) fn start(broker: Arc<Broker>, counters: Arc<Counters>) -> Self {
        let (sender, mut waiting) = mpsc::unbounded_channel::<Unconfirmed>();
        actix_rt::spawn(async move {
            while let Some(Unconfirmed { from, id, message, committed }) = waiting.recv().await {
                let answer = committed.await;
                if let Ok([Appended::Stored { evicted, .. }, ..]) = answer.as_deref() {
                    broker.on_dead_letters(evicted);
                }
                match broker.channels.settle(&message, answer) {
                    Confirm::Stored { seq, duplicate } => {
                        let (channel, epoch) = (message.channel.to_string(), broker.channels.epoch().to_string());
                        from.answer(&SystemMessage::Accepted { channel, epoch, seq, duplicate }, Some(&id));
                    }
                    Confirm::Failed(code) => broker.refuse(&counters, &from, code.into(), Some(&id), None),
                }
            }
        });
        Self(sender)
    }

    pub(super) fn wait_for(&self, from: Arc<Peer>, id: String, message: SettledMessage, committed: Reply<Vec<Appended>>) {
        // Its task ends with the thread, and then nobody is left to be told.
        let _ = self.0.send(Unconfirmed { from, id, message, committed });
    }
}
