//! How long to wait before the next try: exponential, with full jitter.

use std::time::Duration;

/// The waits between tries: random between zero and min(max, min x 2^attempt).
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits whose first bound is `min` and whose last is `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, attempt: 0 }
    }

    /// The next wait; `chance` is random, from 0 to 1.
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let bound = self.min.saturating_mul(2u32.saturating_pow(self.attempt)).min(self.max);
        self.attempt = self.attempt.saturating_add(1);
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The connection was good: the next trouble begins at the first bound again.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

/// A random number from 0 to 1; a half where the system has no randomness, so that tries still spread over the doubling.
pub fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over_after_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let waits: Vec<u64> = (0..8).map(|_| backoff.next_wait(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert!(backoff.next_wait(1.0) <= Duration::from_secs(60), "never overflows");
        }
        assert_eq!(backoff.next_wait(0.0), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.next_wait(0.5), Duration::from_millis(500));
    }

    #[test]
    fn chance_is_between_zero_and_one() {
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
