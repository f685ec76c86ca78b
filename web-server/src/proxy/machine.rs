//! The life of a client's connection and of the broker's behind it, as a pure state machine.
//!
//! ```text
//!               dialled                    broker away
//!  Connecting ──────────▶ Linked ───────────────────────────▶ Waiting
//!    │   ▲                  │                                    │ │
//!    │   └──────────────────┼────────── retry due ───────────────┘ │
//!    │ dial failed ─────────┼──────────────────────────▶ Waiting   │
//!    └──────────────────────┴──────▶ Closing ◀─────────────────────┘
//!         the client closes or vanishes, the broker closes for good, an order
//!
//!  any but Closing ── the session was ended ──▶ Hushed ── the client closes or vanishes, an order ──▶ Closing
//! ```
//! Invariants: there is at most one dial or one link at a time. The client is told of every loss
//! before the next wait, and gets `restored` exactly once for each gap that ends. `Closing` is
//! final. The machine uses no socket, clock or random numbers: events carry them.

use std::time::Duration;

use common::{
    backoff::{Backoff, STABLE_AFTER},
    close::CloseCode,
};

/// The state of a client and its connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The broker is being dialled, after this many failures in a row.
    Connecting {
        /// Failures before this attempt.
        attempt: u32,
    },
    /// Frames pass.
    Linked {
        /// When that began, in milliseconds of the clock.
        since_ms: u64,
        /// Failures before this link.
        attempt: u32,
    },
    /// The broker is away. It is dialled again when the wait is over.
    Waiting {
        /// Failures so far.
        attempt: u32,
    },
    /// The session was ended: the broker's socket is being closed. The client's socket follows as
    /// soon as its page may know.
    Hushed,
    /// Both connections are being closed.
    Closing,
}

impl State {
    /// Whether frames of the client are no longer needed.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Hushed | Self::Closing)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted.
    Dialled,
    /// The broker could not be reached, or refused with an HTTP status.
    DialFailed {
        /// The status, if there was an answer.
        status: Option<u16>,
    },
    /// The wait is over.
    RetryDue,
    /// The broker closed with this code and reason; [`CloseCode::NO_CODE`] without one.
    UpstreamClosed {
        /// Its code.
        code: CloseCode,
        /// Its reason.
        reason: String,
    },
    /// The broker's socket broke or became silent.
    UpstreamLost,
    /// The client closed with this code, vanished ([`CloseCode::ABNORMAL`]), or broke a rule (the
    /// code of the rule).
    ClientGone {
        /// The code.
        code: CloseCode,
        /// The reason, for the broker.
        reason: String,
    },
    /// The session was ended.
    SessionEnded,
    /// The edge itself wants the client's connection closed.
    CloseOrdered {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: &'static str,
    },
}

/// When it happened, and a random number.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds of a clock that never goes backwards.
    pub now_ms: u64,
    /// A uniformly random number.
    pub dice: u64,
}

