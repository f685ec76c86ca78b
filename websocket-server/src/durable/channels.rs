//! The channels in use, and their way to the store. Shared by all shards.

use std::{collections::hash_map::Entry, sync::Arc, time::Duration};

use common::{
    address::Scope,
    assertion::NAMED_BY_EDGE,
    id::SessionId,
    timestamp::{millis, unix_ms},
};
use foldhash::{HashMap, HashSet};
use parking_lot::Mutex;
use store::{
    Ack, ChannelFamily, ChannelName, ConsumerId, Delivered, Epoch, Limits, Nack, Page, Pending, PendingQuery, ReadFrom, Reply,
    Store, StoreError,
};

use super::{ChannelMachine, Numbers, Receipts, active::Active, kept::Kept, numbers::BLOCK, recent::Recent, untold::Untold};
use crate::peers::ConnectionId;

/// Channels read at once when the store is opened.
const CHANNELS_PER_PAGE: u32 = 1000;
/// The same for consumers.
const CONSUMERS_PER_PAGE: u32 = 10_000;
/// What is read at once for a receiver: little, because as many may read at once as there are
/// receivers.
pub(super) const PAGE: Limits = Limits { records: 64, bytes: 128 * 1024 };

/// The most messages of an inbox that are read at once.
pub(super) const PENDING_PAGE: usize = 32;

/// The most sessions of which it is remembered that something is stored under a name that an edge
/// assigned. With more, something may be stored for any session.
const MOST_SESSIONS: usize = 1_000_000;

/// The most topics that are remembered as having a log; with more, the store is asked for each
/// topic.
const MOST_LOGS: usize = 262_144;

/// See the module.
pub struct Channels {
    store: Arc<dyn Store>,
    ack_timeout: Duration,
    max_deliveries: u32,
    /// Topics and broadcasts that may have a log. The newest numbers of others need not be read.
    /// `None`: there are too many to remember.
    logs: Mutex<Option<HashSet<ChannelName>>>,
    numbers: Mutex<Numbers>,
    active: Mutex<Active>,
    /// Which inboxes may have something pending, and which sessions the store knows since the
    /// start.
    pub(super) kept: Mutex<Kept>,
    pub(super) recent: Mutex<Recent>,
    /// Receivers that were not told of their dead letters.
    pub(super) untold: Mutex<Untold>,
    /// Sessions with a client that its edge named, for which something is stored. `None`: there are
    /// too many to remember.
    pub(super) kept_of_edges: Mutex<Option<HashSet<SessionId>>>,
    /// Clients that have left for good, while their stored positions are being removed. Bounded by
    /// the writes that may wait for the store.
    leaving: Mutex<HashMap<ConsumerId, usize>>,
    /// Senders that asked for receipts.
    pub receipts: Receipts,
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Channels").field("active", &self.active.lock().len()).finish_non_exhaustive()
    }
}

/// The sizes of the broker's tables for durable messages; each is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Channels whose newest number is known.
    pub loaded: usize,
    /// Inboxes that may have something pending.
    pub pending: usize,
    /// Messages by which repetitions are recognised.
    pub recent: usize,
    /// Inboxes whose receiver was not told of dead letters.
    pub untold: usize,
    /// Sessions that the store knows.
    pub sessions: usize,
    /// Sessions for which something is stored under a name that an edge assigned; at most as many
    /// as are remembered.
    pub kept_of_edges: usize,
}

impl Channels {
    /// The present sizes.
    pub fn remembered(&self) -> Remembered {
        // Each lock is released before the next is taken, so there is no order to keep.
        let loaded = self.active.lock().len();
        let (pending, sessions) = self.kept.lock().len();
        let recent = self.recent.lock().len();
        let untold = self.untold.lock().len();
        let kept_of_edges = self.kept_of_edges.lock().as_ref().map_or(MOST_SESSIONS, HashSet::len);
        Remembered { loaded, pending, recent, untold, sessions, kept_of_edges }
    }

    /// Repetitions since the start that were recognised without asking the store.
    pub fn repeated(&self) -> u64 {
        self.recent.lock().repeated()
    }

