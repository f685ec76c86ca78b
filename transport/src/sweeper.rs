//! The sweeper: one timer per worker thread that checks every connection of that thread.
//!
//! One timer for all keeps an idle connection small. The check itself is [`Link::judge`]. After a
//! stall of its own (the process was stopped, the thread was delayed) the sweeper counts that time
//! against nobody.

use std::{cell::RefCell, sync::Arc, time::Duration};

use crate::{clock::now_ms, link::Link};

/// How often connections are checked: the resolution of heartbeats, pauses and slow-consumer
/// limits.
pub const TICK: Duration = Duration::from_millis(100);

/// A tick that is later than this was delayed: the thread, the process or the machine stood still.
const STALLED: Duration = Duration::from_secs(1);

thread_local! {
    static WATCHED: RefCell<Option<Vec<Arc<Link>>>> = const { RefCell::new(None) };
}

/// Makes this thread's sweeper check the connection until it is over. Needs the thread's runtime.
pub fn watch(link: Arc<Link>) {
    WATCHED.with_borrow_mut(|watched| match watched {
        Some(links) => links.push(link),
        None => {
            *watched = Some(vec![link]);
            actix_rt::spawn(sweep());
        }
    });
}

async fn sweep() {
    // Clears the list when the runtime drops the task, so that another runtime on this thread
    // starts its own sweeper.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            WATCHED.with(|watched| {
                if let Ok(mut watched) = watched.try_borrow_mut() {
                    *watched = None;
                }
            });
        }
    }
    let _reset = Reset;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last = now_ms();
    loop {
        ticks.tick().await;
        let now = now_ms();
        let stall = stall(now.saturating_sub(last));
        last = now;
        if let Some(gap_ms) = stall {
            tracing::warn!(gap_ms, "this thread was blocked: the time does not count against its connections");
        }
        let mut links = WATCHED.with_borrow_mut(|watched| watched.as_mut().map(std::mem::take).unwrap_or_default());
        links.retain(|link| {
            if let Some(gap_ms) = stall {
                link.excuse(gap_ms);
            }
            link.judge(now);
            !link.is_over()
        });
        WATCHED.with_borrow_mut(|watched| {
            let watched = watched.get_or_insert_default();
            links.append(watched);
            *watched = links;
        });
    }
}

/// For how long the thread stood still, if it did, judged by the time since the last tick.
fn stall(since_ms: u64) -> Option<u64> {
    let tick = TICK.as_millis() as u64;
    (since_ms >= STALLED.as_millis() as u64).then(|| since_ms - tick)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_tick_is_a_stall_and_a_tick_in_time_is_none() {
        assert_eq!([100, 130, 999].map(stall), [None; 3]);
        assert_eq!(stall(40_000), Some(39_900));
    }
}
