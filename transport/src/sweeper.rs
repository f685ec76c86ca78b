//! The sweeper: one timer per worker thread that judges every connection of that thread.
//!
//! One timer for all is what keeps an idle connection small; the judgement itself is [`Link::judge`].

use std::{cell::RefCell, sync::Arc, time::Duration};

use crate::{clock::now_ms, link::Link};

/// How often connections are judged: the grain of heartbeats, pauses and slow-consumer limits.
pub const TICK: Duration = Duration::from_millis(100);

thread_local! {
    static WATCHED: RefCell<Option<Vec<Arc<Link>>>> = const { RefCell::new(None) };
}

/// Has this thread's sweeper judge the connection until it is over. Needs the thread's runtime.
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
    // Gives the list up when the runtime drops the task, so that another runtime on this thread starts its own.
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
    loop {
        ticks.tick().await;
        let now = now_ms();
        let mut links = WATCHED.with_borrow_mut(|watched| watched.as_mut().map(std::mem::take).unwrap_or_default());
        links.retain(|link| {
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
