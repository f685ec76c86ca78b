//! What an acknowledgement covers, and which of the receiver's inboxes it means.

use std::{pin::Pin, sync::Arc};

use common::error::{ClientError, ErrorCode};
use store::{Ack, ChannelName, Limits, ReadFrom, StoreError};

use super::{Channels, channels::PENDING_PAGE};

/// Messages that are newly acknowledged, by inbox.
pub type Acknowledged = Vec<(ChannelName, Vec<u64>)>;

/// An acknowledgement on its way to the disk. Fails with the error for the receiver:
/// `store_unavailable`, `position_ahead`, or `invalid_payload` if it does not say which of its
/// inboxes it means and none has such a message.
pub type Acknowledging = Pin<Box<dyn Future<Output = Result<Acknowledged, ClientError>> + Send>>;

impl Channels {
    /// Acknowledges these messages in all of these inboxes: a number is used once in all channels.
    pub fn acknowledge_each(self: &Arc<Self>, inboxes: Vec<ChannelName>, seqs: Vec<u64>) -> Acknowledging {
        self.acknowledge(inboxes, &Ack::Each(seqs))
    }

    /// Acknowledges everything up to a number, as far as it was handed out and not `refused`, in
    /// the one of these inboxes that has a message with this number. `refused` is in rising order.
    /// If the process knows the answer without the store, the write has its place in the store's
    /// line at once.
    pub fn acknowledge_through(self: &Arc<Self>, inboxes: Vec<ChannelName>, through: u64, refused: Vec<u64>) -> Acknowledging {
        if let [inbox] = &inboxes[..]
            && self.is_handed_out(inbox, through)
        {
            return self.acknowledge(inboxes, &Ack::through_but(through, refused));
        }
        let channels = Arc::clone(self);
        Box::pin(async move {
            let unavailable = |error: StoreError| {
                tracing::warn!(%error, "an inbox cannot be read");
                ClientError::from(ErrorCode::StoreUnavailable)
            };
            let inbox = match <[ChannelName; 1]>::try_from(inboxes) {
                Ok([inbox]) => inbox,
                Err(several) => channels.inbox_with(several, through).await.map_err(unavailable)?.ok_or_else(|| {
                    let message = "no message of your inboxes has this number: name the inbox with `channel`";
                    ClientError::with_message(ErrorCode::InvalidPayload, message)
                })?,
            };
            let reached = channels.handed_out_through(&inbox, through).await.map_err(unavailable)?;
            let reached = reached.ok_or_else(|| ClientError::new(ErrorCode::PositionAhead).about(inbox.to_string()))?;
            channels.acknowledge(vec![inbox], &Ack::through_but(reached, refused)).await
        })
    }

    fn acknowledge(self: &Arc<Self>, inboxes: Vec<ChannelName>, ack: &Ack) -> Acknowledging {
        let acked: Vec<_> = inboxes.into_iter().map(|inbox| (self.ack(inbox.clone(), ack.clone()), inbox)).collect();
        Box::pin(async move {
            let mut seqs = Vec::with_capacity(acked.len());
            for (acked, inbox) in acked {
                let acked = acked.await.map_err(|error| {
                    tracing::warn!(%error, "an acknowledgement was not stored");
                    ClientError::from(ErrorCode::StoreUnavailable)
                })?;
                seqs.push((inbox, acked));
            }
            Ok(seqs)
        })
    }

    /// Whether everything up to a number was handed out, as far as is known without the store.
    fn is_handed_out(&self, channel: &ChannelName, through: u64) -> bool {
        let known = self.in_use(channel);
        known.is_some_and(|machine| machine.lock().handed_out() >= through)
    }

    /// How far an acknowledgement of everything up to `through` reaches: not beyond the first
    /// message that was handed to nobody. `None`: no message of the inbox ever had so high a
    /// number.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn handed_out_through(self: &Arc<Self>, channel: &ChannelName, through: u64) -> Result<Option<u64>, StoreError> {
        self.load(channel.clone()).await?;
        let machine = self.machine(channel);
        let (head, mut known) = {
            let machine = machine.lock();
            (machine.head(), machine.handed_out())
        };
        if through > head {
            return Ok(None);
        }
        // Only the store knows what earlier lives of the process handed out.
        'reading: while known < through {
            let page = self.pending_after(channel, known, PENDING_PAGE, u64::MAX).await?;
            if page.is_empty() {
                known = through;
            }
            for pending in page {
                let seq = pending.record.seq;
                if seq > through {
                    known = through;
                } else if pending.attempts == 0 {
                    // It may have been handed out since the page was read.
                    known = known.max(seq - 1);
                    break 'reading;
                }
                known = known.max(seq.min(through));
            }
        }
        let mut machine = machine.lock();
        let known = machine.without_tail(known).max(machine.handed_out());
        machine.on_handed_out(known);
        Ok(Some(known.min(through)))
    }

    /// Which of these inboxes has, or had, a message with this number.
    async fn inbox_with(&self, inboxes: Vec<ChannelName>, seq: u64) -> Result<Option<ChannelName>, StoreError> {
        for inbox in inboxes {
            // In this order: what leaves the tail is in the store by then.
            let is_on_its_way = self.in_use(&inbox).is_some_and(|machine| machine.lock().is_on_its_way(seq));
            let is_stored = || async {
                let from = ReadFrom::After(seq.saturating_sub(1));
                let page = self.store().read(inbox.clone(), from, Limits { records: 1, bytes: 1 }).await?;
                Ok::<_, StoreError>(page.records.first().is_some_and(|record| record.seq == seq))
            };
            if is_on_its_way || is_stored().await? {
                return Ok(Some(inbox));
            }
        }
        Ok(None)
    }
}