    /// The channels of a store.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn open(store: Arc<dyn Store>, ack_timeout: Duration, max_deliveries: u32) -> Result<Arc<Self>, StoreError> {
        let mut numbers = Numbers::default();
        numbers.add(store.reserve(BLOCK).await?);
        let mut recent = Recent::default();
        for id in store.recent_ids().await? {
            recent.remember_stored(id.key, id.stored_at, id.seq);
        }
        let told: HashMap<_, _> = store.cursors(ConsumerId::told_of_dead_letters()).await?.into_iter().collect();
        let mut untold = Untold::default();
        let mut logs = HashSet::default();
        let mut pending = HashSet::default();
        let mut after = None;
        loop {
            let page = store.channels(None, after.clone(), CHANNELS_PER_PAGE).await?;
            after = page.last().map(|info| info.channel.clone());
            if after.is_none() {
                break;
            }
            for info in page {
                untold.restore(&info, told.get(&info.channel).copied().unwrap_or(0));
                if matches!(info.channel.family(), ChannelFamily::Topic | ChannelFamily::Broadcast) && logs.len() <= MOST_LOGS {
                    logs.insert(info.channel);
                } else if info.unacked > 0 {
                    pending.insert(info.channel);
                }
            }
        }
        let kept_of_edges = kept_of_edges(&*store).await?;
        let channels = Arc::new(Self {
            store,
            kept_of_edges: Mutex::new(kept_of_edges),
            ack_timeout,
            max_deliveries,
            logs: Mutex::new((logs.len() <= MOST_LOGS).then_some(logs)),
            numbers: Mutex::new(numbers),
            active: Mutex::default(),
            kept: Mutex::new(Kept::new(pending)),
            recent: Mutex::new(recent),
            untold: Mutex::new(untold),
            leaving: Mutex::default(),
            receipts: Receipts::default(),
        });
        for scope in [Scope::Sessions, Scope::Agents, Scope::All] {
            channels.load(ChannelName::broadcast(scope)).await?;
        }
        Ok(channels)
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The epoch of the history.
    pub fn epoch(&self) -> Epoch {
        self.store.epoch()
    }

    /// How long a receiver may take to acknowledge.
    pub fn ack_timeout(&self) -> Duration {
        self.ack_timeout
    }

    /// The most deliveries of a message.
    pub fn max_deliveries(&self) -> u32 {
        self.max_deliveries
    }

    /// Whether the newest number of a channel is known.
    pub fn is_loaded(&self, channel: &ChannelName) -> bool {
        self.load_if_new(channel, &mut self.machine(channel).lock())
    }

    /// The same for the channel's machine. A channel that cannot have anything in the store is
    /// loaded.
    pub(super) fn load_if_new(&self, channel: &ChannelName, machine: &mut ChannelMachine) -> bool {
        if machine.is_loaded() {
            return true;
        }
        let is_new = !channel.family().is_inbox() && self.logs.lock().as_ref().is_some_and(|logs| !logs.contains(channel));
        if is_new {
            machine.load(0);
        }
        is_new
    }

    /// The newest number of a channel; 0 if there is none or it is unknown.
    pub fn head(&self, channel: &ChannelName) -> u64 {
        self.machine(channel).lock().head()
    }

    /// Whether a receiver is live.
    pub fn is_live(&self, channel: &ChannelName, receiver: ConnectionId) -> bool {
        self.machine(channel).lock().is_live(receiver)
    }

    /// The newest number, for a live receiver, if the tail is empty.
    pub fn stored_head(&self, channel: &ChannelName, receiver: ConnectionId) -> Option<u64> {
        let machine = self.active.lock().get(channel)?;
        let machine = machine.lock();
        (machine.is_live(receiver) && machine.is_all_stored()).then(|| machine.head())
    }

    /// Something is stored for a session, so that the session must be forgotten some day.
    pub fn note_session(&self, session_id: SessionId) {
        let is_to_be_written = self.kept.lock().note_session(session_id);
        if is_to_be_written {
            self.write_session(session_id);
        }
    }

    fn write_session(&self, session_id: SessionId) {
        let put = self.store.put_session(session_id, unix_ms());
        actix_rt::spawn(async move {
            if let Err(error) = put.await {
                tracing::warn!(%error, "a session was not stored");
            }
        });
    }

