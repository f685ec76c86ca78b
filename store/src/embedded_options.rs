//! Options that only a store in a file has.

use crate::error::StoreError;

const MIB: u64 = 1 << 20;

/// What a confirmation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It is on the disk: survives power loss.
    #[default]
    Fsync,
    /// The operating system has it: survives `kill -9`. A power loss may lose the newest, and then
    /// the epoch changes.
    Process,
}

impl Durability {
    /// The name in configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Process => "process",
        }
    }
}

/// The options of the embedded backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// What a confirmation means. Default [`Durability::Fsync`].
    pub durability: Durability,
    /// Bytes of SQLite's write-ahead log that are copied into the file at once. The log is longer
    /// by one commit. Under steady reading it is up to four times as long. It has no bound only
    /// while something reads one state of the file for longer, as a backup does. A larger value is
    /// faster, and makes the slowest confirmation slower. Default 32 MiB.
    pub checkpoint_bytes: u64,
    /// Threads that read. Default 2.
    pub readers: usize,
    /// Reads that may wait for such a thread; further callers wait for a place. Default 256.
    pub queue_reads: usize,
    /// The SQLite VFS; `None`: the system's. For tests of power loss.
    pub vfs: Option<String>,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { durability: Durability::default(), checkpoint_bytes: 32 * MIB, readers: 2, queue_reads: 256, vfs: None }
    }
}

impl EmbeddedOptions {
    /// With this durability, and the defaults otherwise.
    pub fn with(durability: Durability) -> Self {
        Self { durability, ..Self::default() }
    }

    /// Refuses options that cannot work.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if [self.readers, self.queue_reads].contains(&0) {
            return Err(StoreError::Invalid("the store's queues and threads must not be 0"));
        }
        Ok(())
    }
}
