//! The state of a store.

use crate::error::StoreError;

/// Why a store that had an epoch began a new one when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewEpoch {
    /// Its file is a copy, or was put back: what was confirmed in its place since may be missing.
    CopiedFile,
    /// The machine stopped without closing a store that did not wait for its disk.
    LostMachine,
}

impl std::fmt::Display for NewEpoch {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::CopiedFile => "its file is a copy of the one that was written",
            Self::LostMachine => "the machine stopped without closing a store that did not wait for its disk",
        })
    }
}

/// The state for operators and readiness checks.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// The error of the last write; `None` while writes succeed. While it is set nothing is
    /// confirmed, and the store tries every second whether it can write again. Without such an
    /// error, the worst damage found: [`StoreError::Damaged`] concerns one channel only, but the
    /// file should not be relied on any more. Without either, [`StoreError::DiskReserve`] while so
    /// little of the disk is free that nobody's messages are accepted.
    pub fault: Option<StoreError>,
    /// Channels in which damage was found.
    pub damaged_channels: u64,
    /// The error of the last checkpoint (copying the write-ahead log into the file). It loses
    /// nothing, but the log grows.
    pub checkpoint_fault: Option<StoreError>,
    /// Why a new epoch began when it was opened; `None` if none did, or if it had none before.
    pub new_epoch: Option<NewEpoch>,
    /// Whether it was closed.
    pub closed: bool,
    /// Writes that wait.
    pub queued_writes: u64,
    /// Bytes of frames that wait.
    pub queued_bytes: u64,
    /// Commits since it was opened.
    pub commits: u64,
    /// Records appended since it was opened.
    pub appended: u64,
    /// Duplicates recognised since it was opened.
    pub duplicates: u64,
    /// Records in all logs.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Channels.
    pub channels: u64,
    /// How long the last commit took, in microseconds.
    pub last_commit_us: u64,
    /// The longest commit since it was opened, in microseconds.
    pub longest_commit_us: u64,
    /// Size of the file, in bytes; 0 without one.
    pub file_bytes: u64,
    /// Size of its write-ahead log, in bytes.
    pub wal_bytes: u64,
    /// Free bytes on the file's device; 0 if unknown.
    pub disk_free_bytes: u64,
}

impl StoreHealth {
    /// Whether durable messages can be accepted now.
    pub fn is_ready(&self) -> bool {
        self.fault.is_none() && !self.closed
    }
}
