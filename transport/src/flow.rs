//! Flow control between the senders to a connection and its reader, as a pure state machine.
//!
//! ```text
//!          half full                      allowance used up
//!   Open ────────────▶ Choked ──────────────────────────────▶ Behind
//!     ▲   drained        │                                      │
//!     └──────────────────┴──────────────────────────────────────┘
//! ```
//!
//! While `Choked`, senders are paused: the reader is alive but slower than they are. An allowance
//! bounds the time for which it may pause them: a token bucket of `burst_ms` that refills at
//! `share` of the time. So nobody is slowed by more than that share in the long run. `Behind`
//! pauses nobody: frames that do not fit are dropped and counted.

/// How much a slow reader may slow its senders.
#[derive(Clone, Copy, Debug)]
pub struct FlowPolicy {
    /// The longest pause at once, in milliseconds.
    pub burst_ms: u64,
    /// The part of the time spent paused, in the long run: 0.05 is 5%.
    pub share: f64,
}

/// The state of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    /// Keeping up.
    Open,
    /// Slower than its senders, who are paused.
    Choked {
        /// When it began, in milliseconds of the clock.
        since_ms: u64,
    },
    /// Its allowance is used up.
    Behind {
        /// When it was last keeping up, in milliseconds of the clock.
        since_ms: u64,
    },
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Flow {
    state: FlowState,
    allowance_ms: f64,
    refilled_ms: u64,
}

impl Flow {
    /// A reader that keeps up, with its whole allowance.
    pub fn new(policy: &FlowPolicy) -> Self {
        Self { state: FlowState::Open, allowance_ms: policy.burst_ms as f64, refilled_ms: 0 }
    }

    /// The state of the reader.
    pub fn state(&self) -> FlowState {
        self.state
    }

    /// The queue is over its high mark. Returns whether senders should pause.
    pub fn on_full(&mut self, now_ms: u64, policy: &FlowPolicy) -> bool {
        if self.state == FlowState::Open {
            let idle = now_ms.saturating_sub(self.refilled_ms) as f64;
            self.allowance_ms = (self.allowance_ms + idle * policy.share).min(policy.burst_ms as f64);
            self.refilled_ms = now_ms;
            self.state = if self.allowance_ms >= 1.0 {
                FlowState::Choked { since_ms: now_ms }
            } else {
                FlowState::Behind { since_ms: now_ms }
            };
        }
        matches!(self.state, FlowState::Choked { .. })
    }

    /// The queue is under its low mark. Returns whether the state changed, so that senders must be
    /// woken.
    pub fn on_drained(&mut self, now_ms: u64) -> bool {
        self.spend(now_ms);
        std::mem::replace(&mut self.state, FlowState::Open) != FlowState::Open
    }

    /// Time has passed. Returns whether the allowance has just been used up, so that senders must
    /// be woken.
    pub fn on_tick(&mut self, now_ms: u64) -> bool {
        let FlowState::Choked { since_ms } = self.state else { return false };
        if (now_ms.saturating_sub(since_ms) as f64) < self.allowance_ms {
            return false;
        }
        self.spend(now_ms);
        self.state = FlowState::Behind { since_ms };
        true
    }

    /// For how long the reader has not kept up, in milliseconds.
    pub fn behind_for(&self, now_ms: u64) -> u64 {
        match self.state {
            FlowState::Open => 0,
            FlowState::Choked { since_ms } | FlowState::Behind { since_ms } => now_ms.saturating_sub(since_ms),
        }
    }

    fn spend(&mut self, now_ms: u64) {
        if let FlowState::Choked { since_ms } = self.state {
            // A late tick can make it negative. That is paid back before the next pause.
            self.allowance_ms -= now_ms.saturating_sub(since_ms) as f64;
            self.refilled_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: FlowPolicy = FlowPolicy { burst_ms: 250, share: 0.05 };

    #[test]
    fn a_stuck_reader_pauses_its_senders_once() {
        let mut flow = Flow::new(&POLICY);
        assert!(flow.on_full(1000, &POLICY));
        assert!(!flow.on_tick(1200));
        assert!(flow.on_tick(1250));
        assert_eq!(flow.state(), FlowState::Behind { since_ms: 1000 });
        assert!(!flow.on_full(5000, &POLICY));
        assert_eq!(flow.behind_for(5000), 4000);
    }

    #[test]
    fn a_reader_that_drains_keeps_the_rest_of_its_allowance() {
        let mut flow = Flow::new(&POLICY);
        assert!(flow.on_full(0, &POLICY));
        assert!(flow.on_drained(200));
        assert!(flow.on_full(200, &POLICY));
        assert!(!flow.on_tick(249));
        assert!(flow.on_tick(250));
    }

    proptest! {
        #[test]
        fn pauses_stay_within_the_share(steps in prop::collection::vec((0u64..400, any::<bool>()), 1..200)) {
            let mut flow = Flow::new(&POLICY);
            let (mut now, mut paused) = (0, 0);
            for (wait, full) in steps {
                if matches!(flow.state(), FlowState::Choked { .. }) { paused += wait }
                now += wait;
                flow.on_tick(now);
                if full { flow.on_full(now, &POLICY); } else { flow.on_drained(now); }
            }
            prop_assert!(paused as f64 <= 250.0 + 0.05 * now as f64 + 400.0, "{paused} of {now}");
        }
    }
}
