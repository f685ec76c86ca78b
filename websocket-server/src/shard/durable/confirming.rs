//! Confirmations: what senders are told once the store has answered.

use std::{
    cell::Cell,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use common::message::SystemMessage;
use store::{Appended, Reply, StoreError};
use tokio::sync::mpsc;

use crate::{
    broker::Broker,
    durable::{Outstanding, refusal_of},
    peers::Peer,
    routing::Counters,
    statistics::SAMPLED,
};

/// A message on its way to the disk, and the sender that waits for its confirmation.
struct Unconfirmed {
    from: Arc<Peer>,
    id: String,
    message: Outstanding,
    committed: Reply<Vec<Appended>>,
    /// When it was dispatched, if its time is measured.
    measured_since: Option<Instant>,
}

/// The messages of a shard that the store has not answered for, in the order in which they were
/// given to it. Their number is bounded by the store's queue and one commit, with repetitions. A
/// sender that finds no place there is answered at once.
#[derive(Debug)]
pub(super) struct Confirmations {
    broker: Arc<Broker>,
    counters: Arc<Counters>,
    waiting: mpsc::UnboundedSender<Unconfirmed>,
    /// Messages since one was measured.
    unmeasured: Cell<u32>,
}

impl Confirmations {
    /// Starts to confirm. This runs beside the router and polls only the oldest message: the store
    /// answers in order, and should wake one task for a commit, not one for each of its messages.
    pub(super) fn start(broker: &Arc<Broker>, counters: &Arc<Counters>) -> Self {
        let (broker, counters) = (Arc::clone(broker), Arc::clone(counters));
        let (waiting, mut oldest) = mpsc::unbounded_channel::<Unconfirmed>();
        actix_rt::spawn({
            let (broker, counters) = (Arc::clone(&broker), Arc::clone(&counters));
            async move {
                while let Some(Unconfirmed { from, id, message, committed, measured_since }) = oldest.recv().await {
                    let answer = committed.await;
                    confirm(&broker, &counters, &from, &id, &message, answer);
                    observe(&broker, measured_since);
                }
            }
        });
        Self { broker, counters, waiting, unmeasured: Cell::new(0) }
    }

    /// Tells the sender of a message its outcome, once that is known.
    pub(super) fn wait_for(&self, from: Arc<Peer>, id: String, message: Outstanding, mut committed: Reply<Vec<Appended>>) {
        let measured_since = self.measured();
        // A refusal must not wait for those before it: as long as they wait, there would be ever
        // more of them.
        if let Poll::Ready(answer) = committed.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            confirm(&self.broker, &self.counters, &from, &id, &message, answer);
            observe(&self.broker, measured_since);
            return;
        }
        if self.waiting.send(Unconfirmed { from, id, message, committed, measured_since }).is_err() {
            tracing::error!("the task that confirms durable messages has ended");
        }
    }

    /// The time, for the first of every [`SAMPLED`] messages.
    fn measured(&self) -> Option<Instant> {
        let unmeasured = self.unmeasured.get();
        self.unmeasured.set((unmeasured + 1) % SAMPLED);
        (unmeasured == 0).then(Instant::now)
    }
}

fn observe(broker: &Broker, measured_since: Option<Instant>) {
    if let Some(since) = measured_since {
        broker.statistics.times.confirmation.observe(since.elapsed().as_secs_f64());
    }
}

/// Tells the sender the outcome of its message, and then everything else that it must be told about
/// it.
fn confirm(
    broker: &Broker,
    counters: &Counters,
    from: &Peer,
    id: &str,
    message: &Outstanding,
    answer: Result<Vec<Appended>, StoreError>,
) {
    let appended = answer.and_then(|answers| answers.into_iter().next().ok_or(StoreError::Invalid("no answer to a record")));
    match &appended {
        Ok(appended) => {
            let (channel, epoch) = (message.channel.to_string(), broker.channels.epoch().to_string());
            let (seq, duplicate) = (appended.seq(), matches!(appended, Appended::Duplicate { .. }));
            from.answer(&SystemMessage::Accepted { channel, epoch, seq, duplicate }, Some(id));
        }
        Err(error) => broker.refuse(counters, from, refusal_of(error), Some(id), None),
    }
    // After it: until then other threads hold back what they have to tell about the message.
    let owed = broker.channels.on_answer(message, &appended.as_ref().map(Appended::seq).map_err(Clone::clone));
    owed.iter().for_each(|notice| broker.send_notice(notice));
    if let Ok(Appended::Stored { evicted, .. }) = &appended {
        broker.on_dead_letters(evicted);
    }
}
