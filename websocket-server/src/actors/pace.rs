//! How fast a connection is read: it pauses when its accounts are overdrawn, and is closed if it
//! stays over its rate.
//!
//! A pause is back-pressure: nothing is lost, the peer's own socket fills. The peer is told once a
//! second at most.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use common::timestamp::millis;
use tokio::time::{Sleep, sleep};

/// The shortest pause: enough to pay for many frames, so that there is not a pause for each.
const SHORTEST: Duration = Duration::from_millis(50);
/// A peer that keeps within its rates for so long is no longer over them.
const CALM_MS: u64 = 5000;
/// The time between two notices to the peer.
const NOTICES_MS: u64 = 1000;

/// What to do after a charged frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceAction {
    /// Nothing.
    Go,
    /// Read nothing for a while.
    Pause,
    /// The same, and tell the peer.
    PauseAndTell(Duration),
    /// Close: it has been over its rate for too long.
    Close,
}

/// The pace of one connection.
#[derive(Debug)]
pub struct Pace {
    patience_ms: u64,
    pause: Option<Pin<Box<Sleep>>>,
    over_since_ms: u64,
    last_over_ms: Option<u64>,
    told_ms: Option<u64>,
}

impl Pace {
    /// The pace of a new connection. `patience`: how long it may stay over its rates; zero: for
    /// ever.
    pub fn new(patience: Duration) -> Self {
        let patience_ms = if patience.is_zero() { u64::MAX } else { millis(patience) };
        Self { patience_ms, pause: None, over_since_ms: 0, last_over_ms: None, told_ms: None }
    }

    /// A frame was charged, and the accounts ask for this wait.
    pub fn on_charged(&mut self, wait: Duration, now_ms: u64) -> PaceAction {
        if wait.is_zero() {
            return PaceAction::Go;
        }
        let verdict = self.judge(wait, now_ms);
        if verdict != PaceAction::Close {
            self.pause = Some(Box::pin(sleep(wait.max(SHORTEST))));
        }
        verdict
    }

    fn judge(&mut self, wait: Duration, now_ms: u64) -> PaceAction {
        let let_up = self.last_over_ms.is_none_or(|last| now_ms.saturating_sub(last) > CALM_MS);
        if let_up {
            self.over_since_ms = now_ms;
        }
        // The pause itself does not count as keeping within the rates.
        self.last_over_ms = Some(now_ms.saturating_add(millis(wait)));
        if now_ms.saturating_sub(self.over_since_ms) > self.patience_ms {
            return PaceAction::Close;
        }
        if self.told_ms.is_some_and(|told| now_ms.saturating_sub(told) < NOTICES_MS) {
            return PaceAction::Pause;
        }
        self.told_ms = Some(now_ms);
        PaceAction::PauseAndTell(wait.max(SHORTEST))
    }

    /// Ready when the pause is over.
    pub fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(task).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(10);

    #[test]
    fn a_peer_over_its_rate_is_told_once_a_second_and_closed_when_patience_ends() {
        let mut pace = Pace::new(Duration::from_secs(10));
        assert_eq!(pace.judge(WAIT, 1000), PaceAction::PauseAndTell(SHORTEST));
        assert_eq!(pace.judge(WAIT, 1500), PaceAction::Pause);
        assert_eq!(pace.judge(WAIT, 2000), PaceAction::PauseAndTell(SHORTEST));
        for now_ms in (3000..=11_000).step_by(1000) {
            assert_ne!(pace.judge(WAIT, now_ms), PaceAction::Close, "{now_ms}");
        }
        assert_eq!(pace.judge(WAIT, 11_001), PaceAction::Close);
    }

    #[test]
    fn a_peer_below_its_rate_starts_anew_and_an_imposed_pause_does_not_count() {
        let mut pace = Pace::new(Duration::from_secs(10));
        pace.judge(WAIT, 0);
        pace.judge(WAIT, 9000);
        assert_ne!(pace.judge(WAIT, 20_000), PaceAction::Close);
        let mut pace = Pace::new(Duration::from_secs(10));
        pace.judge(Duration::from_secs(11), 0);
        assert_eq!(pace.judge(WAIT, 11_000), PaceAction::Close);
        let mut patient = Pace::new(Duration::ZERO);
        assert!((0..10_000).all(|second| patient.judge(WAIT, second * 1000) != PaceAction::Close));
    }
}
