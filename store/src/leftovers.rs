//! What a store keeps although it is charged to nobody: acknowledged records of inboxes, and dead
//! letters. Pure; every backend uses it.
//!
//! Leftovers use only room that nobody needs. Together with what is charged they may fill the store
//! up to its bound. Above the bound the oldest are removed: first those of sessions' inboxes, then
//! of users', of agents', and dead letters last. So nobody is refused because of what others have
//! acknowledged.
//!
//! Looking for leftovers costs more than removing one record. So a sixteenth of the bound is made
//! free at once.

use crate::channel::ChannelFamily;

/// The families with leftovers, in the order in which they give way.
pub(crate) const FAMILIES: [ChannelFamily; 4] =
    [ChannelFamily::Session, ChannelFamily::User, ChannelFamily::Agent, ChannelFamily::Dead];
/// The most records that one write removes; the next one continues.
pub(crate) const BUDGET: u64 = 4_096;
/// Records of one channel that are removed before the next oldest is looked for.
pub(crate) const PORTION: u64 = 64;

/// Decides when leftovers must give way.
#[derive(Debug)]
pub(crate) struct Leftovers {
    bound: u64,
    /// Bytes in the store above which looking is worthwhile.
    above: u64,
    /// Bytes that are missing on the disk.
    missing: u64,
}

impl Leftovers {
    /// For a store with this bound in bytes; 0: without a bound.
    pub(crate) fn new(bound: u64) -> Self {
        let bound = if bound == 0 { u64::MAX } else { bound };
        Self { bound, above: bound, missing: 0 }
    }

    fn low(&self) -> u64 {
        self.bound - self.bound / 16
    }

    /// So many bytes of the disk can be used, some of which are a reserve. Leftovers give way
    /// before the reserve is reached.
    pub(crate) fn note_disk(&mut self, usable: u64, reserve: u64) {
        let is_short = usable < reserve.saturating_add(reserve / 4);
        self.missing = if is_short { reserve.saturating_add(reserve / 2).saturating_sub(usable) } else { 0 };
    }

    /// Whether some should be removed, if so many bytes are stored.
    pub(crate) fn are_due(&self, stored: u64) -> bool {
        stored > self.above || self.missing > 0
    }

    /// How many bytes should be removed, until none need be.
    pub(crate) fn excess(&self, stored: u64) -> u64 {
        stored.saturating_sub(self.low()).max(self.missing)
    }

    /// Whether room is still missing on the disk.
    pub(crate) fn is_disk_short(&self) -> bool {
        self.missing > 0
    }

    /// So many bytes were removed.
    pub(crate) fn note_removed(&mut self, bytes: u64) {
        self.missing = self.missing.saturating_sub(bytes);
    }

    /// A step has ended: so many bytes are stored now, and whether there are more leftovers.
    pub(crate) fn note(&mut self, stored: u64, has_more: bool) {
        if !has_more {
            self.missing = 0;
        }
        self.above = if stored <= self.low() {
            self.bound
        } else if has_more {
            self.low()
        } else {
            // Everything is charged to somebody: looking again is not worthwhile until much was
            // acknowledged.
            stored.max(self.bound).saturating_add(self.bound / 16)
        };
    }
}

/// How many records of one channel to remove, of so many with so many bytes, to remove an excess of
/// bytes.
pub(crate) fn portion(excess: u64, records: u64, bytes: u64, budget: u64) -> u64 {
    let average = (bytes / records.max(1)).max(1);
    excess.div_ceil(average).clamp(1, PORTION).min(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sixteenth_is_freed_at_once_and_a_failed_search_is_not_repeated_soon() {
        let mut leftovers = Leftovers::new(1_600);
        assert!(!leftovers.are_due(1_600) && leftovers.are_due(1_601));
        assert_eq!((leftovers.excess(1_601), leftovers.excess(1_500)), (101, 0));
        leftovers.note(1_550, true);
        assert!(leftovers.are_due(1_550), "goes on below the bound");
        leftovers.note(1_500, true);
        assert!(!leftovers.are_due(1_600));
        leftovers.note(1_650, false);
        assert!(!leftovers.are_due(1_750) && leftovers.are_due(1_751));
        assert!(!Leftovers::new(0).are_due(u64::MAX - 1));
    }

    #[test]
    fn a_disk_that_is_short_of_room_makes_them_due() {
        let mut leftovers = Leftovers::new(0);
        leftovers.note_disk(125, 100);
        assert!(!leftovers.are_due(1_000));
        leftovers.note_disk(124, 100);
        assert!(leftovers.are_due(1_000));
        assert_eq!(leftovers.excess(1_000), 26);
        leftovers.note_removed(20);
        assert!(leftovers.is_disk_short());
        assert_eq!(leftovers.excess(980), 6);
        leftovers.note(980, false);
        assert!(!leftovers.are_due(980), "until the disk is measured again");
    }

    #[test]
    fn no_more_goes_of_one_channel_than_is_needed_and_than_a_portion() {
        assert_eq!(portion(101, 10, 1_000, 4_096), 2);
        assert_eq!(portion(1_000_000, 1_000, 100_000, 4_096), PORTION);
        assert_eq!(portion(1_000_000, 1_000, 100_000, 3), 3);
        assert_eq!(portion(10, 0, 0, 4_096), 10);
    }
}
