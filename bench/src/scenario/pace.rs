//! When the messages of a paced load are due, no matter how fast the server is.

/// Evenly spaced times.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: u64,
    interval: f64,
    next: u64,
}

impl Pace {
    /// `rate` times a second. The first is at `start` (nanoseconds).
    pub fn new(start: u64, rate: f64) -> Self {
        Self { start, interval: 1e9 / rate, next: 0 }
    }

    /// The next message that is due at `now`: its index and when it was due.
    pub fn due(&mut self, now: u64) -> Option<(u64, u64)> {
        let at = self.start + (self.next as f64 * self.interval) as u64;
        (at <= now).then(|| {
            self.next += 1;
            (self.next - 1, at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missed_messages_are_due_at_once_with_their_own_time() {
        let mut pace = Pace::new(100, 1e6);
        assert_eq!(pace.due(99), None);
        assert_eq!(pace.due(2150), Some((0, 100)));
        assert_eq!(pace.due(2150), Some((1, 1100)));
        assert_eq!(pace.due(2150), Some((2, 2100)));
        assert_eq!(pace.due(2150), None);
    }
}
