//! The vocabulary of a queue: lanes, what happens to a frame that does not fit, what a sender
//! hears.

use std::num::NonZeroU64;

use crate::frame::Frame;

/// The order in which frames leave: in order within a lane, and a lane before those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Pings, closes, answers of the bridge, messages of priority `control`.
    Control,
    /// Messages of priority `high`.
    High,
    /// Everything else.
    Normal,
    /// Messages of priority `low`.
    Low,
}

impl Lane {
    /// The number of lanes.
    pub(super) const COUNT: usize = 4;
}

/// The sender of a frame, as far as turns are concerned. Hashes whose key nobody outside may know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    /// Those who have turns together: the address of a session, so that many sessions of one
    /// address do not count as many senders.
    pub group: u64,
    /// The sender among them.
    pub sender: u64,
}

impl Source {
    /// The bridge itself, and the log: answers, notices, durable frames.
    pub const BRIDGE: Self = Self { group: 0, sender: 0 };
}

/// A stream: messages that may replace each other, with the same sender, type, target and
/// conflation key. A keyed hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey(NonZeroU64);

impl StreamKey {
    /// From a hash whose key nobody outside may know: a collision would let one message replace
    /// another.
    pub const fn from_hash(hash: u64) -> Self {
        // The values below have another meaning in a mark.
        match NonZeroU64::new(hash) {
            Some(hash) if hash.get() >= Mark::FIRST_KEY => Self(hash),
            _ => Self(NonZeroU64::MAX),
        }
    }
}

/// Merges an older and a newer frame; `None` if they do not fit together.
pub type Merge = fn(&Frame, &Frame) -> Option<Frame>;

/// What happens to an ephemeral frame whose reader is behind.
#[derive(Clone, Copy, Debug, Default)]
pub enum Overflow {
    /// If it does not fit, it is dropped.
    #[default]
    DropNewest,
    /// While it waits, it gives way to newer frames of its lane, the oldest first.
    DropOldest,
    /// It replaces one of the same stream that still waits.
    Latest(StreamKey),
    /// From a quarter full on, it is merged with one of the same stream that still waits.
    Merge(StreamKey, Merge),
}

impl Overflow {
    /// Whether its sender should pause for a slow reader. No, if its frames cannot pile up.
    pub(super) const fn may_pause(self) -> bool {
        matches!(self, Self::DropNewest | Self::Merge(..))
    }
}

/// What a queue must know about a waiting frame, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

impl Mark {
    /// Ephemeral; a higher lane may push it out.
    pub const EPHEMERAL: Self = Self(0);
    /// Never pushed out.
    pub const DURABLE: Self = Self(1);
    /// Ephemeral, and gives way to newer ones of its lane.
    pub const YIELDS: Self = Self(2);
    /// Was pushed out.
    pub const GONE: Self = Self(3);
    /// From here on a mark is the stream of an ephemeral frame.
    const FIRST_KEY: u64 = 4;

    /// The mark of an ephemeral frame.
    pub const fn of(overflow: Overflow) -> Self {
        match overflow {
            Overflow::DropNewest => Self::EPHEMERAL,
            Overflow::DropOldest => Self::YIELDS,
            Overflow::Latest(key) | Overflow::Merge(key, _) => Self(key.0.get()),
        }
    }

    /// The frame's stream, if it has one.
    pub const fn key(self) -> u64 {
        self.0
    }

    /// Whether the frame has a stream.
    pub const fn is_keyed(self) -> bool {
        self.0 >= Self::FIRST_KEY
    }

    /// Whether a higher lane may push the frame out.
    pub const fn is_ephemeral(self) -> bool {
        !matches!(self, Self::DURABLE | Self::GONE)
    }
}

/// The outcome of sending a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits its turn.
    Queued,
    /// It waits its turn, and the sender should pause until [`crate::Link::poll_open`].
    QueuedButPause,
    /// The reader is too slow; the frame was dropped and counted.
    Dropped,
    /// The connection is closing or closed.
    Gone,
}

impl Sent {
    /// Whether the frame waits its turn.
    pub const fn is_queued(self) -> bool {
        matches!(self, Self::Queued | Self::QueuedButPause)
    }
}

/// What happens to data that still waits when a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// It is written first.
    Flush,
    /// It is dropped; the control lane is written.
    Discard,
}

/// Frames that were dropped because the reader was too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Lost {
    /// One frame.
    pub(super) fn one(frame: &Frame) -> Self {
        Self { count: 1, bytes: frame.len() as u64 }
    }
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.bytes += other.bytes;
    }
}

/// Everything that a push did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The outcome for the frame.
    pub sent: Sent,
    /// What was dropped: the frame itself, or those that it pushed out.
    pub lost: Lost,
    /// Whether it replaced an older one, or was merged with it.
    pub conflated: bool,
}

impl From<Sent> for Pushed {
    fn from(sent: Sent) -> Self {
        Self { sent, lost: Lost::default(), conflated: false }
    }
}
