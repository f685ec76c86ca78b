//! Delivers what a receiver does not have of a channel, in order, and then makes it live.

use std::{future::poll_fn, sync::Arc, time::Duration};

use common::message::{LostRecords, SystemMessage};
use parking_lot::Mutex;
use store::{ChannelName, DeadLettered, Pending, StoreError};
use transport::{Frame, Lane, Sent};

use super::{
    ChannelMachine, Channels, OnItsWay,
    channel::CatchUpStep,
    channels::PENDING_PAGE,
    expiry::has_expired,
    history::{StartingPoint, lost_records},
    redelivered, retained,
};
use crate::peers::Peer;

/// How long to wait for a reader whose outbox is full.
const FULL_OUTBOX_WAIT: Duration = Duration::from_millis(20);
/// How long to wait between two rounds of reading.
const PAUSE_BETWEEN_ROUNDS: Duration = Duration::from_millis(1);
/// How long to wait for a store that cannot be read.
pub const STORE_WAIT: Duration = Duration::from_secs(1);

/// A catch-up run. Its receiver gets nothing live until it has finished. A run that is dropped
/// before its end is over.
#[derive(Debug)]
pub struct CatchUp {
    channels: Arc<Channels>,
    machine: Arc<Mutex<ChannelMachine>>,
    /// The channel.
    pub channel: ChannelName,
    /// The receiver.
    pub peer: Arc<Peer>,
    /// In a log: up to here the receiver may already have had the messages; they are marked so.
    pub again_through: u64,
    /// In a log: up to here the receiver was told what is lost.
    pub told_through: u64,
    /// Of a topic: whether the retained value comes first.
    pub with_retained: bool,
    /// Whether the receiver was told that the channel is damaged.
    knows_of_damage: bool,
    turn: u64,
    given: u64,
    through: u64,
}

impl Channels {
    /// A receiver gets nothing live from now on, until the returned catch-up has run, which begins
    /// after `given`. An earlier catch-up of the receiver ends.
    pub fn fall_behind(self: &Arc<Self>, channel: &ChannelName, peer: &Arc<Peer>, given: u64) -> CatchUp {
        let machine = self.machine(channel);
        let turn = machine.lock().fall_behind(peer.id);
        CatchUp::new(Arc::clone(self), machine, channel.clone(), Arc::clone(peer), turn, given)
    }
}

impl CatchUp {
    /// For a receiver that has just fallen behind, and has everything up to `given`.
    pub(super) fn new(
        channels: Arc<Channels>,
        machine: Arc<Mutex<ChannelMachine>>,
        channel: ChannelName,
        peer: Arc<Peer>,
        turn: u64,
        given: u64,
    ) -> Self {
        let (again_through, told_through, through) = (0, 0, 0);
        Self {
            channels,
            machine,
            channel,
            peer,
            again_through,
            told_through,
            with_retained: false,
            knows_of_damage: false,
            turn,
            given,
            through,
        }
    }

    /// The number up to which the receiver has everything.
    pub fn given(&self) -> u64 {
        self.given
    }

    /// The receiver has everything up to a number, or wants nothing of it.
    pub fn starts_after(&mut self, given: u64) {
        self.given = given;
    }

    /// The receiver continues from a place, of which it was told.
    pub fn begin_at(&mut self, place: &StartingPoint) {
        self.given = place.after;
        self.told_through = place.recovery.lost.as_ref().and_then(|lost| lost.through).unwrap_or(0);
    }

    /// The newest number when the receiver fell behind, also of a channel that was not loaded then.
    pub fn head_at_start(&self) -> u64 {
        self.given.max(self.machine.lock().first_head())
    }

    /// Whether this is still the receiver's catch-up. A newer one may have replaced it, or the
    /// receiver may no longer read the channel.
    pub fn is_current(&self) -> bool {
        self.machine.lock().turn_of(self.peer.id) == Some(self.turn)
    }

    /// Runs until the receiver is live or has gone. `on_given` gets the messages of an inbox that
    /// are delivered, perhaps not for the first time, `on_dead` what was delivered too often and is
    /// not delivered any more. Returns the highest number that was delivered, 0 if none.
    pub async fn run(mut self, on_given: impl Fn(&ChannelName, u64), on_dead: impl Fn(&[DeadLettered])) -> u64 {
        let start = self.given;
        {
            let mut machine = self.machine.lock();
            self.through = machine.committed();
            if self.channel.family().is_inbox() && self.peer.hand.is_some() {
                machine.add_explicit_reader(&self.peer);
            }
        }
        loop {
            match self.give_stored(&on_given, &on_dead).await {
                Ok(true) => {}
                Ok(false) => return 0,
                Err(error) => {
                    tracing::warn!(channel = %self.channel, %error, "a channel cannot be read");
                    self.tell_of_damage();
                    if self.knows_of_damage {
                        return 0;
                    }
                    tokio::time::sleep(STORE_WAIT).await;
                    if self.peer.link.is_over() {
                        return 0;
                    }
                    continue;
                }
            }
            self.tell_of_damage();
            if self.go_live(&on_given) {
                return if self.given == start { 0 } else { self.given };
            }
            // The outbox is full, or more was committed meanwhile. Either way there is no hurry,
            // and others on this thread get their turn.
            tokio::time::sleep(PAUSE_BETWEEN_ROUNDS).await;
        }
    }

