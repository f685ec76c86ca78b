//! What this edge knows about its broker: whether it answers, since when it does so steadily, and
//! why it refuses this edge, if it does.
//!
//! It learns this from the exchange of revocations, several times a second. A session that lost the
//! broker waits with a growing random bound before it dials again. When the broker is steady again,
//! the rest of that wait is cut to a few seconds, so that all sessions of an edge come back soon,
//! but not all at once. This module does not dial, and does not know who waits.

use std::time::Duration;

use common::timestamp::millis;
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How often it is logged that the broker refuses this edge.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// A broker that has answered for so long, in one life, is steady.
pub const STEADY_AFTER: Duration = Duration::from_secs(2);
/// Within this time after that moment, all who wait dial.
pub const SPREAD: Duration = Duration::from_secs(3);
/// For so long after that moment, it is also news to those whose dials fail late: longer than a
/// dial may take.
const STILL_NEWS: Duration = Duration::from_secs(10);

/// See the module. Shared by all threads of an edge.
#[derive(Debug)]
pub struct BrokerReach {
    answering: Mutex<Option<Answering>>,
    /// Why the broker refuses this edge, if it does, and when that was logged.
    refused: Mutex<Option<(String, Instant)>>,
    /// Since when the broker is steady; `None`: it is not.
    steady: watch::Sender<Option<Instant>>,
}

/// A broker that answers.
#[derive(Debug)]
struct Answering {
    /// Changes at each start of the broker.
    life: String,
    since: Instant,
}

impl Default for BrokerReach {
    fn default() -> Self {
        Self { answering: Mutex::default(), refused: Mutex::default(), steady: watch::Sender::new(None) }
    }
}

impl BrokerReach {
    /// The broker has answered, in this life.
    pub fn on_answer(&self, life: &str) {
        if self.refused.lock().take().is_some() {
            tracing::info!("the broker accepts this edge again");
        }
        let now = Instant::now();
        let mut answering = self.answering.lock();
        match answering.as_ref().filter(|known| known.life == life) {
            Some(known) if now.duration_since(known.since) >= STEADY_AFTER => {
                self.steady.send_if_modified(|steady| {
                    let is_news = steady.is_none();
                    steady.get_or_insert(now);
                    is_news
                });
            }
            Some(_) => {}
            None => {
                *answering = Some(Answering { life: life.to_owned(), since: now });
                self.steady.send_replace(None);
            }
        }
    }

    /// The broker answers, and refuses this edge. Logged at the first time and once a minute.
    pub fn on_refusal(&self, reason: &str) {
        let mut refused = self.refused.lock();
        if refused.as_ref().is_none_or(|(_, logged)| logged.elapsed() >= SAY_AGAIN) {
            tracing::error!(reason, "the broker refuses this edge: sockets wait until it accepts the edge");
            *refused = Some((reason.to_owned(), Instant::now()));
        }
        drop(refused);
        self.forget();
    }

    /// Why the broker refuses this edge; `None` if it does not, as far as is known.
    pub fn refusal(&self) -> Option<String> {
        self.refused.lock().as_ref().map(|(reason, _)| reason.clone())
    }

    /// The broker has not answered.
    pub fn on_no_answer(&self) {
        *self.refused.lock() = None;
        self.forget();
    }

    fn forget(&self) {
        *self.answering.lock() = None;
        self.steady.send_replace(None);
    }

    /// Ready after this wait, or sooner if the broker becomes steady: at a moment within [`SPREAD`]
    /// that `dice` chooses.
    pub async fn until_due(&self, wait: Duration, dice: u64) {
        let due = Instant::now() + wait;
        let spread = Duration::from_millis(dice % (millis(SPREAD) + 1));
        let mut steady = self.steady.subscribe();
        let is_news = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() < STILL_NEWS);
        let sooner = async {
            // Never an error, because the sender is in `self`. The guard is released at once.
            let _ = steady.wait_for(is_news).await.is_ok();
            sleep_until(Instant::now() + spread).await;
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = sooner => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;

    const TICK: Duration = Duration::from_millis(400);
    const LONG: Duration = Duration::from_secs(60);

    /// How long each of fifty waits lasts while `happen` runs.
    async fn waits(reach: &Arc<BrokerReach>, happen: impl Future<Output = ()>) -> Vec<Duration> {
        let began = Instant::now();
        let waiting: Vec<_> = (0..50_u64)
            .map(|number| {
                let reach = Arc::clone(reach);
                tokio::spawn(async move {
                    reach.until_due(LONG, number * 61).await;
                    began.elapsed()
                })
            })
            .collect();
        happen.await;
        let mut waited = Vec::new();
        for one in waiting {
            waited.push(one.await.expect("it waits"));
        }
        waited
    }

    async fn answer(reach: &BrokerReach, life: &str, times: u32) {
        for _ in 0..times {
            reach.on_answer(life);
            sleep(TICK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_sessions_are_back_within_seconds_of_a_steady_broker() {
        let reach = Arc::<BrokerReach>::default();
        let waited = waits(&reach, async {
            // It comes and goes: no wait is cut.
            for life in ["a", "b", "c"] {
                answer(&reach, life, 4).await;
                reach.on_no_answer();
            }
            answer(&reach, "d", 10).await;
        });
        let waited = waited.await;
        let steady = TICK * 12 + STEADY_AFTER;
        let (first, last) = (waited.iter().min().expect("fifty"), waited.iter().max().expect("fifty"));
        assert!(*first >= steady && *last <= steady + SPREAD + TICK, "{first:?} {last:?}");
        assert!(*last - *first > SPREAD / 2, "not all at once: {first:?} {last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_between_two_looks_is_one_too_and_a_dial_that_failed_late_is_let_in() {
        let reach = Arc::<BrokerReach>::default();
        answer(&reach, "a", 100).await;
        let waited = waits(&reach, answer(&reach, "b", 10)).await;
        assert!(waited.iter().all(|waited| *waited <= STEADY_AFTER + SPREAD + TICK), "{waited:?}");
        let late = waits(&reach, async {}).await;
        assert!(late.iter().all(|waited| *waited <= SPREAD), "{late:?}");
        sleep(STILL_NEWS).await;
        let later = waits(&reach, async {}).await;
        assert!(later.iter().all(|waited| *waited == LONG), "who fails for another reason backs off: {later:?}");
    }
}
