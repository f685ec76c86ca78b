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
//! Invariants: at most one dial or one link at a time; every loss is told to the client before the next wait; the
//! client hears `restored` exactly once for each gap that ends; `Closing` is final. Knows no socket, no clock and no
//! random numbers: events carry them.

use std::time::Duration;

use common::close::CloseCode;

use common::backoff::Backoff;

/// A link that held for this long proves the broker well: the next loss starts a new series of waits.
pub const STABLE_AFTER: Duration = Duration::from_secs(5);

/// Where the pair of connections is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The broker is being dialled, after so many failures in a row.
    Connecting {
        /// Failures before this attempt.
        attempt: u32,
    },
    /// Frames pass.
    Linked {
        /// Since when, in milliseconds of the clock.
        since_ms: u64,
        /// Failures before this link.
        attempt: u32,
    },
    /// The broker is away; it is dialled again when the wait is over.
    Waiting {
        /// Failures so far.
        attempt: u32,
    },
    /// The session was ended: the broker's socket is being closed, and the client's as soon as its page may know.
    Hushed,
    /// Both connections are being closed.
    Closing,
}

impl State {
    /// Whether nothing of the client's is wanted any more.
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
    /// The broker's socket broke or fell silent.
    UpstreamLost,
    /// The client closed with this code, vanished ([`CloseCode::ABNORMAL`]), or broke a rule (the code of the rule).
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
    /// Milliseconds of a clock that never goes back.
    pub now_ms: u64,
    /// Any number, each as likely as the others.
    pub dice: u64,
}

/// What is to be done about it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Dial the broker.
    Dial,
    /// Say [`Event::RetryDue`] after this time.
    RetryAfter(Duration),
    /// Tell the client that the broker is away, and when it is dialled next.
    TellLost {
        /// The wait until then.
        retry_in: Duration,
    },
    /// Tell the client that the broker is back.
    TellRestored,
    /// Let frames pass to the broker, those that waited first.
    OpenUplink,
    /// Keep the client's frames from here on, and the client's connection alive.
    HoldUplink,
    /// Close the client's connection.
    CloseClient {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
    /// Close the broker's socket, if there is one; forget a dial or a wait.
    CloseUpstream {
        /// With this code.
        code: CloseCode,
        /// And this reason.
        reason: String,
    },
}

/// The machine of one pair of connections.
#[derive(Debug)]
pub struct ProxyMachine {
    state: State,
    backoff: Backoff,
    /// Whether the client was told of a loss and not yet of the return.
    told_lost: bool,
}

impl ProxyMachine {
    /// The machine of a client that has just connected; the first thing to do is [`Effect::Dial`].
    pub fn start(backoff: Backoff) -> (Self, Vec<Effect>) {
        let machine = Self { state: State::Connecting { attempt: 0 }, backoff, told_lost: false };
        (machine, vec![Effect::Dial])
    }

    /// Where it is.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether frames pass.
    pub fn is_linked(&self) -> bool {
        matches!(self.state, State::Linked { .. })
    }

    /// Whether the first dial is under way: the client is not read until it is known whether its frames can pass.
    pub fn is_first_dial(&self) -> bool {
        matches!(self.state, State::Connecting { .. }) && !self.told_lost
    }

    /// Takes what happened and says what to do. What does not fit the state is late news and changes nothing.
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

/// The broker's codes that say it is away or not well, and will be back: the client's connection stays. All others are
/// meant for the client.
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

/// What the broker's refusal of the handshake means for the client; `None` if the broker is to be dialled again.
const fn refusal(status: Option<u16>) -> Option<(CloseCode, &'static str)> {
    match status {
        Some(403) => Some((CloseCode::SESSION_ENDED, "the broker refused this session")),
        // The edge's request is wrong, which is no fault of the client's. With 401 the broker refuses the edge itself, for a secret
        // or a clock that an operator will set right: it is dialled again, as one that is away.
        Some(400 | 404 | 405 | 426) => Some((CloseCode::INTERNAL, "the broker refused the edge")),
        _ => None,
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
