//! A token bucket in eight bytes.
//!
//! The bucket stores the moment at which it will be full again (the generic cell rate algorithm).
//! Taking moves that moment forward; it may not be further ahead than a burst takes to refill. The
//! crate `governor` does the same, but brings its own clock and table, and cannot take more at once
//! than a burst, as a large frame needs.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const SECOND: u128 = 1_000_000_000;

/// Units per second, with a burst. Shared by all that have this limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u64,
    burst: u64,
}

/// One peer's bucket: when it is full again, in nanoseconds of the caller's clock. A new one is
/// full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: u64,
}

/// A bucket that connections on several threads share.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Fills it.
    pub fn fill(&self) {
        self.0.store(0, Relaxed);
    }

    /// Whether it is full.
    pub fn is_full(&self, now: Duration) -> bool {
        self.0.load(Relaxed) <= nanoseconds(now)
    }
}

impl Bucket {
    /// Whether it is full.
    pub fn is_full(&self, now: Duration) -> bool {
        self.full_at <= nanoseconds(now)
    }
}

impl Rate {
    /// `per_second` in the long run, 0: no limit. At most `burst` at once after a pause, at least
    /// 1.
    pub const fn new(per_second: u64, burst: u64) -> Self {
        Self { per_second, burst: if burst == 0 { 1 } else { burst } }
    }

    /// No limit.
    pub const UNLIMITED: Self = Self::new(0, 1);

    /// How many a second; 0: no limit.
    pub const fn per_second(&self) -> u64 {
        self.per_second
    }

    /// How many at once.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// Whether there is no limit.
    pub const fn is_unlimited(&self) -> bool {
        self.per_second == 0
    }

