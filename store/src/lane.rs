//! Priorities as numbers that backends can order by.

use common::envelope::Priority;

/// Lanes, lowest first.
pub(crate) const LANES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Control];

/// The rank of a priority: 0 gives way first.
pub(crate) const fn lane_of(priority: Priority) -> u8 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Control => 3,
    }
}

/// The priority with this rank.
pub(crate) fn priority_of(lane: u8) -> Option<Priority> {
    LANES.get(usize::from(lane)).copied()
}
