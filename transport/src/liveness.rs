//! Decides whether a silent peer is still there. Pure.
//!
//! A ping lies behind everything that was written before it, and the kernels between the bridge and
//! a peer hold megabytes. So a slow peer that reads steadily answers late. Therefore its time does
//! not begin when it was last heard, but when it should have read what was written: at
//! [`SLOWEST_PACE`], or when the full kernel buffer last took more bytes. Both are bounded, because
//! a proxy may take bytes for a dead peer: nobody stays longer than [`PATIENCE`] timeouts beyond
//! the first.

/// The bytes per second that every reader is assumed to read.
pub const SLOWEST_PACE: u64 = 64 * 1024;
/// The most timeouts by which the time may be prolonged.
pub const PATIENCE: u64 = 3;

/// The state of one peer's reading.
#[derive(Debug, Default)]
pub struct Liveness {
    /// Bytes that had been written at the last check.
    written: u64,
    /// When everything written should have been read, in milliseconds of the clock.
    read_by_ms: u64,
    /// Whether bytes waited for the kernel at the last check.
    was_blocked: bool,
}

impl Liveness {
    /// A regular check. `written`: bytes that the kernel has taken in all. `is_blocked`: more wait
    /// for it.
    pub fn on_tick(&mut self, now_ms: u64, heard_ms: u64, written: u64, is_blocked: bool) {
        let new = written.saturating_sub(self.written);
        self.written = written;
        if new > 0 {
            // A full buffer took bytes: somebody has read.
            let begin = if self.was_blocked { now_ms } else { heard_ms };
            self.read_by_ms = self.read_by_ms.max(begin).saturating_add(new.saturating_mul(1000) / SLOWEST_PACE);
        }
        self.was_blocked = is_blocked;
    }

    /// Whether the peer, last heard at `heard_ms`, must be considered dead.
    pub fn is_silent(&self, now_ms: u64, heard_ms: u64, timeout_ms: u64) -> bool {
        let latest = heard_ms.saturating_add(timeout_ms.saturating_mul(PATIENCE));
        let since = self.read_by_ms.clamp(heard_ms, latest);
        now_ms.saturating_sub(since) >= timeout_ms
    }

    /// The bridge itself did nothing for so long. That counts against nobody.
    pub fn excuse(&mut self, gap_ms: u64) {
        self.read_by_ms = self.read_by_ms.saturating_add(gap_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 30_000;
    const MIB: u64 = 1024 * 1024;

    #[test]
    fn a_peer_that_was_given_little_is_silent_after_the_timeout() {
        let mut liveness = Liveness::default();
        // Pings alone prolong nothing.
        for ping in 1..6 {
            liveness.on_tick(1000 + ping * 5000, 1000, ping * 2, false);
        }
        assert!(!liveness.is_silent(30_999, 1000, TIMEOUT));
        assert!(liveness.is_silent(31_000, 1000, TIMEOUT));
    }

    #[test]
    fn a_peer_with_megabytes_before_the_ping_has_time_to_read_them() {
        let mut liveness = Liveness::default();
        liveness.on_tick(1000, 1000, 4 * MIB, false);
        assert!(!liveness.is_silent(1000 + 64_000 + 29_999, 1000, TIMEOUT));
        assert!(liveness.is_silent(1000 + 64_000 + 30_000, 1000, TIMEOUT));
    }

    #[test]
    fn a_proxy_that_accepts_everything_keeps_no_dead_reader_alive() {
        let mut liveness = Liveness::default();
        let closed = (0..).find(|tick| {
            liveness.on_tick(tick * 100, 0, tick * MIB, true);
            liveness.is_silent(tick * 100, 0, TIMEOUT)
        });
        assert_eq!(closed, Some((PATIENCE + 1) * TIMEOUT / 100));
    }

    #[test]
    fn a_full_buffer_that_takes_bytes_shows_that_somebody_reads() {
        let mut liveness = Liveness::default();
        // One kilobyte a second: slower than the slowest pace.
        for second in 0..60 {
            liveness.on_tick(second * 1000, 0, second * 1024, true);
            assert!(!liveness.is_silent(second * 1000, 0, TIMEOUT));
        }
        assert!(liveness.is_silent(59_000 + TIMEOUT + 100, 0, TIMEOUT));
    }
}