    /// Takes units out of a bucket.
    ///
    /// A full bucket lets through what is larger than a burst. It is paid off afterwards.
    ///
    /// # Errors
    /// There are not enough: the time after which there will be. Nothing is taken then.
    pub fn take(&self, bucket: &mut Bucket, units: u64, now: Duration) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        let now = nanoseconds(now);
        let full_at = bucket.full_at.max(now);
        // What the bucket must hold before: at most as much as it can hold.
        let needed = self.time_for(units.min(self.burst));
        let ahead = (full_at - now).saturating_add(needed);
        let allowed = self.time_for(self.burst);
        if ahead > allowed {
            return Err(Duration::from_nanos(ahead - allowed));
        }
        bucket.full_at = full_at.saturating_add(self.time_for(units));
        Ok(())
    }

    /// Takes units out of a bucket that several use, even if it does not hold them. Returns how
    /// long to take no more; zero if it held them.
    ///
    /// For units that have already arrived when they are counted, so that nothing must be held
    /// back.
    pub fn charge(&self, bucket: &SharedBucket, units: u64, now: Duration) -> Duration {
        if self.per_second == 0 {
            return Duration::ZERO;
        }
        let (now, cost) = (nanoseconds(now), self.time_for(units));
        let charged = |full_at: u64| full_at.max(now).saturating_add(cost);
        let before = bucket.0.fetch_update(Relaxed, Relaxed, |full_at| Some(charged(full_at))).unwrap_or_default();
        Duration::from_nanos((charged(before) - now).saturating_sub(self.time_for(self.burst)))
    }

    /// Takes units out of a bucket that several use.
    ///
    /// # Errors
    /// There are not enough: the time after which there will be. Nothing is taken then.
    pub fn take_shared(&self, bucket: &SharedBucket, units: u64, now: Duration) -> Result<(), Duration> {
        let mut outcome = Ok(());
        let _ = bucket.0.fetch_update(Relaxed, Relaxed, |full_at| {
            let mut bucket = Bucket { full_at };
            outcome = self.take(&mut bucket, units, now);
            outcome.is_ok().then_some(bucket.full_at)
        });
        outcome
    }

    /// The nanoseconds in which so many units become available, rounded up.
    fn time_for(&self, units: u64) -> u64 {
        if let Some(scaled) = units.checked_mul(SECOND as u64) {
            return scaled.div_ceil(self.per_second.max(1));
        }
        let time = (u128::from(units) * SECOND).div_ceil(u128::from(self.per_second.max(1)));
        u64::try_from(time).unwrap_or(u64::MAX)
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_burst_and_then_the_rate() {
        let (rate, mut bucket) = (Rate::new(10, 5), Bucket::default());
        for _ in 0..5 {
            assert_eq!(rate.take(&mut bucket, 1, MS(0)), Ok(()));
        }
        assert_eq!(rate.take(&mut bucket, 1, MS(0)), Err(MS(100)));
        assert_eq!(rate.take(&mut bucket, 1, MS(99)), Err(MS(1)));
        assert_eq!(rate.take(&mut bucket, 1, MS(100)), Ok(()));
        assert_eq!(rate.take(&mut bucket, 5, MS(10_000)), Ok(()), "full again");
        assert_eq!(rate.take(&mut bucket, 1, MS(10_000)), Err(MS(100)));
    }

    #[test]
    fn a_cost_above_the_burst_passes_a_full_bucket_and_is_paid_off() {
        let (rate, mut bucket) = (Rate::new(1000, 100), Bucket::default());
        assert_eq!(rate.take(&mut bucket, 1000, MS(0)), Ok(()));
        assert_eq!(rate.take(&mut bucket, 1, MS(0)), Err(MS(901)));
        assert_eq!(rate.take(&mut bucket, 1000, MS(999)), Err(MS(1)));
        assert_eq!(rate.take(&mut bucket, 1000, MS(1000)), Ok(()));
    }

    #[test]
    fn a_shared_bucket_goes_into_debt_and_says_for_how_long() {
        let (rate, bucket) = (Rate::new(10, 5), SharedBucket::default());
        for _ in 0..5 {
            assert_eq!(rate.charge(&bucket, 1, MS(0)), Duration::ZERO);
        }
        assert_eq!(rate.charge(&bucket, 1, MS(0)), MS(100));
        assert_eq!(rate.charge(&bucket, 20, MS(100)), MS(2000));
        assert!(!bucket.is_full(MS(2599)) && bucket.is_full(MS(2600)));
        assert_eq!(rate.charge(&bucket, 5, MS(2600)), Duration::ZERO);
    }

    #[test]
    fn zero_is_no_limit_and_a_bucket_is_small() {
        let mut bucket = Bucket::default();
        assert_eq!(Rate::UNLIMITED.take(&mut bucket, u64::MAX, MS(0)), Ok(()));
        assert_eq!(size_of::<Bucket>(), 8);
        let rate = Rate::new(1, u64::MAX);
        assert_eq!(rate.take(&mut bucket, u64::MAX, Duration::MAX), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate_allow(
            per_second in 1_u64..1000, burst in 1_u64..100, steps in prop::collection::vec((0_u64..200, 1_u64..20), 1..200),
        ) {
            let (rate, mut bucket) = (Rate::new(per_second, burst), Bucket::default());
            let (mut now, mut taken) = (0, 0);
            for (wait, units) in steps {
                now += wait;
                let units = units.min(burst);
                match rate.take(&mut bucket, units, MS(now)) {
                    Ok(()) => taken += units,
                    Err(wait) => {
                        // The returned wait is enough; one nanosecond less is not.
                        let later = MS(now) + wait;
                        prop_assert!(rate.take(&mut bucket.clone(), units, later).is_ok());
                        prop_assert!(rate.take(&mut bucket.clone(), units, later - Duration::from_nanos(1)).is_err());
                    }
                }
                prop_assert!(taken <= burst + per_second * now / 1000);
            }
        }

        #[test]
        fn no_numbers_make_it_panic(per_second in any::<u64>(), burst in any::<u64>(), full_at in any::<u64>(), units in any::<u64>(), now in any::<u64>()) {
            let _ = Rate::new(per_second, burst).charge(&SharedBucket(full_at.into()), units, Duration::from_nanos(now));
            let _ = Rate::new(per_second, burst).take(&mut Bucket { full_at }, units, Duration::from_nanos(now));
        }
    }
}