    /// Tells the receiver, once, that it may have missed messages because the channel is damaged.
    fn tell_of_damage(&mut self) {
        if self.knows_of_damage || self.channels.store().refuses(&self.channel).is_none() {
            return;
        }
        self.knows_of_damage = true;
        let lost = LostRecords { count: None, exact: false, dead_lettered: 0, through: None };
        self.peer.tell(&SystemMessage::LostRecords { channel: self.channel.to_string(), reason: "damage", lost });
    }

    async fn give_stored(
        &mut self,
        on_given: &impl Fn(&ChannelName, u64),
        on_dead: &impl Fn(&[DeadLettered]),
    ) -> Result<bool, StoreError> {
        if self.channel.family().is_inbox() {
            return self.give_pending(on_given, on_dead).await;
        }
        if self.with_retained {
            let value = self.channels.store().retained(self.channel.clone()).await?;
            self.with_retained = false;
            if let Some(value) = value
                && self.give(retained(&value.frame), None, value.expires_at).await == Gave::Nobody
            {
                return Ok(false);
            }
        }
        self.give_log().await
    }

    /// Delivers the tail, if everything before it was delivered. Returns whether the receiver is
    /// live.
    fn go_live(&mut self, on_given: &impl Fn(&ChannelName, u64)) -> bool {
        let mut first = Vec::new();
        let is_live = self.take_tail(&mut first);
        first.into_iter().for_each(|seq| on_given(&self.channel, seq));
        is_live
    }

    /// The same. Adds to `first` what was delivered to nobody before.
    fn take_tail(&mut self, first: &mut Vec<u64>) -> bool {
        let mut machine = self.machine.lock();
        if machine.turn_of(self.peer.id) != Some(self.turn) {
            return false;
        }
        match machine.caught_up(self.peer.id, self.through, self.given) {
            CatchUpStep::ReadOn { through } => {
                self.through = through;
                false
            }
            CatchUpStep::GoLive(tail) => {
                // Under the lock, so that nothing newer comes first.
                let mut delivered = Vec::with_capacity(tail.len());
                let is_inbox = self.channel.family().is_inbox();
                let others = if is_inbox { self.others(&machine) } else { Vec::new() };
                for OnItsWay { seq, frame, is_given, expires_at } in tail {
                    if has_expired(expires_at) {
                        self.given = seq;
                        continue;
                    }
                    // An earlier connection may have had it live.
                    let is_again = seq <= self.again_through || (is_inbox && is_given);
                    let attempt = 1 + u32::from(is_again && !is_awaited(&others, &self.channel, seq));
                    let frame = if is_again { redelivered(&frame.payload(), 1) } else { frame };
                    let wait = self.channels.wait_after(attempt);
                    let sent = match is_inbox {
                        true => self.peer.hand_out(&self.channel, seq, wait, Lane::Normal, frame),
                        false => self.peer.give(Lane::Normal, frame),
                    };
                    match sent {
                        Sent::Queued | Sent::QueuedButPause => {}
                        Sent::Gone => break,
                        Sent::Dropped => {
                            self.turn = machine.fall_behind(self.peer.id);
                            break;
                        }
                    }
                    self.given = seq;
                    machine.given(seq);
                    if is_inbox && !is_given {
                        first.push(seq);
                    }
                    delivered.push((seq, attempt));
                }
                self.note_given();
                if is_inbox && !delivered.is_empty() {
                    self.note_delivered(delivered);
                }
                // From the very beginning, and there was nothing. Its own turn is over, so no other
                // catch-up may be running either.
                if is_inbox && self.given == 0 && machine.is_quiet() {
                    self.channels.nothing_pending(&self.channel);
                }
                machine.is_live(self.peer.id)
            }
        }
    }

    /// From now on the pong to a mark confirms that the receiver has everything up to here.
    fn note_given(&self) {
        if self.given > 0 && self.peer.confirms_by_mark(&self.channel) {
            self.peer.marks.lock().on_given(self.channel.clone(), self.given);
        }
    }

