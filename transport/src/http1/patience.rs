//! How long an answer waits for a client that reads slowly. Pure: durations in, durations out.

use std::time::Duration;

/// The bytes per second of an answer that a client must read in the long run.
pub(crate) const LEAST_RATE: u64 = 4 * 1024;

/// The wait for the reader of one answer. Only time in which bytes wait for the reader counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    grace: Duration,
    waited: Duration,
    sent: u64,
}

impl Patience {
    /// For an answer of which no byte was sent yet. `grace`: how long to wait without progress,
    /// once and in all.
    pub(crate) const fn new(grace: Duration) -> Self {
        Self { grace, waited: Duration::ZERO, sent: 0 }
    }

    /// How long the next bytes may take to leave.
    pub(crate) fn left(&self) -> Duration {
        let earned = Duration::from_millis(self.sent.saturating_mul(1000) / LEAST_RATE);
        self.grace.saturating_add(earned).saturating_sub(self.waited).min(self.grace)
    }

    /// So many bytes were sent after so long.
    pub(crate) fn on_sent(&mut self, bytes: usize, waited: Duration) {
        self.sent = self.sent.saturating_add(bytes as u64);
        self.waited = self.waited.saturating_add(waited);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(30);

    /// The bytes that a reader gets who takes `bytes` every `wait`, until it is cut off or has had
    /// `most`.
    fn read(bytes: usize, wait: Duration, most: usize) -> usize {
        let (mut patience, mut sent) = (Patience::new(GRACE), 0);
        while sent < most && patience.left() >= wait {
            patience.on_sent(bytes, wait);
            sent += bytes;
        }
        sent
    }

    #[test]
    fn a_steady_reader_gets_everything_however_long_it_is() {
        let gibibyte = 1 << 30;
        assert!(read(8 * 1024, Duration::from_secs(1), gibibyte) >= gibibyte);
        assert!(read(128 * 1024, Duration::from_secs(25), gibibyte) >= gibibyte);
    }

    #[test]
    fn a_client_that_stalls_or_trickles_is_cut() {
        assert_eq!(read(1 << 20, Duration::from_secs(31), 1 << 30), 0);
        assert_eq!(read(1, Duration::from_secs(1), 1 << 20), 30);
        assert!(read(1024, Duration::from_secs(1), 1 << 30) <= 41 * 1024);
    }

    #[test]
    fn fast_reading_allows_no_longer_stall() {
        let mut patience = Patience::new(GRACE);
        patience.on_sent(1 << 30, Duration::ZERO);
        assert_eq!(patience.left(), GRACE);
    }
}
