//! Records of a channel's log, and how they are written and read.

use std::sync::Arc;

use bytes::Bytes;
use common::{
    envelope::{Priority, longer_than},
    id::MAX_NAME,
};

use crate::{channel::ChannelName, dead::DeadLettered, error::StoreError, owner::Owner, position::MAX_SEQ};

/// The longest `source` of a record, in bytes.
pub const MAX_SOURCE: usize = 160;

/// A message on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Its channel. Not a dead-letter channel: only the store writes there.
    pub channel: ChannelName,
    /// Its number, out of a reserved block and above the channel's head.
    pub seq: u64,
    /// The number before it in its channel, as receivers were told; 0 for the first.
    pub prev: u64,
    /// The sender's id of the message, 1 to 128 characters: the bound of the envelope.
    pub message_id: String,
    /// The stamped address of the sender, 1 to 160 bytes.
    pub source: String,
    /// [`MessageKey::of`] the three, if the caller already knows it.
    pub key: Option<MessageKey>,
    /// The stamped envelope.
    pub frame: Bytes,
    /// Its lane: at the bound of an inbox the lowest goes first.
    pub priority: Priority,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// Now, in milliseconds since 1970. In a channel it never decreases: an earlier time is raised
    /// to that of the record before.
    pub stored_at: u64,
    /// For a record that must be acknowledged: the delivery that has begun.
    pub delivery: Option<FirstDelivery>,
    /// The sender, to whom it is charged; `None`: nobody.
    pub owner: Option<Arc<Owner>>,
    /// Whether [`crate::Store::charge`] has taken room for it. The append gives it back if it
    /// fails.
    pub is_charged: bool,
}

/// How the delivery of a new record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDelivery {
    /// 1 if it is being delivered live, 0 if the receiver is absent.
    pub attempts: u32,
    /// When it is due (again), in milliseconds since 1970.
    pub due_at: u64,
}

impl NewRecord {
    /// Checks what does not depend on the store's content.
    pub(crate) fn check(&self, max_bytes: u64) -> Result<(), StoreError> {
        if self.channel.family() == crate::ChannelFamily::Dead {
            return Err(StoreError::Invalid("only the store writes to dead-letter channels"));
        }
        if self.message_id.is_empty() || longer_than(&self.message_id, MAX_NAME) {
            return Err(StoreError::Invalid("a record's message id must have 1 to 128 characters"));
        }
        if self.source.is_empty() || self.source.len() > MAX_SOURCE {
            return Err(StoreError::Invalid("a record's source must have 1 to 160 bytes"));
        }
        if self.seq == 0 || self.seq > MAX_SEQ || self.prev >= self.seq {
            return Err(StoreError::Invalid("a record's number must be between 1 and 2^53 - 1, and above the one before it"));
        }
        if self.stored_at > MAX_SEQ || self.expires_at.is_some_and(|at| at > MAX_SEQ) {
            return Err(StoreError::Invalid("a record's times are milliseconds since 1970"));
        }
        if self.bytes() > max_bytes {
            return Err(StoreError::RecordTooLarge { bytes: self.bytes(), limit: max_bytes });
        }
        Ok(())
    }

    /// The key by which a repetition is recognised.
    pub(crate) fn key(&self) -> MessageKey {
        let key = self.key.unwrap_or_else(|| MessageKey::of(&self.channel, &self.source, &self.message_id));
        debug_assert_eq!(key, MessageKey::of(&self.channel, &self.source, &self.message_id));
        key
    }

    /// What counts against bounds: the bytes of the frame.
    pub fn bytes(&self) -> u64 {
        self.frame.len() as u64
    }
}

/// The outcome for a record that was to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log.
    Stored {
        /// Its number.
        seq: u64,
        /// What left the inbox because of it; possibly the record itself.
        evicted: Vec<DeadLettered>,
    },
    /// The same source has sent this id to this channel before. The number given to the repetition
    /// stays unused.
    Duplicate {
        /// The number of the first one.
        seq: u64,
    },
}

