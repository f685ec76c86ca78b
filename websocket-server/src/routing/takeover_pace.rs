//! How often one agent id may be taken over. Pure: the caller passes the time.
//!
//! An agent that reconnects takes over its old connection, which the bridge may not know to be
//! dead. That must be quick. Two programs that use one id by mistake also take over from each
//! other, as fast as they reconnect. So a few takeovers are free. Then there is a pause between two
//! of them, which grows with each takeover that had to wait.

/// Takeovers that need not wait, after a quiet time.
const FREE: u32 = 5;
/// The least pause between two takeovers once the free ones are used up, in milliseconds. The pause
/// grows by as much.
const PAUSE_STEP_MS: u64 = 1_000;
/// The longest pause, in milliseconds.
const LONGEST_PAUSE_MS: u64 = 10_000;

/// The pace of the takeovers of one agent id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakeoverPace {
    free: u32,
    pause_ms: u64,
    /// When the last takeover was, in milliseconds of the caller's clock.
    last_ms: u64,
    /// Since when quiet time has not been credited yet.
    quiet_since_ms: u64,
}

impl TakeoverPace {
    /// Nobody has taken over yet.
    pub fn new(now_ms: u64) -> Self {
        Self { free: FREE, pause_ms: PAUSE_STEP_MS, last_ms: now_ms, quiet_since_ms: now_ms }
    }

    /// Milliseconds until the next takeover is allowed. 0: now.
    pub fn wait_ms(&mut self, now_ms: u64) -> u64 {
        self.credit_quiet_time(now_ms);
        if self.free > 0 { 0 } else { (self.last_ms + self.pause_ms).saturating_sub(now_ms) }
    }

    /// A newer connection takes over. `has_waited`: it had to wait.
    pub fn on_takeover(&mut self, now_ms: u64, has_waited: bool) {
        self.credit_quiet_time(now_ms);
        self.free = self.free.saturating_sub(1);
        if has_waited {
            self.pause_ms = (self.pause_ms + PAUSE_STEP_MS).min(LONGEST_PAUSE_MS);
        }
        (self.last_ms, self.quiet_since_ms) = (now_ms, now_ms);
    }

    /// Whether there were so many takeovers recently that the next would wait.
    pub fn is_fight(&mut self, now_ms: u64) -> bool {
        self.wait_ms(now_ms) > 0 || self.pause_ms > PAUSE_STEP_MS
    }

    /// Whether nothing is left of earlier takeovers.
    pub fn is_fresh(&mut self, now_ms: u64) -> bool {
        self.credit_quiet_time(now_ms);
        self.free == FREE && self.pause_ms == PAUSE_STEP_MS
    }

    /// Each two pauses without a takeover halve the pause, and once it is the least, give one free
    /// takeover back.
    fn credit_quiet_time(&mut self, now_ms: u64) {
        while now_ms.saturating_sub(self.quiet_since_ms) >= 2 * self.pause_ms {
            self.quiet_since_ms += 2 * self.pause_ms;
            if self.pause_ms > PAUSE_STEP_MS {
                self.pause_ms = (self.pause_ms / 2).max(PAUSE_STEP_MS);
            } else if self.free < FREE {
                self.free += 1;
            } else {
                self.quiet_since_ms = now_ms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two fight without a pause until `end_ms`. Returns the time of each takeover.
    fn fight(pace: &mut TakeoverPace, begin_ms: u64, end_ms: u64) -> Vec<u64> {
        let (mut now_ms, mut at) = (begin_ms, Vec::new());
        while now_ms < end_ms {
            let wait_ms = pace.wait_ms(now_ms);
            now_ms += wait_ms;
            pace.on_takeover(now_ms, wait_ms > 0);
            at.push(now_ms);
        }
        at
    }

    #[test]
    fn a_few_are_free_and_a_fight_slows_down_to_one_in_ten_seconds() {
        let mut pace = TakeoverPace::new(0);
        let at = fight(&mut pace, 0, 100_000);
        let (free, slow) = at.split_at(5);
        assert_eq!(free, [0; 5]);
        assert_eq!(slow[..4], [1_000, 3_000, 6_000, 10_000]);
        let pauses: Vec<_> = slow.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(pauses.is_sorted() && pauses.last() == Some(&10_000), "{pauses:?}");
    }

    #[test]
    fn quiet_halves_the_pause_and_then_gives_free_takeovers_back() {
        let mut pace = TakeoverPace::new(0);
        let last = *fight(&mut pace, 0, 100_000).last().expect("takeovers");
        // 20 s at 10 s, 10 s at 5 s, 5 s at 2.5 s, 2.5 s at 1.25 s: then the least pause, and one
        // more free one each 2 s.
        assert!(pace.is_fight(last + 37_499));
        assert!(!pace.is_fight(last + 37_500));
        assert!(!pace.is_fresh(last + 37_500 + 9_999));
        assert!(pace.is_fresh(last + 37_500 + 10_000));
        assert_eq!(pace, TakeoverPace { last_ms: last, ..TakeoverPace::new(last + 47_500) });
    }

    #[test]
    fn a_client_that_reconnects_every_two_seconds_never_waits() {
        let mut pace = TakeoverPace::new(0);
        for number in 0..1000 {
            assert_eq!(pace.wait_ms(number * 2_000), 0);
            pace.on_takeover(number * 2_000, false);
        }
    }

    #[test]
    fn after_a_long_quiet_time_it_is_as_new() {
        let mut pace = TakeoverPace::new(0);
        fight(&mut pace, 0, 50_000);
        assert_eq!(pace.wait_ms(u64::MAX / 4), 0);
        assert!(pace.is_fresh(u64::MAX / 4));
    }
}
