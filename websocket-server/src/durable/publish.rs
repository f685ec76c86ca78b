//! A durable message on its way into its channel.

use std::sync::Arc;

use common::{
    envelope::{Priority, Retain},
    error::{ClientError, ErrorCode},
    timestamp::{millis, unix_ms},
};
use parking_lot::Mutex;
use store::{Appended, ChannelName, FirstDelivery, MessageKey, NewRecord, Owner, Reply, Retained};
use transport::{Lane, Link, Sent};

use super::{
    CatchUp, ChannelMachine, Channels, Notice, OnItsWay,
    expiry::has_expired,
    positioned,
    recent::{Answer, First},
    refusal_of,
};
use crate::{hashing::hash, peers::Peer};

/// A durable message on its way to the disk.
pub struct Accepted {
    /// What must be remembered until the store answers.
    pub outstanding: Outstanding,
    /// Resolves when it is in the store.
    pub committed: Reply<Vec<Appended>>,
    /// How many connections got it live.
    pub deliveries: usize,
    /// Live receivers whose positions are stored.
    pub delivered: Vec<Arc<Peer>>,
    /// The catch-ups, to be run, of connections that had no room for it and have just fallen
    /// behind.
    pub fell_behind: Vec<CatchUp>,
    /// A receiver that the sender should wait for.
    pub pause_for: Option<Arc<Link>>,
}

/// The immediate outcome for a durable message.
pub enum Outcome {
    /// It has a number and is on its way to the disk.
    Accepted(Box<Accepted>),
    /// The store must be asked for the channel's newest number first, with [`Channels::load`].
    NotLoaded,
}

/// The message was not accepted, and nobody got it: the error for the sender.
#[derive(Clone, Debug)]
pub struct Refused(pub ClientError);

/// A durable message from the router.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Its channel.
    pub channel: &'a ChannelName,
    /// The stamped envelope.
    pub text: &'a str,
    /// Its id.
    pub id: &'a str,
    /// The sender's address.
    pub source: &'a str,
    /// Its priority.
    pub priority: Priority,
    /// Its lane.
    pub lane: Lane,
    /// Its time to live.
    pub ttl_ms: Option<u64>,
    /// Its effect on its topic's retained value.
    pub retain: Retain,
    /// Whether the sender wants receipts.
    pub receipt: bool,
    /// To whom it is charged.
    pub owner: Option<&'a Arc<Owner>>,
    /// The sender, if it reads the channel itself: it does not get its own message.
    pub own: Option<&'a Arc<Peer>>,
}

/// What is remembered of a message until the store answers.
#[derive(Clone, Debug)]
pub struct Outstanding {
    /// Its channel.
    pub channel: ChannelName,
    /// Its number. For a repetition that of the store, 0 if that is not known yet.
    pub seq: u64,
    /// `None`: it is a repetition.
    first: Option<FirstMessage>,
}

/// What is remembered of a message that is not a repetition.
#[derive(Clone, Debug)]
struct FirstMessage {
    machine: Arc<Mutex<ChannelMachine>>,
    key: MessageKey,
}

impl Accepted {
    /// A repetition: it gets the answer of the first message, which alone is delivered and stored.
    /// So a message is never in the store without having been delivered to live readers.
    fn repeated(channel: &ChannelName, first: First) -> Self {
        let seq = if let First::Stored(seq) = first { seq } else { 0 };
        Self {
            outstanding: Outstanding { channel: channel.clone(), seq, first: None },
            committed: Box::pin(async move { Ok(vec![Appended::Duplicate { seq: first.outcome().await? }]) }),
            deliveries: 0,
            delivered: Vec::new(),
            fell_behind: Vec::new(),
            pause_for: None,
        }
    }
}

/// Who got a message live.
#[derive(Default)]
struct Live {
    deliveries: usize,
    delivered: Vec<Arc<Peer>>,
    fell_behind: Vec<CatchUp>,
    pause_for: Option<Arc<Link>>,
}

impl Live {
    fn note(&mut self, peer: &Arc<Peer>, sent: Sent, is_inbox: bool) {
        match sent {
            Sent::Gone | Sent::Dropped => {}
            Sent::Queued | Sent::QueuedButPause => {
                self.deliveries += 1;
                if is_inbox || peer.consumer.is_some() {
                    self.delivered.push(Arc::clone(peer));
                }
                if sent == Sent::QueuedButPause {
                    self.pause_for = Some(Arc::clone(&peer.link));
                }
            }
        }
    }
}

