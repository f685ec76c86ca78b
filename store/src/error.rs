//! The errors of a store.

use std::path::{Path, PathBuf};

use crate::{channel::ChannelName, quota::Kind};

/// Why the store did not do it. A call that ends with one of these confirmed nothing and changed
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space left on the device, or the quota is used up.
    #[error("the disk is full: free some space")]
    DiskFull,
    /// The file or its file system is read-only.
    #[error("the store's file cannot be written: check its permissions and whether its file system is mounted read-only")]
    ReadOnly,
    /// The file is damaged. Nothing more is stored until an operator has restored a backup.
    #[error(
        "the store's file is damaged: stop the broker, look at the damage with `agent-bridge store check`, and restore a backup \
         with `agent-bridge store restore FILE` ({0})"
    )]
    Corrupt(String),
    /// Records of one channel are damaged. The readable ones are still served. The channel accepts
    /// no new messages until an operator has restored a backup.
    #[error(
        "{channel} is damaged in the store's file, and nothing new is stored in it: stop the broker and restore a backup ({what})"
    )]
    Damaged {
        /// The channel.
        channel: ChannelName,
        /// What was found.
        what: String,
    },
    /// Another process uses this store.
    #[error("{path} is in use by process {holder}: two brokers cannot share one store")]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// The process id in the file; `?` if there is none.
        holder: String,
    },
    /// A file of the store was deleted or replaced while it was in use. Nothing is stored until it
    /// is back, or the next start finds another.
    #[error(
        "{0} was deleted or replaced while the store was in use: stop the broker, put the file back or restore a backup, and start it again"
    )]
    Gone(PathBuf),
    /// The database is missing or empty, but a store was here.
    #[error(
        "{path} is missing or empty, but {trace} shows that a store was here: put the file back, or restore a backup with \
         `agent-bridge store restore FILE`. To begin with an empty store, delete {trace}"
    )]
    Emptied {
        /// The database's file.
        path: PathBuf,
        /// What the earlier store has left.
        trace: PathBuf,
    },
    /// Another program holds SQLite's own lock for longer than five seconds.
    #[error("another program holds the store's file: close it")]
    Contended,
    /// The device failed.
    #[error("reading or writing the store failed: {0}")]
    Io(String),
    /// The file was written by a newer release.
    #[error("the store has schema {found}, but this release supports up to {supported}: use the newer release")]
    NewerSchema {
        /// The file's version.
        found: u32,
        /// The newest version that this code supports.
        supported: u32,
    },
    /// The file belongs to another program.
    #[error("{0} is not a store of this program")]
    NotAStore(PathBuf),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// The bound of waiting writes is reached.
    #[error("too many writes wait for the disk: try again later")]
    Busy,
    /// [`crate::StoreOptions::max_bytes`], or the sender's part of it, is reached.
    #[error("the store holds its limit of {limit} bytes")]
    Full {
        /// Bytes of frames.
        limit: u64,
    },
    /// Less than [`crate::StoreOptions::disk_reserve`], or the sender's part of it, is free on the
    /// disk.
    #[error("less than {reserve} bytes are free on the store's disk")]
    DiskReserve {
        /// Bytes that stay free.
        reserve: u64,
    },
    /// One of [`crate::StoreOptions::quotas`] is used up.
    #[error("the {} has reached its limit of stored {of} ({limit})", kind.as_str())]
    QuotaExceeded {
        /// The kind of account.
        kind: Kind,
        /// What is counted: `messages` or `bytes`.
        of: &'static str,
        /// The limit.
        limit: u64,
    },
    /// [`crate::StoreOptions::max_channels`] is reached.
    #[error("the store has its limit of {limit} channels")]
    TooManyChannels {
        /// Channels.
        limit: u64,
    },
    /// The frame is larger than [`crate::StoreOptions::max_record_bytes`] or than the inbox that it
    /// is for.
    #[error("a message of {bytes} bytes is over the limit of {limit} bytes")]
    RecordTooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A sequence number at or below the channel's head.
    #[error("{channel}: {seq} does not follow {head}")]
    OutOfOrder {
        /// The channel.
        channel: ChannelName,
        /// The refused number.
        seq: u64,
        /// The channel's newest.
        head: u64,
    },
    /// A sequence number that [`crate::Store::reserve`] has not returned.
    #[error("sequence number {0} was not reserved")]
    NotReserved(u64),
    /// The call itself is wrong.
    #[error("{0}")]
    Invalid(&'static str),
    /// A bug in the store.
    #[error("the store failed: {0}")]
    Internal(String),
}

impl StoreError {
    /// Names the file in which damage was found. Other errors stay as they are.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Corrupt(what) => Self::Corrupt(format!("{}: {what}", path.display())),
            other => other,
        }
    }

    /// Whether the same call can succeed later without an operator repairing the store.
    pub const fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::ReadOnly
                | Self::Contended
                | Self::Io(_)
                | Self::Closed
                | Self::Busy
                | Self::Full { .. }
                | Self::DiskReserve { .. }
                | Self::QuotaExceeded { .. }
                | Self::TooManyChannels { .. }
        )
    }

    /// A permanent label, for metrics and logs.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk_full",
            Self::ReadOnly => "read_only",
            Self::Corrupt(_) => "corrupt",
            Self::Damaged { .. } => "damaged",
            Self::Locked { .. } => "locked",
            Self::Gone(_) => "gone",
            Self::Emptied { .. } => "emptied",
            Self::Contended => "contended",
            Self::Io(_) => "io",
            Self::NewerSchema { .. } => "newer_schema",
            Self::NotAStore(_) => "not_a_store",
            Self::Closed => "closed",
            Self::Busy => "busy",
            Self::Full { .. } => "full",
            Self::DiskReserve { .. } => "disk_reserve",
            Self::QuotaExceeded { .. } => "quota_exceeded",
            Self::TooManyChannels { .. } => "too_many_channels",
            Self::RecordTooLarge { .. } => "record_too_large",
            Self::OutOfOrder { .. } => "out_of_order",
            Self::NotReserved(_) => "not_reserved",
            Self::Invalid(_) => "invalid",
            Self::Internal(_) => "internal",
        }
    }

    /// Whether it is about the store's condition, and not about the call.
    pub const fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::ReadOnly
                | Self::Corrupt(_)
                | Self::Gone(_)
                | Self::Contended
                | Self::Io(_)
                | Self::Internal(_)
        )
    }
}