    /// Something is stored for a client of the session that its edge named.
    pub fn note_kept_of_edge(&self, session_id: SessionId) {
        let is_new = {
            let mut known = self.kept_of_edges.lock();
            let is_new = known.as_mut().is_some_and(|sessions| sessions.insert(session_id));
            if known.as_ref().is_some_and(|sessions| sessions.len() > MOST_SESSIONS) {
                *known = None;
            }
            is_new
        };
        if is_new {
            // So that it is forgotten with the session.
            self.note_session(session_id);
        }
    }

    /// Whether anything may be stored for a client of the session that its edge named.
    pub fn may_have_kept_of_edge(&self, session_id: SessionId) -> bool {
        self.kept_of_edges.lock().as_ref().is_none_or(|sessions| sessions.contains(&session_id))
    }

    /// Removes the positions of a client that has left for good.
    pub fn forget_client(self: &Arc<Self>, consumers: [ConsumerId; 2]) {
        for consumer in consumers {
            *self.leaving.lock().entry(consumer.clone()).or_default() += 1;
            let forgotten = self.store.drop_cursors(consumer.clone(), None);
            let channels = Arc::clone(self);
            actix_rt::spawn(async move {
                if let Err(error) = forgotten.await {
                    tracing::debug!(%error, "the stored positions of a client were not removed");
                }
                if let Entry::Occupied(mut leaving) = channels.leaving.lock().entry(consumer) {
                    *leaving.get_mut() -= 1;
                    if *leaving.get() == 0 {
                        leaving.remove();
                    }
                }
            });
        }
    }

