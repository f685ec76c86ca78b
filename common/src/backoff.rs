//! How long to wait before a server is dialled again: exponential backoff with full jitter. Pure.

use std::time::Duration;

use crate::timestamp::millis;

/// A connection that lasted so long is stable: after its loss the waits start again.
pub const STABLE_AFTER: Duration = Duration::from_secs(5);

/// The rule: the n-th wait is random between zero and `min(longest, first * 2^n)`.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The bound of the first wait.
    pub first: Duration,
    /// The bound that no wait exceeds.
    pub longest: Duration,
}

impl Backoff {
    /// The wait after `failures` earlier failures, with `dice` as the random number.
    pub fn wait(&self, failures: u32, dice: u64) -> Duration {
        let factor = 1_u64.checked_shl(failures).unwrap_or(u64::MAX);
        let bound = millis(self.first).saturating_mul(factor).min(millis(self.longest));
        // The remainder favours small waits by less than one part in 10^13, at any bound in use.
        Duration::from_millis(dice % bound.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: Backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

    #[test]
    fn bounds_double_up_to_the_longest() {
        let bound = |failures| (0..200_000).map(|dice| RULE.wait(failures, dice)).max().expect("many");
        let seconds: Vec<_> = (0..8).map(|failures| bound(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    proptest! {
        #[test]
        fn no_wait_is_over_the_longest(failures: u32, dice: u64) {
            prop_assert!(RULE.wait(failures, dice) <= RULE.longest);
        }

        #[test]
        fn every_wait_is_possible(wait in 0_u64..1000) {
            prop_assert_eq!(RULE.wait(0, wait), Duration::from_millis(wait));
        }
    }
}
