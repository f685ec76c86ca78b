//! Gives a receiver what is pending in an inbox, in order, and then makes it live.

use std::{future::poll_fn, sync::Arc, time::Duration};

use store::{ChannelName, DeadLettered, DeadReason, Death, Pending, StoreError};
use transport::{Frame, Lane, Link, Sent};

use super::{Inboxes, inbox::Step, redelivered, unix_ms};
use crate::routing::Peer;

/// How long to wait for a reader whose outbox is full.
const FULL_OUTBOX_WAIT: Duration = Duration::from_millis(20);
/// How long to wait between two rounds of reading.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(1);
/// How long to wait for a store that cannot be read.
const STORE_WAIT: Duration = Duration::from_secs(1);

/// Runs until the receiver is live or gone. Answers the highest number it was given, 0 if none.
pub async fn catch_up(inboxes: Arc<Inboxes>, channel: ChannelName, peer: Arc<Peer>) -> u64 {
    let (mut given, mut through) = {
        let inbox = inboxes.inbox(&channel);
        let inbox = inbox.lock();
        (inbox.given_to(peer.id), inbox.committed())
    };
    loop {
        match give_pending(&inboxes, &channel, &peer, &mut given).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%channel, %error, "what is pending cannot be read");
                tokio::time::sleep(STORE_WAIT).await;
                if peer.link.is_over() {
                    break;
                }
                continue;
            }
        }
        if go_live(&inboxes, &channel, &peer, &mut given, &mut through) {
            if given == 0 {
                inboxes.nothing_pending(&channel);
            }
            return given;
        }
        // The outbox is full, or more was committed meanwhile. Either way there is no hurry, and others of this thread have their turn.
        tokio::time::sleep(PAUSE_BETWEEN_ROUNDS).await;
    }
    inboxes.forget(&channel, peer.id);
    given
}

/// Gives what is on its way to the disk, if everything before it was given. Says whether the receiver is live.
fn go_live(inboxes: &Inboxes, channel: &ChannelName, peer: &Peer, given: &mut u64, through: &mut u64) -> bool {
    let inbox = inboxes.inbox(channel);
    let mut inbox = inbox.lock();
    match inbox.caught_up(peer.id, *through, *given) {
        Step::ReadOn { through: more } => {
            *through = more;
            false
        }
        Step::GoLive(tail) => {
            // Under the lock, so that nothing newer comes first.
            for (seq, frame) in tail {
                if peer.link.send(Lane::Data, frame) == Sent::Dropped {
                    inbox.fall_behind(peer.id, *given);
                    return false;
                }
                *given = seq;
            }
            true
        }
    }
}

/// Gives everything pending after `given`. `false`: the receiver is gone.
async fn give_pending(inboxes: &Inboxes, channel: &ChannelName, peer: &Peer, given: &mut u64) -> Result<bool, StoreError> {
    loop {
        let page = inboxes.pending_after(channel, *given, u64::MAX).await?;
        if page.is_empty() {
            return Ok(!peer.link.is_over());
        }
        let attempts: Vec<_> = page.iter().map(|pending| (pending.record.seq, pending.attempts + 1)).collect();
        for pending in page {
            if !give(&peer.link, &pending).await {
                return Ok(false);
            }
            *given = pending.record.seq;
        }
        inboxes.mark_delivered(channel, attempts.into_iter()).await?;
    }
}

/// Gives one message, as soon as the reader has room. `false`: the receiver is gone.
async fn give(link: &Arc<Link>, pending: &Pending) -> bool {
    let text = String::from_utf8_lossy(&pending.record.frame);
    let frame = Frame::text(&redelivered(&text, pending.attempts));
    loop {
        poll_fn(|task| link.poll_open(task)).await;
        if link.is_over() {
            return false;
        }
        match link.send(Lane::Data, frame.clone()) {
            Sent::Queued | Sent::QueuedButPause => return true,
            Sent::Gone => return false,
            Sent::Dropped => tokio::time::sleep(FULL_OUTBOX_WAIT).await,
        }
    }
}

/// Gives what is due again to a receiver that is live, and moves what was delivered too often to the dead letters.
/// Answers what was moved, and whether anything still waits for an acknowledgement.
pub async fn redeliver(inboxes: &Inboxes, channel: &ChannelName, peer: &Peer) -> Result<(Vec<DeadLettered>, bool), StoreError> {
    let mut dead = Vec::new();
    let mut given = 0;
    loop {
        let page = inboxes.pending_after(channel, given, unix_ms()).await?;
        let Some(last) = page.last() else { break };
        given = last.record.seq;
        let (spent, due): (Vec<_>, Vec<_>) = page.into_iter().partition(|pending| pending.attempts >= inboxes.max_deliveries());
        for pending in spent {
            let seq = pending.record.seq;
            let death = Death { reason: DeadReason::MaxDeliveries, detail: pending.reason, at: unix_ms() };
            dead.extend(inboxes.store().dead_letter(channel.clone(), seq, death).await?);
        }
        let mut attempts = Vec::with_capacity(due.len());
        for pending in due {
            if !give(&peer.link, &pending).await {
                return Ok((dead, true));
            }
            attempts.push((pending.record.seq, pending.attempts + 1));
        }
        inboxes.mark_delivered(channel, attempts.into_iter()).await?;
    }
    let waits = !inboxes.pending_after(channel, 0, u64::MAX).await?.is_empty();
    Ok((dead, waits))
}
