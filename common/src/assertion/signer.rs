//! Signs assertions for an edge so that the broker's clock accepts their times, whatever the edge's
//! clock says.
//!
//! The edge reads its clock once, and then counts with a clock that never jumps. If a broker
//! refuses an assertion because of its times, it answers with a *clock*: its own time, signed with
//! the shared secret and bound to that assertion. The signer adopts the difference, and dates all
//! later assertions by the broker's time.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{ClientIdentity, EDGE_AUDIENCE, Edge, ISSUER, LEEWAY, LOGIN_AUDIENCE, LoggedIn, check_at, sign_at};
use crate::{error::ErrorCode, secret::Secret, timestamp};

/// The header of a refusal (401) in which the broker sends its time.
pub const CLOCK_HEADER: &str = "bridge-clock";
/// The audience of a broker's clock: it does not pass for an assertion.
const CLOCK_AUDIENCE: &str = "edge-clock";

#[derive(Clone, Serialize, Deserialize)]
struct BrokerTime {
    /// The signature of the refused assertion. An answer to an earlier assertion is not accepted.
    sub: String,
    /// Milliseconds since 1970.
    now_ms: i64,
}

/// The broker's answer to an assertion that it refused because of its times. The signature is
/// checked before the times, so only holders of the secret get it.
///
/// # Errors
/// `internal`.
pub fn tell_clock(assertion: &str, secret: &Secret) -> Result<String, ErrorCode> {
    let now = SystemTime::now();
    let time = BrokerTime { sub: signature_of(assertion).to_owned(), now_ms: millis(now) };
    sign_at(CLOCK_AUDIENCE, time, secret, now)
}

/// Signs assertions for one edge. Shared by its threads.
#[derive(Debug)]
pub struct Signer {
    secret: Secret,
    /// The edge's clock when the signer was made, and that moment by the monotonic clock.
    began: (SystemTime, Instant),
    /// How far the broker's clock is ahead of the edge's, in milliseconds.
    ahead_ms: AtomicI64,
}

impl Signer {
    /// A signer that uses this machine's clock until the broker says otherwise.
    pub fn new(secret: Secret) -> Self {
        Self::by_clock(secret, SystemTime::now())
    }

    /// A signer on a machine whose clock says `now`.
    pub fn by_clock(secret: Secret, now: SystemTime) -> Self {
        Self { secret, began: (now, Instant::now()), ahead_ms: AtomicI64::new(0) }
    }

    /// How far the broker's clock is ahead of this machine's, in milliseconds. 0 until the broker
    /// has objected.
    pub fn ahead_ms(&self) -> i64 {
        self.ahead_ms.load(Relaxed)
    }

    /// As [`super::mint`].
    ///
    /// # Errors
    /// `internal`.
    pub fn mint(&self, identity: &ClientIdentity) -> Result<String, ErrorCode> {
        let ahead_ms = self.ahead_ms();
        if ahead_ms == 0 || identity.reading.away_since.is_none() {
            return sign_at(super::AUDIENCE, identity, &self.secret, self.now());
        }
        // The broker compares it with its own times.
        let mut identity = identity.clone();
        identity.reading.away_since = identity.reading.away_since.map(|since| since.saturating_add_signed(ahead_ms));
        sign_at(super::AUDIENCE, &identity, &self.secret, self.now())
    }

    /// As [`super::mint_login`].
    ///
    /// # Errors
    /// `internal`.
    pub fn mint_login(&self, logged_in: &LoggedIn) -> Result<String, ErrorCode> {
        sign_at(LOGIN_AUDIENCE, logged_in, &self.secret, self.now())
    }

    /// As [`super::mint_edge`].
    ///
    /// # Errors
    /// `internal`.
    pub fn mint_edge(&self) -> Result<String, ErrorCode> {
        sign_at(EDGE_AUDIENCE, Edge { sub: ISSUER.to_owned() }, &self.secret, self.now())
    }

