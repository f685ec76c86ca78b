//! When to order: pure time arithmetic.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::certificate::Facts;

/// The wait after the first failed order. Authorities allow only a few failures per hour.
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);
/// The longest wait after failed orders.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);

/// A failed order, stored beside the account. Authorities count failures, so a process that
/// restarts repeatedly must not order at each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// Failures in a row.
    pub count: u32,
    /// Unix time in seconds before which no order is made.
    pub until: u64,
    /// The names of the order. The failure does not delay orders for other names.
    pub domains: Vec<String>,
    /// What went wrong.
    pub why: String,
}

impl Failure {
    /// The failure that follows `before`, and the wait until the next order.
    pub fn after(before: Option<&Self>, why: String, domains: &[String], now: SystemTime, chance: f64) -> (Self, Duration) {
        let count = before.map_or(0, |failure| failure.count).saturating_add(1);
        let wait = wait_after(count, chance);
        let until = (now + wait).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        (Self { count, until, domains: domains.to_vec(), why }, wait)
    }

    /// The remaining wait; `None` if it is over.
    pub fn left(&self, now: SystemTime) -> Option<Duration> {
        let until = UNIX_EPOCH + Duration::from_secs(self.until);
        until.duration_since(now).ok().filter(|left| !left.is_zero()).map(|left| left.min(LONGEST_WAIT))
    }
}

/// When to renew the certificate: after two thirds of its lifetime, or at once if it does not cover
/// these names.
pub(super) fn due(facts: Option<&Facts>, domains: &[String]) -> SystemTime {
    match facts {
        Some(facts) if facts.covers(domains) => {
            let life = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
            facts.not_before + life * 2 / 3
        }
        _ => SystemTime::UNIX_EPOCH,
    }
}

/// The wait after `failures` failures in a row (at least one). `chance`, from 0 to 1, adds jitter.
pub(super) fn wait_after(failures: u32, chance: f64) -> Duration {
    let bound = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_WAIT);
    bound.mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn renewal_is_due_after_two_thirds_of_the_life() {
        let start = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let facts = Facts { not_before: start, not_after: start + 90 * DAY, names: vec!["a.example".into(), "b.example".into()] };
        assert_eq!(due(Some(&facts), &["b.example".into()]), start + 60 * DAY);
        assert_eq!(due(Some(&facts), &["c.example".into()]), SystemTime::UNIX_EPOCH);
        assert_eq!(due(None, &["a.example".into()]), SystemTime::UNIX_EPOCH);
    }

    #[test]
    fn failures_add_up_and_their_time_passes() {
        let (now, names) = (SystemTime::UNIX_EPOCH + 1000 * DAY, ["a.example".to_owned()]);
        let (first, wait) = Failure::after(None, "why".into(), &names, now, 0.0);
        assert_eq!((first.count, wait), (1, FIRST_WAIT));
        assert_eq!(first.left(now), Some(FIRST_WAIT));
        assert_eq!(first.left(now + FIRST_WAIT), None);
        assert_eq!(first.left(SystemTime::UNIX_EPOCH), Some(LONGEST_WAIT), "a clock that was wrong does not hold it up for ever");
        let (second, wait) = Failure::after(Some(&first), "why".into(), &names, now, 0.0);
        assert_eq!((second.count, wait), (2, 2 * FIRST_WAIT));
    }

    #[test]
    fn waits_double_within_bounds() {
        let minutes: Vec<u64> = (1..=9).map(|failures| wait_after(failures, 0.0).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 360, 360]);
        assert_eq!(wait_after(1, 1.0), FIRST_WAIT.mul_f64(0.75));
        assert_eq!(wait_after(u32::MAX, 0.0), LONGEST_WAIT);
    }
}
