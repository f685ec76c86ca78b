//! The inboxes that are in use, and their way to the store. Shared by all shards.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use common::{envelope::Priority, error::ErrorCode};
use parking_lot::Mutex;
use store::{
    Ack, Appended, ChannelName, Delivered, Epoch, FirstDelivery, Limits, MessageKey, Nack, NewRecord, Pending, PendingQuery,
    Reply, Store, StoreError,
};
use transport::{Frame, Lane, Sent};

use super::{Inbox, Numbers, numbers::BLOCK, positioned};
use crate::routing::{ConnectionId, Peer};

/// Channels asked for at once when the store is opened.
const CHANNELS_PER_PAGE: u32 = 1000;
/// Messages remembered to know repeated ones before they are delivered live; the oldest are forgotten first. The store knows them too.
const REMEMBERED: usize = 262_144;

/// Inboxes that stay loaded though nothing is on its way, so that the next message need not ask the store for their newest number.
const KEPT_LOADED: usize = 16_384;

/// A durable message on its way.
pub struct Accepted {
    /// Its inbox.
    pub channel: ChannelName,
    /// Its number.
    pub seq: u64,
    /// Resolves when it is in the store.
    pub committed: Reply<Vec<Appended>>,
    /// The connections that got it live.
    pub delivered: Vec<Arc<Peer>>,
    /// The connections that had no room for it and have just fallen behind: a catch-up is to be started for each.
    pub fell_behind: Vec<Arc<Peer>>,
    /// A receiver the sender should wait for.
    pub pause_for: Option<Arc<transport::Link>>,
    key: MessageKey,
    is_repeated: bool,
}

/// What becomes of a durable message at once.
pub enum Outcome {
    /// It has a number and is on its way to the disk.
    Accepted(Box<Accepted>),
    /// The store must be asked for the inbox's newest number first, with [`Inboxes::load`].
    NotLoaded,
}

/// The message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub ErrorCode);

/// What to tell the sender once the store has answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Confirm {
    /// It is in the store under this number.
    Stored {
        /// The number.
        seq: u64,
        /// Whether it was there before.
        duplicate: bool,
    },
    /// It is not.
    Failed(ErrorCode),
}

/// See the module.
pub struct Inboxes {
    store: Arc<dyn Store>,
    ack_timeout: Duration,
    max_deliveries: u32,
    numbers: Mutex<Numbers>,
    active: Mutex<HashMap<ChannelName, Arc<Mutex<Inbox>>>>,
    /// Channels that may have something pending. One that has is always in it.
    pending: Mutex<HashSet<ChannelName>>,
    recent: Mutex<Recent>,
}

impl std::fmt::Debug for Inboxes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Inboxes").field("active", &self.active.lock().len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Recent {
    keys: HashSet<MessageKey>,
    order: VecDeque<MessageKey>,
}

impl Recent {
    /// Remembers a message. Says whether it was known.
    fn remember(&mut self, key: MessageKey) -> bool {
        if !self.keys.insert(key) {
            return true;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        false
    }
}

impl Inboxes {
    /// The inboxes of a store.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, ack_timeout: Duration, max_deliveries: u32) -> Result<Arc<Self>, StoreError> {
        let mut numbers = Numbers::default();
        numbers.add(store.reserve(BLOCK).await?);
        let mut recent = Recent::default();
        for id in store.recent_ids().await? {
            recent.remember(id.key);
        }
        let mut pending = HashSet::new();
        let mut after = None;
        loop {
            let page = store.channels(None, after.clone(), CHANNELS_PER_PAGE).await?;
            after = page.last().map(|info| info.channel.clone());
            if after.is_none() {
                break;
            }
            pending.extend(page.into_iter().filter(|info| info.unacked > 0).map(|info| info.channel));
        }
        Ok(Arc::new(Self {
            store,
            ack_timeout,
            max_deliveries,
            numbers: Mutex::new(numbers),
            active: Mutex::default(),
            pending: Mutex::new(pending),
            recent: Mutex::new(recent),
        }))
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Which history this is.
    pub fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    /// How long a receiver may take to acknowledge.
    pub fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// How often a message is delivered at most.
    pub fn max_deliveries(&self) -> u32 {
        self.max_deliveries
    }