    /// The positions of a client. If an earlier client of this name has left for good, they are
    /// those after its positions were removed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn positions(&self, consumer: &ConsumerId) -> Result<Vec<(ChannelName, u64)>, StoreError> {
        let is_leaving = self.leaving.lock().contains_key(consumer);
        if is_leaving {
            // A write of nothing: it is done after those that were made before it.
            self.store.save_cursors(consumer.clone(), Vec::new(), None, unix_ms()).await?;
        }
        self.store.cursors(consumer.clone()).await
    }

    /// A topic or broadcast has a log.
    pub(super) fn note_log(&self, channel: &ChannelName) {
        let mut known = self.logs.lock();
        let Some(logs) = known.as_mut() else { return };
        if !logs.contains(channel) {
            logs.insert(channel.clone());
            if logs.len() > MOST_LOGS {
                *known = None;
            }
        }
    }

    /// Asks the store for the newest number of a channel, if it is unknown.
    ///
    /// # Errors
    /// The store cannot read the channel.
    pub fn load(self: &Arc<Self>, channel: ChannelName) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let channels = Arc::clone(self);
        async move {
            if !channels.is_loaded(&channel) {
                let head = channels.store.channel(channel.clone()).await?.map_or(0, |info| info.head);
                channels.machine(&channel).lock().load(head);
            }
            Ok(())
        }
    }

    /// Whether the channel may have something pending.
    pub fn may_have_pending(&self, channel: &ChannelName) -> bool {
        self.kept.lock().may_have_pending(channel)
    }

    /// The channel has something pending, and something is stored for its session. To be called
    /// after the store was given it, and under the machine's lock.
    pub(super) fn note_pending(&self, channel: &ChannelName) {
        let to_be_written = self.kept.lock().note_pending(channel);
        if let Some(session_id) = to_be_written {
            self.write_session(session_id);
        }
    }

    /// The receiver has gone.
    pub fn forget(&self, channel: &ChannelName, receiver: ConnectionId) {
        let known = self.active.lock().get(channel);
        if let Some(machine) = known {
            machine.lock().forget(receiver);
        }
    }

    /// The machine of a channel in use.
    pub(super) fn in_use(&self, channel: &ChannelName) -> Option<Arc<Mutex<ChannelMachine>>> {
        self.active.lock().get(channel)
    }

    /// The machine of a channel.
    pub(super) fn machine(&self, channel: &ChannelName) -> Arc<Mutex<ChannelMachine>> {
        self.active.lock().get_or_insert(channel)
    }

    /// The pending messages of an inbox after a number: at most this many messages, about this many
    /// bytes, and at most a page.
    pub fn pending_after(&self, channel: &ChannelName, after: u64, records: usize, bytes: u64) -> Reply<Vec<Pending>> {
        let records = u32::try_from(records.min(PENDING_PAGE)).unwrap_or(u32::MAX);
        let limits = Limits { records, bytes: PAGE.bytes.min(bytes.max(1)) };
        self.store.pending(channel.clone(), PendingQuery { due_before: u64::MAX, after, limits })
    }

    /// The log after a number.
    pub fn log_after(&self, channel: &ChannelName, after: u64) -> Reply<Page> {
        self.store.read(channel.clone(), ReadFrom::After(after), PAGE)
    }

    /// Nothing is pending any more, as a reader found that has read everything. To be called under
    /// the machine's lock, under which an accepted message adds the channel again.
    pub(super) fn nothing_pending(&self, channel: &ChannelName) {
        self.kept.lock().nothing_pending(channel);
    }

    /// Records deliveries, with the time of the next.
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

    /// How long an acknowledgement may take, in milliseconds: it doubles with each delivery, up to
    /// an hour.
    pub(super) fn wait_after(&self, attempt: u32) -> u64 {
        const LONGEST: u64 = 60 * 60 * 1000;
        millis(self.ack_timeout).saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(LONGEST)
    }

    /// The receiver acknowledges. Returns the numbers that were not acknowledged before, in rising
    /// order.
    ///
    /// # Errors
    /// Those of the store.
    pub fn ack(self: &Arc<Self>, channel: ChannelName, ack: Ack) -> impl Future<Output = Result<Vec<u64>, StoreError>> + use<> {
        // The write takes its place in the store's line here, not when it is first polled.
        let acked = self.store.ack(channel.clone(), ack);
        let channels = Arc::clone(self);
        async move {
            let seqs = acked.await?;
            channels.free_places(&channel, &seqs);
            Ok(seqs)
        }
    }

    /// Messages of an inbox are acknowledged or removed: frees their places at all readers.
    pub(crate) fn free_places(&self, inbox: &ChannelName, seqs: &[u64]) {
        if seqs.is_empty() {
            return;
        }
        let readers = self.in_use(inbox).map(|machine| machine.lock().explicit_readers()).unwrap_or_default();
        for peer in readers {
            peer.free_places(inbox, seqs);
        }
    }

    /// The receiver could not use a message.
    pub fn nack(&self, channel: ChannelName, seq: u64, delay: Duration, reason: String) -> Reply<Option<u32>> {
        self.store.nack(channel, seq, Nack { not_before: unix_ms().saturating_add(millis(delay)), reason })
    }

    pub(super) fn next_number(self: &Arc<Self>) -> Option<u64> {
        let mut numbers = self.numbers.lock();
        let number = numbers.take();
        if numbers.should_ask() {
            let channels = Arc::clone(self);
            let block = self.store.reserve(BLOCK);
            actix_rt::spawn(async move {
                match block.await {
                    Ok(block) => channels.numbers.lock().add(block),
                    Err(error) => {
                        tracing::warn!(%error, "no sequence numbers could be reserved");
                        channels.numbers.lock().failed();
                    }
                }
            });
        }
        number
    }
}

/// The sessions with a client that its edge named, for which something is stored; `None` if there
/// are too many.
async fn kept_of_edges(store: &dyn Store) -> Result<Option<HashSet<SessionId>>, StoreError> {
    let mut sessions = HashSet::default();
    let mut after = None;
    loop {
        let page = store.consumers(after, CONSUMERS_PER_PAGE).await?;
        let clients = page.iter().filter_map(ConsumerId::client).filter(|(_, client)| client.starts_with(NAMED_BY_EDGE));
        sessions.extend(clients.filter_map(|(address, _)| address.strip_prefix("session:")?.parse::<SessionId>().ok()));
        if sessions.len() > MOST_SESSIONS {
            return Ok(None);
        }
        after = page.last().cloned();
        if after.is_none() {
            return Ok(Some(sessions));
        }
    }
}