    /// Records deliveries, without waiting: what is on its way to the disk gets there before the
    /// record.
    fn note_delivered(&self, attempts: Vec<(u64, u32)>) {
        let noted = self.channels.mark_delivered(&self.channel, attempts.into_iter());
        let channel = self.channel.clone();
        actix_rt::spawn(async move {
            if let Err(error) = noted.await {
                tracing::warn!(%channel, %error, "deliveries were not recorded");
            }
        });
    }

    /// Delivers everything pending after `given`. `false`: the receiver has gone.
    async fn give_pending(
        &mut self,
        on_given: &impl Fn(&ChannelName, u64),
        on_dead: &impl Fn(&[DeadLettered]),
    ) -> Result<bool, StoreError> {
        loop {
            poll_fn(|task| self.peer.link.poll_open(task)).await;
            if self.is_current() {
                self.note_given();
            }
            self.wait_for_room(1).await;
            // Reads no more than there is room and places for, because messages read here are
            // recorded as delivered.
            let (room, places) = (self.peer.window.room(), self.peer.places().clamp(1, PENDING_PAGE));
            let page = self.channels.pending_after(&self.channel, self.given, places, room).await?;
            if page.is_empty() || self.peer.link.is_over() || !self.is_current() {
                return Ok(!self.peer.link.is_over() && self.is_current());
            }
            let read_through = page.last().map_or(self.given, |last| last.record.seq);
            let page = self.without_poison(page, on_dead).await;
            let page = self.without_expired(page, on_dead).await;
            let others = self.others(&self.machine.lock());
            let with_attempt = page.into_iter().map(|pending| {
                let is_awaited = is_awaited(&others, &self.channel, pending.record.seq);
                let attempt = if is_awaited { pending.attempts.max(1) } else { pending.attempts + 1 };
                (pending, attempt)
            });
            let page: Vec<_> = with_attempt.collect();
            // Recorded first: a message that was marked but not delivered before is better than one
            // that comes twice without a mark.
            let news = page.iter().filter(|(pending, attempt)| *attempt > pending.attempts);
            let attempts = news.map(|(pending, attempt)| (pending.record.seq, *attempt));
            if let Err(error) = self.channels.mark_delivered(&self.channel, attempts).await {
                // Stored messages are delivered also while nothing can be written.
                tracing::debug!(channel = %self.channel, %error, "deliveries were not recorded");
            }
            for (pending, attempt) in page {
                self.recall_receipt(&pending);
                let frame = redelivered(&pending.record.frame, pending.attempts);
                let hand = Some((pending.record.seq, self.channels.wait_after(attempt)));
                let seq = pending.record.seq;
                match self.give(frame, hand, pending.record.expires_at).await {
                    Gave::Message => {
                        self.machine.lock().given(seq);
                        on_given(&self.channel, seq);
                    }
                    Gave::Nothing => drop(self.without_expired(vec![pending], on_dead).await),
                    Gave::Nobody => return Ok(false),
                }
                self.given = seq;
            }
            self.given = self.given.max(read_through);
            self.machine.lock().on_handed_out(self.given);
        }
    }

    /// The sender of a message may have asked for receipts in an earlier life of the process.
    fn recall_receipt(&self, pending: &Pending) {
        let is_delivered = pending.attempts > 0;
        // Another connection got it after it was read here. Its sender may know all by now.
        let is_known = !is_delivered && self.machine.lock().handed_out() >= pending.record.seq;
        if !is_known {
            self.channels.receipts.recall(&self.channel, &pending.record, is_delivered);
        }
    }

    /// The other connections that read this inbox and acknowledge explicitly.
    fn others(&self, machine: &ChannelMachine) -> Vec<Arc<Peer>> {
        let mut others = machine.explicit_readers();
        others.retain(|peer| peer.id != self.peer.id);
        others
    }

    /// Moves the first message of an inbox to the dead letters, if so many catch-ups in a row began
    /// with it and it was never acknowledged: it may be what ends the receiver each time. The
    /// messages behind it were delivered as often, but are not to blame.
    async fn without_poison(&self, mut page: Vec<Pending>, on_dead: &impl Fn(&[DeadLettered])) -> Vec<Pending> {
        let Some(first) = page.first().filter(|_| self.given == 0) else { return page };
        let began_before = self.machine.lock().begin_with(first.record.seq, &self.peer.link);
        if began_before >= self.channels.max_deliveries() && first.attempts >= self.channels.max_deliveries() {
            let rest = page.split_off(1);
            let (mut left, dead) = self.channels.bury_spent(&self.channel, page).await;
            on_dead(&dead);
            left.extend(rest);
            return left;
        }
        page
    }