impl Appended {
    /// The number under which the message is in the log.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Stored { seq, .. } | Self::Duplicate { seq } => *seq,
        }
    }
}

/// A message in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// The number before it in its channel when it was sent. That record may no longer exist.
    pub prev: u64,
    /// The sender's id of the message.
    pub message_id: String,
    /// The sender's address.
    pub source: String,
    /// The stamped envelope.
    pub frame: Bytes,
    /// Its lane.
    pub priority: Priority,
    /// When it expires, in milliseconds since 1970.
    pub expires_at: Option<u64>,
    /// When it was stored, in milliseconds since 1970.
    pub stored_at: u64,
    /// Its origin, if it is in a dead-letter channel.
    pub dead: Option<crate::dead::DeadOrigin>,
}

/// Where a read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// After this number; 0 reads from the beginning.
    After(u64),
    /// At the first record stored at or after this time, in milliseconds since 1970.
    Time(u64),
    /// At the newest records, so many.
    Last(u32),
}

/// The size of one page. A page that is not empty holds at least one record, however large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records.
    pub records: u32,
    /// Bytes of frames.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 256, bytes: 1 << 20 }
    }
}

/// A part of a channel's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Continue after this number.
    pub next: u64,
    /// The channel's newest number; 0 if it never had one. `next >= head` means that this page
    /// reached the end.
    pub head: u64,
    /// The oldest number that is still there.
    pub first_available: Option<u64>,
    /// What was between the requested position and the records that still exist; only for
    /// [`ReadFrom::After`].
    pub lost: Option<Lost>,
}

impl Page {
    /// The page of a channel that does not exist.
    pub(crate) fn of_nothing(from: ReadFrom) -> Self {
        let next = if let ReadFrom::After(after) = from { after } else { 0 };
        let forgotten = Lost { trimmed: 0, dead_lettered: 0, precision: Precision::Unknown, through: next };
        Self { records: Vec::new(), next, head: 0, first_available: None, lost: (next > 0).then_some(forgotten) }
    }
}

impl Page {
    /// Whether there is more to read now.
    pub fn has_more(&self) -> bool {
        self.next < self.head
    }
}

/// What can no longer be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Records that retention has removed.
    pub trimmed: u64,
    /// Records that were moved to the dead-letter channel.
    pub dead_lettered: u64,
    /// The precision of the two numbers.
    pub precision: Precision,
    /// The highest number that is gone.
    pub through: u64,
}

/// How precisely a number of lost records is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Exactly.
    Exact,
    /// At most that many: the position is old, and the marks of what was removed have been thinned
    /// since.
    AtMost,
    /// There were records of which the store knows nothing any more: the channel was forgotten
    /// after its last use.
    Unknown,
}

/// The key by which a repeated message is recognised: a hash of channel, source and message id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct MessageKey(pub(crate) [u8; 16]);

impl MessageKey {
    /// The key of a message. The same in every process and release.
    pub fn of(channel: &ChannelName, source: &str, message_id: &str) -> Self {
        use sha2::{Digest, Sha256};
        let mut hash = Sha256::new();
        for part in [channel.as_str(), source, message_id] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(key)
    }
}

/// A message of the window in which repetitions are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecentId {
    /// Its key.
    pub key: MessageKey,
    /// Its number.
    pub seq: u64,
    /// When it was stored, in milliseconds since 1970.
    pub stored_at: u64,
}

/// What the store knows about a channel without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Which.
    pub channel: ChannelName,
    /// Its newest number.
    pub head: u64,
    /// When that was stored, in milliseconds since 1970.
    pub last_stored_at: u64,
    /// When the oldest record still there was stored, in milliseconds since 1970.
    pub oldest_at: Option<u64>,
    /// Records in the log.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Records that wait for an acknowledgement.
    pub unacked: u64,
    /// Bytes of their frames.
    pub unacked_bytes: u64,
    /// Records ever appended.
    pub appended: u64,
    /// Records ever removed by retention.
    pub trimmed: u64,
    /// Records ever moved to the dead-letter channel.
    pub dead_lettered: u64,
}