/// The effects of an event, in the order in which they must be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Dial the broker.
    Dial,
    /// Report [`Event::RetryDue`] after this time.
    RetryAfter(Duration),
    /// Tell the client that the broker is away, and when it is dialled next.
    TellLost {
        /// The wait until then.
        retry_in: Duration,
    },
    /// Tell the client that the broker is back.
    TellRestored,
    /// Let frames pass to the broker, the waiting ones first.
    OpenUplink,
    /// Hold the client's frames from now on, and keep the client's connection alive.
    HoldUplink,
    /// Close the client's connection.
    CloseClient {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
    /// Close the broker's socket, if there is one, or cancel a dial or a wait.
    CloseUpstream {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
}

/// The machine of one client and its connection to the broker.
#[derive(Debug)]
pub struct ProxyMachine {
    state: State,
    backoff: Backoff,
    /// Whether the client was told of a loss, and not yet of the return.
    told_lost: bool,
}

impl ProxyMachine {
    /// The machine of a client that has just connected. Its first effect is [`Effect::Dial`].
    pub fn start(backoff: Backoff) -> (Self, Vec<Effect>) {
        let machine = Self { state: State::Connecting { attempt: 0 }, backoff, told_lost: false };
        (machine, vec![Effect::Dial])
    }

    /// The current state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether frames pass.
    pub fn is_linked(&self) -> bool {
        matches!(self.state, State::Linked { .. })
    }

    /// Whether the first dial is in progress. Until it is known whether the client's frames can
    /// pass, the client is not read.
    pub fn is_first_dial(&self) -> bool {
        matches!(self.state, State::Connecting { .. }) && !self.told_lost
    }

    /// Handles an event and returns the effects. An event that does not fit the state is late and
    /// changes nothing.
    pub fn on_event(&mut self, event: Event, moment: Moment) -> Vec<Effect> {
        match (self.state, event) {
            (State::Closing, _) => Vec::new(),
            (State::Connecting { attempt }, Event::Dialled) => self.link(attempt, moment),
            (State::Connecting { attempt }, Event::DialFailed { status }) => match refusal(status) {
                Some((code, reason)) => self.close(code, reason),
                None => self.wait(attempt, moment),
            },
            (State::Waiting { attempt }, Event::RetryDue) => {
                self.state = State::Connecting { attempt };
                vec![Effect::Dial]
            }
            (State::Linked { since_ms, attempt }, Event::UpstreamClosed { code, reason }) => {
                if means_away(code) {
                    self.lose(since_ms, attempt, moment)
                } else {
                    self.close(code, &reason)
                }
            }
            (State::Linked { since_ms, attempt }, Event::UpstreamLost) => self.lose(since_ms, attempt, moment),
            (_, Event::ClientGone { code, reason }) => {
                self.state = State::Closing;
                vec![Effect::CloseUpstream { code: code.to_send(), reason }]
            }
            (_, Event::CloseOrdered { code, reason }) => self.close(code, reason),
            (_, Event::SessionEnded) => {
                self.state = State::Hushed;
                vec![Effect::CloseUpstream { code: CloseCode::SESSION_ENDED, reason: "the session was ended".to_owned() }]
            }
            (_, Event::Dialled | Event::DialFailed { .. } | Event::RetryDue) => Vec::new(),
            (_, Event::UpstreamClosed { .. } | Event::UpstreamLost) => Vec::new(),
        }
    }

    fn link(&mut self, attempt: u32, moment: Moment) -> Vec<Effect> {
        self.state = State::Linked { since_ms: moment.now_ms, attempt };
        let restored = std::mem::take(&mut self.told_lost).then_some(Effect::TellRestored);
        restored.into_iter().chain([Effect::OpenUplink]).collect()
    }

    fn lose(&mut self, since_ms: u64, attempt: u32, moment: Moment) -> Vec<Effect> {
        let held = Duration::from_millis(moment.now_ms.saturating_sub(since_ms));
        let attempt = if held >= STABLE_AFTER { 0 } else { attempt };
        let mut effects = vec![Effect::HoldUplink];
        effects.extend(self.wait(attempt, moment));
        effects
    }

    fn wait(&mut self, attempt: u32, moment: Moment) -> Vec<Effect> {
        let first_of_gap = !self.told_lost && matches!(self.state, State::Connecting { .. });
        let retry_in = self.backoff.wait(attempt, moment.dice);
        self.state = State::Waiting { attempt: attempt.saturating_add(1) };
        self.told_lost = true;
        let hold = first_of_gap.then_some(Effect::HoldUplink);
        hold.into_iter().chain([Effect::TellLost { retry_in }, Effect::RetryAfter(retry_in)]).collect()
    }

    fn close(&mut self, code: CloseCode, reason: &str) -> Vec<Effect> {
        self.state = State::Closing;
        vec![
            Effect::CloseClient { code, reason: reason.to_owned() },
            Effect::CloseUpstream { code: code.to_send(), reason: reason.to_owned() },
        ]
    }
}

/// The broker's codes which mean that it is away or not well, and will return: the client's
/// connection stays. All other codes are meant for the client.
const fn means_away(code: CloseCode) -> bool {
    matches!(
        code,
        CloseCode::GOING_AWAY
            | CloseCode::NO_CODE
            | CloseCode::ABNORMAL
            | CloseCode::INTERNAL
            | CloseCode::SERVICE_RESTART
            | CloseCode::TRY_AGAIN_LATER
    )
}

/// What a refusal of the handshake means for the client; `None` if the broker is to be dialled
/// again.
const fn refusal(status: Option<u16>) -> Option<(CloseCode, &'static str)> {
    match status {
        Some(403) => Some((CloseCode::SESSION_ENDED, "the broker refused this session")),
        // The edge's request is wrong, and the client is not the cause. With 401 the broker refuses
        // the edge itself, because of a secret or a clock that an operator must correct: the broker
        // is dialled again as if it were away.
        Some(400 | 404 | 405 | 426) => Some((CloseCode::INTERNAL, "the broker refused the edge")),
        _ => None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