    /// Asks the store for the newest number of an inbox.
    pub fn load(self: &Arc<Self>, channel: ChannelName) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let answer = self.store.channel(channel.clone());
        let inboxes = Arc::clone(self);
        async move {
            let head = answer.await?.map_or(0, |info| info.head);
            inboxes.inbox(&channel).lock().load(head);
            Ok(())
        }
    }

    /// Takes a durable message: numbers it, delivers it to those of `receivers` that keep up, and sends it to the disk.
    /// To be called under the router's lock, so that nobody comes or goes meanwhile.
    ///
    /// # Errors
    /// `store_unavailable`: no numbers, or no room for another write.
    pub fn accept(self: &Arc<Self>, message: Draft<'_>, receivers: &[Arc<Peer>]) -> Result<Outcome, Refused> {
        let Draft { channel, text, id, source, priority, lane, ttl_ms } = message;
        let inbox = self.inbox(channel);
        let mut inbox = inbox.lock();
        if !inbox.is_loaded() {
            return Ok(Outcome::NotLoaded);
        }
        let seq = self.next_number().ok_or(Refused(ErrorCode::StoreUnavailable))?;
        let key = MessageKey::of(channel, source, id);
        let is_repeated = self.recent.lock().remember(key);
        // A repeated message takes no place in the inbox's order: the store will say under which number it is there.
        let prev = if is_repeated { 0 } else { inbox.push(seq) };
        let text = positioned(text, channel, self.epoch(), seq, prev);
        let frame = Frame::text(&text);
        let (mut delivered, mut fell_behind) = (Vec::new(), Vec::new());
        let mut pause_for = None;
        if !is_repeated {
            for peer in receivers {
                if !inbox.is_live(peer.id) {
                    continue;
                }
                match peer.link.send(lane, frame.clone()) {
                    Sent::Queued => delivered.push(Arc::clone(peer)),
                    Sent::QueuedButPause => {
                        delivered.push(Arc::clone(peer));
                        pause_for = Some(Arc::clone(&peer.link));
                    }
                    // It is in the log: the receiver reads it when it is ready.
                    Sent::Dropped => {
                        inbox.fall_behind(peer.id, prev);
                        fell_behind.push(Arc::clone(peer));
                    }
                    Sent::Gone => {}
                }
            }
        }
        let now = unix_ms();
        let record = NewRecord {
            channel: channel.clone(),
            seq,
            prev,
            message_id: id.to_owned(),
            source: source.to_owned(),
            frame: text.into_bytes().into(),
            priority,
            expires_at: ttl_ms.map(|ttl| now.saturating_add(ttl)),
            stored_at: now,
            delivery: Some(FirstDelivery {
                attempts: u32::from(!delivered.is_empty()),
                due_at: now.saturating_add(millis(self.ack_timeout)),
            }),
        };
        self.pending.lock().insert(channel.clone());
        let committed = self.store.append(vec![record]);
        if !is_repeated {
            inbox.sent_to_disk(seq, frame);
        }
        Ok(Outcome::Accepted(Box::new(Accepted {
            channel: channel.clone(),
            seq,
            committed,
            delivered,
            fell_behind,
            pause_for,
            key,
            is_repeated,
        })))
    }

    /// The store has answered for a message: what to tell its sender.
    pub fn settle(&self, message: &SettledMessage, answer: Result<Vec<Appended>, StoreError>) -> Confirm {
        if !message.is_repeated {
            let inbox = self.inbox(&message.channel);
            inbox.lock().settled(message.seq);
            self.drop_if_idle(&message.channel);
        }
        match answer.as_deref() {
            Ok([appended, ..]) => {
                Confirm::Stored { seq: appended.seq(), duplicate: matches!(appended, Appended::Duplicate { .. }) }
            }
            Ok([]) => Confirm::Failed(ErrorCode::Internal),
            Err(error) => {
                tracing::warn!(channel = %message.channel, %error, "a durable message was not stored");
                self.recent.lock().keys.remove(&message.key);
                Confirm::Failed(ErrorCode::StoreUnavailable)
            }
        }
    }

    /// Whether the channel may have something pending.
    pub fn may_have_pending(&self, channel: &ChannelName) -> bool {
        self.pending.lock().contains(channel)
    }

    /// A receiver that has just come has to catch up before it gets anything live. Says whether that is news, so that a catch-up is to be started.
    pub fn fall_behind(&self, channel: &ChannelName, receiver: ConnectionId) -> bool {
        self.inbox(channel).lock().fall_behind(receiver, 0)
    }

