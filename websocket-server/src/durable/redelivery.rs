//! Redelivers messages that were not acknowledged in time, or were refused.

use std::{collections::BTreeMap, future::poll_fn, sync::Arc, task::Poll};

use common::timestamp::unix_ms;
use parking_lot::Mutex;
use store::{ChannelName, DeadLettered, DeadReason, Death, Delivered, Pending, StoreError};

use super::{ChannelMachine, Channels, channels::PENDING_PAGE, expiry::has_expired, redelivered};
use crate::peers::Peer;

/// Looking through an inbox: until this is dropped, no other task may.
struct Look(Arc<Mutex<ChannelMachine>>);

impl Look {
    fn begin(machine: Arc<Mutex<ChannelMachine>>) -> Option<Self> {
        let begun = machine.lock().begin_look();
        // Made only if this task has begun: a look ends where it is dropped.
        begun.then(|| Self(machine))
    }

    /// The first messages due after a number, and the readers that must get them. While one
    /// connection may still acknowledge a message in time, no other gets it again, because one
    /// acknowledgement is enough. Only connections that refused it get it earlier.
    async fn due_after(&self, inbox: &ChannelName, after: u64) -> BTreeMap<u64, Vec<Arc<Peer>>> {
        let readers = self.0.lock().explicit_readers();
        let mut due: BTreeMap<u64, Vec<Arc<Peer>>> = BTreeMap::new();
        for peer in &readers {
            // A choked reader is not waited for: it gets the message when it reads again.
            let is_open = poll_fn(|task| Poll::Ready(peer.link.poll_open(task).is_ready())).await;
            if !is_open || !peer.window.has_room(1) {
                continue;
            }
            for message in peer.due(inbox, after, PENDING_PAGE) {
                if message.is_refused || !readers.iter().any(|other| other.awaits(inbox, message.seq)) {
                    due.entry(message.seq).or_default().push(Arc::clone(peer));
                }
            }
        }
        while due.len() > PENDING_PAGE {
            due.pop_last();
        }
        let machine = self.0.lock();
        due.retain(|seq, _| !machine.is_on_its_way(*seq));
        due
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.0.lock().end_look();
    }
}

/// Redelivers due messages to all connections that hold them, as one delivery. Moves those that
/// were delivered too often to the dead letters, and passes them to `on_dead`. Does nothing while
/// another thread does the same.
///
/// # Errors
/// Those of the store. Messages that were not redelivered stay due.
pub async fn redeliver(channels: &Channels, inbox: &ChannelName, on_dead: impl Fn(&[DeadLettered])) -> Result<(), StoreError> {
    let Some(look) = Look::begin(channels.machine(inbox)) else { return Ok(()) };
    let mut after = 0;
    loop {
        let mut due = look.due_after(inbox, after).await;
        let (Some(first), Some(last)) = (due.keys().next().copied(), due.keys().next_back().copied()) else { return Ok(()) };
        let mut page = channels.pending_after(inbox, first - 1, PENDING_PAGE, u64::MAX).await?;
        after = page.last().map_or(last, |pending| pending.record.seq.min(last));
        // The next round finds those beyond the page.
        due.retain(|seq, _| *seq <= after);
        page.retain(|pending| due.contains_key(&pending.record.seq));
        // A message that no longer waits was acknowledged or removed.
        let waits = |seq: &u64| page.iter().any(|pending| pending.record.seq == *seq);
        let gone: Vec<u64> = due.keys().filter(|seq| !waits(seq)).copied().collect();
        channels.free_places(inbox, &gone);
        let (page, dead) = channels.bury_spent(inbox, page).await;
        on_dead(&dead);
        if !give(channels, inbox, page, due).await? {
            return Ok(());
        }
    }
}

/// Gives a page of messages again, each to these readers. `false`: a message found no room
/// anywhere.
async fn give(
    channels: &Channels,
    inbox: &ChannelName,
    mut page: Vec<Pending>,
    mut readers: BTreeMap<u64, Vec<Arc<Peer>>>,
) -> Result<bool, StoreError> {
    let before = page.len();
    page.retain(|pending| {
        readers.get_mut(&pending.record.seq).is_some_and(|readers| {
            readers.retain(|peer| peer.window.has_room(pending.record.frame.len()));
            !readers.is_empty()
        })
    });
    let had_room = page.len() == before;
    if page.is_empty() {
        return Ok(had_room);
    }
    // Noted first: a message that turns out not to have been delivered is better marked than one
    // that comes twice unmarked.
    let attempts = page.iter().map(|pending| (pending.record.seq, pending.attempts + 1));
    channels.mark_delivered(inbox, attempts).await?;
    let mut not_given = Vec::new();
    for pending in page {
        let (seq, wait) = (pending.record.seq, channels.wait_after(pending.attempts + 1));
        let frame = redelivered(&pending.record.frame, pending.attempts);
        let mut readers = readers.remove(&seq).unwrap_or_default();
        readers.retain(|_| !has_expired(pending.record.expires_at));
        let given = readers.iter().filter(|peer| peer.hand_again(inbox, seq, wait, frame.clone()).is_queued()).count();
        if given == 0 {
            not_given.push(Delivered { channel: inbox.clone(), seq, attempt: pending.attempts, next_due: pending.due_at });
        }
    }
    if not_given.is_empty() {
        return Ok(had_room);
    }
    channels.store().mark_delivered(not_given).await?;
    Ok(false)
}

impl Channels {
    /// Moves what has expired or was delivered too often to the dead letters. Returns the rest of a
    /// page, and what was moved.
    pub(super) async fn bury_spent(&self, inbox: &ChannelName, page: Vec<Pending>) -> (Vec<Pending>, Vec<DeadLettered>) {
        let is_spent = |pending: &Pending| pending.attempts >= self.max_deliveries();
        self.bury(inbox, page, |pending| expiry_of(pending).or(is_spent(pending).then_some(DeadReason::MaxDeliveries))).await
    }

    /// Moves what has expired to the dead letters. Returns the rest of a page, and what was moved.
    pub(super) async fn bury_expired(&self, inbox: &ChannelName, page: Vec<Pending>) -> (Vec<Pending>, Vec<DeadLettered>) {
        self.bury(inbox, page, expiry_of).await
    }

    async fn bury(
        &self,
        inbox: &ChannelName,
        page: Vec<Pending>,
        reason_of: impl Fn(&Pending) -> Option<DeadReason>,
    ) -> (Vec<Pending>, Vec<DeadLettered>) {
        let (mut left, mut dead) = (Vec::with_capacity(page.len()), Vec::new());
        for pending in page {
            let Some(reason) = reason_of(&pending) else {
                left.push(pending);
                continue;
            };
            let death = Death { reason, detail: pending.reason.clone(), at: unix_ms() };
            match self.store().dead_letter(inbox.clone(), pending.record.seq, death).await {
                Ok(moved) => dead.extend(moved),
                Err(error) => {
                    tracing::debug!(channel = %inbox, %error, "a message was not moved to the dead letters");
                    // Stored messages are delivered also while nothing can be written, but for
                    // those that have expired.
                    if reason != DeadReason::Expired {
                        left.push(pending);
                    }
                }
            }
        }
        (left, dead)
    }
}

fn expiry_of(pending: &Pending) -> Option<DeadReason> {
    has_expired(pending.record.expires_at).then_some(DeadReason::Expired)
}