    /// Moves messages that have expired to the dead letters. Returns the others.
    async fn without_expired(&self, page: Vec<Pending>, on_dead: &impl Fn(&[DeadLettered])) -> Vec<Pending> {
        if !page.iter().any(|pending| has_expired(pending.record.expires_at)) {
            return page;
        }
        let (left, dead) = self.channels.bury_expired(&self.channel, page).await;
        on_dead(&dead);
        left
    }

    /// Delivers one message, as soon as the reader has room, unless it has expired by then. `hand`:
    /// for a message of an inbox, its number and the time to acknowledge it, in milliseconds.
    async fn give(&self, frame: Frame, hand: Option<(u64, u64)>, expires_at: Option<u64>) -> Gave {
        loop {
            poll_fn(|task| self.peer.link.poll_open(task)).await;
            self.wait_for_room(frame.len()).await;
            if self.peer.link.is_over() || !self.is_current() {
                return Gave::Nobody;
            }
            if has_expired(expires_at) {
                return Gave::Nothing;
            }
            let sent = match hand {
                Some((seq, wait)) => self.peer.hand_out(&self.channel, seq, wait, Lane::Normal, frame.clone()),
                None => self.peer.give(Lane::Normal, frame.clone()),
            };
            match sent {
                Sent::Queued | Sent::QueuedButPause => return Gave::Message,
                Sent::Gone => return Gave::Nobody,
                // Its outbox is full, or another sender has taken the room.
                Sent::Dropped => tokio::time::sleep(FULL_OUTBOX_WAIT).await,
            }
        }
    }

    /// Waits until this many more bytes may be in flight to the reader and it has a place for a
    /// message of an inbox, or until it has gone.
    async fn wait_for_room(&self, bytes: usize) {
        let is_inbox = self.channel.family().is_inbox();
        let has_place = || !is_inbox || self.peer.places() > 0;
        if self.peer.window.has_room(bytes) && has_place() {
            return;
        }
        // Confirms what it has read, although it is not finished yet.
        if self.is_current() {
            self.note_given();
        }
        self.peer.ask_what_has_come();
        while !self.peer.link.is_over() && self.is_current() {
            if !has_place() {
                self.peer.wait_for_place().await;
            } else if !self.peer.window.has_room(bytes) {
                self.peer.wait_for_room(bytes).await;
                self.peer.ask_regularly();
            } else {
                return;
            }
        }
    }

    /// Delivers everything in the log after `given`, and reports what no longer exists. `false`:
    /// the receiver has gone.
    async fn give_log(&mut self) -> Result<bool, StoreError> {
        loop {
            poll_fn(|task| self.peer.link.poll_open(task)).await;
            if self.is_current() {
                self.note_given();
            }
            // Before reading: what is stored meanwhile is in the page.
            let may_be_unstored = self.machine.lock().may_be_unstored(self.given);
            let page = self.channels.log_after(&self.channel, self.given).await?;
            // The store does not know a position that is still on its way to the disk. It has
            // removed nothing before it that the receiver has not got.
            let is_unknown = may_be_unstored && page.head < self.given;
            if let Some(lost) = page.lost.filter(|lost| !is_unknown && lost.through > self.told_through) {
                self.told_through = lost.through;
                let (channel, lost) = (self.channel.to_string(), lost_records(lost));
                self.peer.tell(&SystemMessage::LostRecords { channel, reason: "retention", lost });
            }
            if page.records.is_empty() {
                return Ok(!self.peer.link.is_over() && self.is_current());
            }
            for record in page.records {
                let attempts = u32::from(record.seq <= self.again_through);
                if self.give(redelivered(&record.frame, attempts), None, record.expires_at).await == Gave::Nobody {
                    return Ok(false);
                }
                self.given = record.seq;
            }
        }
    }
}

/// The outcome of delivering one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gave {
    /// The receiver has it.
    Message,
    /// It had expired.
    Nothing,
    /// The receiver has gone.
    Nobody,
}

impl Drop for CatchUp {
    fn drop(&mut self) {
        let mut machine = self.machine.lock();
        if machine.turn_of(self.peer.id) == Some(self.turn) {
            machine.forget(self.peer.id);
        }
    }
}

/// Whether one of these readers was handed a message and may still acknowledge it in time. Then
/// handing it to one more reader does not count as a further delivery.
fn is_awaited(readers: &[Arc<Peer>], inbox: &ChannelName, seq: u64) -> bool {
    readers.iter().any(|peer| peer.awaits(inbox, seq))
}