impl Channels {
    /// Accepts a durable message: numbers it, delivers it to those of `receivers` that keep up, and
    /// sends it to the disk. To be called under the router's lock, so that nobody comes or goes
    /// meanwhile.
    ///
    /// # Errors
    /// `store_unavailable`: no numbers, or repeated too often while it is on its way to the disk.
    /// `quota_exceeded`, `store_full`, `store_damaged`.
    pub fn accept<'a>(
        self: &Arc<Self>,
        message: Draft<'_>,
        receivers: impl Iterator<Item = &'a Arc<Peer>>,
    ) -> Result<Outcome, Refused> {
        let Draft { channel, text, id, source, priority, lane, ttl_ms, retain, receipt, owner, own } = message;
        let is_inbox = channel.family().is_inbox();
        let (now, key) = (unix_ms(), MessageKey::of(channel, source, id));
        let shared = self.machine(channel);
        // Before the lock: catch-ups take it when they are dropped.
        let mut live = Live::default();
        let mut machine = shared.lock();
        if !self.load_if_new(channel, &mut machine) {
            return Ok(Outcome::NotLoaded);
        }
        if let Some(first) = self.recent.lock().find(&key, now) {
            let first = first.map_err(|_| Refused(ErrorCode::StoreUnavailable.into()))?;
            return Ok(Outcome::Accepted(Box::new(Accepted::repeated(channel, first))));
        }
        // This comes before any delivery: a message that cannot be stored should not be delivered
        // either.
        if let Some(damage) = self.store().refuses(channel) {
            return Err(Refused(refusal_of(&damage)));
        }
        let seq = self.next_number().ok_or(Refused(ErrorCode::StoreUnavailable.into()))?;
        let prev = machine.head();
        let frame = positioned(text, channel, self.epoch(), seq, prev);
        // Before anybody gets it: what is refused for good must not be delivered.
        let bytes = frame.payload().len() as u64;
        let payer = owner.map(|owner| &**owner);
        self.store().charge(payer, bytes).map_err(|error| Refused(refusal_of(&error)))?;
        if retain == Retain::Set
            && let Err(error) = self.store().charge(payer, bytes)
        {
            // The value is charged as one more message: it may outlive this one.
            self.store().release(payer, bytes);
            return Err(Refused(refusal_of(&error)));
        }
        machine.push(seq);
        // Under the machine's lock, so that no other copy came meanwhile.
        self.recent.lock().remember(key, hash(source) as u32, now, seq);
        if receipt && is_inbox {
            self.receipts.want(channel, seq, source, id);
        }
        let expires_at = ttl_ms.map(|ttl| now.saturating_add(ttl));
        for peer in receivers {
            if !machine.is_live(peer.id) || has_expired(expires_at) {
                continue;
            }
            let sent = if is_inbox && peer.hand.is_some() {
                machine.add_explicit_reader(peer);
                peer.hand_out(channel, seq, self.wait_after(1), lane, frame.clone())
            } else {
                peer.give(lane, frame.clone())
            };
            if sent == Sent::Dropped {
                // It is in the log: the receiver reads it when it is ready.
                let turn = machine.fall_behind(peer.id);
                let (channels, channel) = (Arc::clone(self), channel.clone());
                live.fell_behind.push(CatchUp::new(channels, Arc::clone(&shared), channel, Arc::clone(peer), turn, prev));
            }
            live.note(peer, sent, is_inbox);
        }
        if let Some(own) = own
            && machine.is_live(own.id)
        {
            live.delivered.push(Arc::clone(own));
        }
        let record = NewRecord {
            channel: channel.clone(),
            seq,
            prev,
            message_id: id.to_owned(),
            source: source.to_owned(),
            key: Some(key),
            frame: frame.payload(),
            priority,
            expires_at,
            stored_at: now,
            delivery: is_inbox.then(|| FirstDelivery {
                attempts: u32::from(live.deliveries > 0),
                due_at: now.saturating_add(millis(self.ack_timeout())),
            }),
            owner: owner.map(Arc::clone),
            is_charged: true,
        };
        let appended = self.store().append(vec![record]);
        if is_inbox {
            self.note_pending(channel);
        } else {
            self.note_log(channel);
        }
        let committed = match retain {
            Retain::No => appended,
            Retain::Set | Retain::Clear => {
                let value =
                    (retain == Retain::Set).then_some(Retained { seq, stored_at: now, expires_at, frame: frame.payload() });
                let retained = self.store().set_retained(channel.clone(), value, owner.map(Arc::clone));
                Box::pin(async move {
                    let appended = appended.await?;
                    retained.await?;
                    Ok(appended)
                })
            }
        };
        machine.sent_to_disk(OnItsWay { seq, frame, is_given: live.deliveries > 0, expires_at });
        drop(machine);
        let Live { deliveries, delivered, fell_behind, pause_for } = live;
        let first = FirstMessage { machine: shared, key };
        let outstanding = Outstanding { channel: channel.clone(), seq, first: Some(first) };
        Ok(Outcome::Accepted(Box::new(Accepted { outstanding, committed, deliveries, delivered, fell_behind, pause_for })))
    }

    /// A message that its sender has sent before, whatever the sender may do now: it gets the
    /// answer of the first one. `None`: the message is new, or it was repeated too often while the
    /// first one is on its way to the disk.
    pub fn first_of(&self, channel: &ChannelName, source: &str, id: &str) -> Option<Box<Accepted>> {
        let key = MessageKey::of(channel, source, id);
        let first = self.recent.lock().find(&key, unix_ms())?.ok()?;
        Some(Box::new(Accepted::repeated(channel, first)))
    }

    /// The store has answered for a message, and its sender knows it. Returns the held-back notices
    /// about the message.
    pub fn on_answer(&self, message: &Outstanding, answer: &Answer) -> Vec<Notice> {
        let Some(first) = &message.first else { return Vec::new() };
        let owed = match answer {
            Ok(seq) => {
                let owed = first.machine.lock().stored(message.seq);
                if *seq == message.seq {
                    owed
                } else {
                    // The store had it from an earlier life, under another number: its delivery was
                    // told then.
                    self.receipts.forget(&message.channel, message.seq);
                    self.free_places(&message.channel, &[message.seq]);
                    Vec::new()
                }
            }
            Err(error) => {
                tracing::warn!(channel = %message.channel, %error, "a durable message was not stored");
                first.machine.lock().given_up(message.seq);
                self.free_places(&message.channel, &[message.seq]);
                self.receipts.forget(&message.channel, message.seq);
                Vec::new()
            }
        };
        self.recent.lock().on_answer(&first.key, message.seq, answer);
        owed
    }

    /// Holds back a notice about a message until its sender knows that the message is stored; see
    /// [`ChannelMachine::hold`].
    pub fn hold(&self, channel: &ChannelName, seq: u64, notice: Notice) -> Option<Notice> {
        match self.in_use(channel) {
            Some(machine) => machine.lock().hold(seq, notice),
            None => Some(notice),
        }
    }
}