    /// The receiver is gone.
    pub fn forget(&self, channel: &ChannelName, receiver: ConnectionId) {
        let known = self.active.lock().get(channel).cloned();
        if let Some(inbox) = known {
            inbox.lock().forget(receiver);
            self.drop_if_idle(channel);
        }
    }

    /// The machine of an inbox.
    pub fn inbox(&self, channel: &ChannelName) -> Arc<Mutex<Inbox>> {
        Arc::clone(self.active.lock().entry(channel.clone()).or_default())
    }

    /// What is pending in an inbox after a number.
    pub fn pending_after(&self, channel: &ChannelName, after: u64, due_before: u64) -> Reply<Vec<Pending>> {
        self.store.pending(channel.clone(), PendingQuery { due_before, after, limits: Limits::default() })
    }

    /// Nothing is pending any more, as far as a reader has seen that has read everything.
    pub fn nothing_pending(&self, channel: &ChannelName) {
        let inbox = self.inbox(channel);
        // A message accepted meanwhile has put the channel back under this lock, and is in the tail.
        let inbox = inbox.lock();
        if inbox.is_idle() {
            self.pending.lock().remove(channel);
        }
    }

    /// Notes deliveries, with the time of the next.
    pub fn mark_delivered(&self, channel: &ChannelName, attempts: impl Iterator<Item = (u64, u32)>) -> Reply<()> {
        let now = unix_ms();
        let deliveries = attempts.map(|(seq, attempt)| Delivered {
            channel: channel.clone(),
            seq,
            attempt,
            next_due: now.saturating_add(self.wait_after(attempt)),
        });
        self.store.mark_delivered(deliveries.collect())
    }

    /// The wait for an acknowledgement doubles with each delivery, up to an hour.
    fn wait_after(&self, attempt: u32) -> u64 {
        const LONGEST: u64 = 60 * 60 * 1000;
        millis(self.ack_timeout).saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST)
    }

    /// The receiver acknowledges.
    pub fn ack(&self, channel: ChannelName, ack: Ack) -> Reply<Vec<u64>> {
        self.store.ack(channel, ack)
    }

    /// The receiver could not use it.
    pub fn nack(&self, channel: ChannelName, seq: u64, delay: Duration, reason: String) -> Reply<Option<u32>> {
        self.store.nack(channel, seq, Nack { not_before: unix_ms().saturating_add(millis(delay)), reason })
    }

    fn next_number(self: &Arc<Self>) -> Option<u64> {
        let mut numbers = self.numbers.lock();
        let number = numbers.take();
        if numbers.should_ask() {
            let inboxes = Arc::clone(self);
            let block = self.store.reserve(BLOCK);
            actix_rt::spawn(async move {
                match block.await {
                    Ok(block) => inboxes.numbers.lock().add(block),
                    Err(error) => {
                        tracing::warn!(%error, "no sequence numbers could be reserved");
                        inboxes.numbers.lock().failed();
                    }
                }
            });
        }
        number
    }

    fn drop_if_idle(&self, channel: &ChannelName) {
        let mut active = self.active.lock();
        if active.len() <= KEPT_LOADED {
            return;
        }
        let is_idle = active.get(channel).is_some_and(|inbox| inbox.try_lock().is_some_and(|inbox| inbox.is_idle()));
        // Somebody who holds it would work on a machine that nobody else sees.
        if is_idle && active.get(channel).is_some_and(|inbox| Arc::strong_count(inbox) == 1) {
            active.remove(channel);
        }
    }
}

/// A durable message as it comes from the router.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Its inbox.
    pub channel: &'a ChannelName,
    /// The stamped envelope.
    pub text: &'a str,
    /// Its id.
    pub id: &'a str,
    /// The sender's address.
    pub source: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// The lane it takes.
    pub lane: Lane,
    /// How long it is of use.
    pub ttl_ms: Option<u64>,
}

/// What is remembered of a message until the store answers.
#[derive(Clone, Debug)]
pub struct SettledMessage {
    /// Its inbox.
    pub channel: ChannelName,
    /// The number it was given.
    pub seq: u64,
    key: MessageKey,
    is_repeated: bool,
}

impl Accepted {
    /// What is to be remembered until the store answers.
    pub fn to_settle(&self) -> SettledMessage {
        SettledMessage { channel: self.channel.clone(), seq: self.seq, key: self.key, is_repeated: self.is_repeated }
    }
}

/// Now, in milliseconds since 1970.
pub fn unix_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
