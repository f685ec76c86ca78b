//! The pace of notices about one subject: some at once after a quiet time, then one a second. Pure.

/// Milliseconds between two notices about one subject.
pub(super) const NOTICE_PAUSE_MS: u64 = 1_000;
/// Notices about one subject that may be sent at once after a quiet time.
pub(super) const NOTICE_BURST: u64 = 20;

/// See the module. Times are milliseconds of one clock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NoticePace {
    /// When the pauses of all notices so far are over.
    paid_ms: u64,
}

impl NoticePace {
    /// Whether a notice may be sent now. It is counted then.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let is_due = self.paid_ms.saturating_sub(now_ms) <= (NOTICE_BURST - 1) * NOTICE_PAUSE_MS;
        if is_due {
            self.paid_ms = self.paid_ms.max(now_ms) + NOTICE_PAUSE_MS;
        }
        is_due
    }

    /// Whether the subject can be forgotten: its pauses are over.
    pub fn is_over(&self, now_ms: u64) -> bool {
        self.paid_ms <= now_ms
    }
}