    /// The broker has refused `assertion` and answered with `clock`. Returns whether the clock is
    /// authentic, so that the assertion should be signed again.
    pub fn learn(&self, clock: &str, assertion: &str) -> bool {
        // Its time is what is being learned. Its age is bounded by the assertion that it answers.
        let Ok(time) = check_at::<BrokerTime>(CLOCK_AUDIENCE, clock, &self.secret, None) else { return false };
        if time.sub != signature_of(assertion) {
            return false;
        }
        let ahead_ms = time.now_ms.saturating_sub(millis(self.own_now()));
        let before = self.ahead_ms.swap(ahead_ms, Relaxed);
        if before.abs_diff(ahead_ms) > timestamp::millis(LEEWAY) {
            tracing::warn!(
                broker_ahead_seconds = ahead_ms / 1000,
                "the clocks of edge and broker differ: the edge signs by the broker's clock; correct both clocks"
            );
        }
        true
    }

    fn own_now(&self) -> SystemTime {
        let (clock, at) = self.began;
        clock + at.elapsed()
    }

    fn now(&self) -> SystemTime {
        let ahead = Duration::from_millis(self.ahead_ms().unsigned_abs());
        let own = self.own_now();
        let shifted = if self.ahead_ms() < 0 { own.checked_sub(ahead) } else { own.checked_add(ahead) };
        shifted.unwrap_or(own)
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    i64::try_from(since).unwrap_or(i64::MAX)
}

fn signature_of(assertion: &str) -> &str {
    assertion.rsplit('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        assertion::{mint, verify, verify_edge, verify_login},
        id::SessionId,
    };

    #[test]
    fn a_signer_with_a_wrong_clock_uses_the_brokers_clock_once_told() {
        let secret = Secret::new("shared");
        for (shift, is_ahead) in [(60, true), (60, false), (400_000_000, true), (400_000_000, false)] {
            let shift = Duration::from_secs(shift);
            let clock = if is_ahead { SystemTime::now() + shift } else { SystemTime::now() - shift };
            let signer = Signer::by_clock(secret.clone(), clock);
            let mut identity = ClientIdentity::anonymous(SessionId::fresh());
            identity.reading.away_since = Some(u64::try_from(millis(clock)).expect("after 1970"));
            let refused = signer.mint(&identity).expect("signs");
            assert_eq!(verify(&refused, &secret), Err(ErrorCode::CredentialsExpired), "{shift:?} {is_ahead}");
            let told = tell_clock(&refused, &secret).expect("signs");
            assert!(signer.learn(&told, &refused));
            let known = verify(&signer.mint(&identity).expect("signs"), &secret).expect("in time");
            let since =
                known.reading.away_since.expect("said").abs_diff(u64::try_from(millis(SystemTime::now())).expect("after 1970"));
            assert!(since < 5000, "the broker's time too: {since}");
            assert_eq!(verify_edge(&signer.mint_edge().expect("signs"), &secret), Ok(()));
        }
    }

    #[test]
    fn only_the_brokers_answer_to_this_very_assertion_is_believed() {
        let (secret, session) = (Secret::new("shared"), ClientIdentity::anonymous(SessionId::fresh()));
        let signer = Signer::by_clock(secret.clone(), SystemTime::now() - Duration::from_secs(60));
        let refused = signer.mint(&session).expect("signs");
        let others = [
            tell_clock(&refused, &Secret::new("another")).expect("signs"),
            tell_clock(&mint(&ClientIdentity::anonymous(SessionId::fresh()), &secret).expect("signs"), &secret).expect("signs"),
            refused.clone(),
            "rubbish".to_owned(),
        ];
        for other in others {
            assert!(!signer.learn(&other, &refused), "{other}");
        }
        assert_eq!(signer.ahead_ms(), 0);
        let clock = tell_clock(&refused, &secret).expect("signs");
        assert_eq!(verify(&clock, &secret), Err(ErrorCode::Unauthorized));
        assert_eq!(verify_edge(&clock, &secret), Err(ErrorCode::Unauthorized));
        assert_eq!(verify_login(&clock, &secret), Err(ErrorCode::Unauthorized));
    }
}
