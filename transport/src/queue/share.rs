//! How much of a lane one group or sender has.

use std::{collections::HashMap, ops::AddAssign};

use super::row::Sums;

/// What a group or a sender has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Bytes of all frames.
    pub bytes: usize,
    /// Bytes of the frames that may be pushed out.
    pub ephemeral: usize,
}

/// By the key of a group or sender.
pub(super) type Shares = HashMap<u64, Share>;

impl Share {
    /// The share of a row or group. If `without_yielding`, frames that yield do not count.
    pub fn of(sums: &Sums, without_yielding: bool) -> Self {
        let yielding = if without_yielding { sums.yielding } else { 0 };
        Self { bytes: (sums.bytes - yielding) as usize, ephemeral: (sums.ephemeral - yielding) as usize }
    }

    /// The bytes that may be removed until no more than `most` are left.
    pub fn above(&self, most: usize) -> usize {
        self.ephemeral.min(self.bytes.saturating_sub(most))
    }

    /// So many bytes of frames that may be pushed out are gone.
    pub fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.ephemeral -= bytes;
    }
}

impl AddAssign for Share {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.ephemeral += other.ephemeral;
    }
}
