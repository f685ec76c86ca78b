//! Agent ids that several connections want: whose turn it is, and who waits.
//!
//! A newer connection takes over at once while the id's [`TakeoverPace`] allows it. Beyond that it waits: it is connected, and
//! not registered. The newest waits; one that waited before it is closed. The one that waits comes in when its turn comes, or
//! as soon as the holder leaves.

use std::{sync::Arc, time::Duration};

use common::{
    id::AgentId,
    rate::{Bucket, Rate},
};
use foldhash::HashMap;
use serde::Serialize;

use super::{Peer, takeover_pace::TakeoverPace};

/// Ids that `/stats` lists.
const LISTED: usize = 20;
/// Warnings in the log, of all ids together.
const WARNINGS: Rate = Rate::new(1, 10);
/// Milliseconds between two warnings about one id.
const WARNING_PAUSE_MS: u64 = 10_000;

#[derive(Debug)]
struct Contest {
    pace: TakeoverPace,
    waiting: Option<Arc<Peer>>,
    warned_ms: Option<u64>,
}

/// What becomes of a connection whose id another one has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It takes over.
    Now,
    /// It waits. `is_news`: the log is to say so.
    Later {
        /// Whether to warn of it.
        is_news: bool,
    },
}

/// What `/stats` says of takeovers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TakeoverStats {
    /// Takeovers since the start.
    made: u64,
    /// Connections that had to wait for their turn, since the start.
    delayed: u64,
    /// Of those, closed because a newer one came to wait, since the start.
    replaced: u64,
    /// Connections that wait now.
    waiting: usize,
    /// How many ids were taken over so often lately that the next takeover would wait.
    fighting: usize,
    /// At most twenty of them, in order.
    fighting_ids: Vec<AgentId>,
}

/// All contests of late.
#[derive(Debug, Default)]
pub(super) struct Contests {
    by_id: HashMap<AgentId, Contest>,
    warnings: Bucket,
    made: u64,
    delayed: u64,
    replaced: u64,
}

impl Contests {
    /// Who waits for an id.
    pub fn waiting_for(&self, agent_id: &AgentId) -> Option<&Arc<Peer>> {
        self.by_id.get(agent_id)?.waiting.as_ref()
    }

    /// All who wait.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.by_id.values().filter_map(|contest| contest.waiting.as_ref())
    }

    /// `peer` comes for an id that another connection has, and that nobody newer waits for.
    pub fn come(&mut self, agent_id: &AgentId, peer: &Arc<Peer>, now_ms: u64) -> Turn {
        let contest = self.by_id.entry(agent_id.clone()).or_insert_with(|| Contest {
            pace: TakeoverPace::new(now_ms),
            waiting: None,
            warned_ms: None,
        });
        let has_waited = contest.waiting.as_ref().is_some_and(|waiting| waiting.id == peer.id);
        if contest.pace.wait_ms(now_ms) == 0 {
            contest.pace.on_takeover(now_ms, has_waited);
            contest.waiting = None;
            self.made += 1;
            return Turn::Now;
        }
        self.delayed += u64::from(!has_waited);
        contest.waiting = Some(Arc::clone(peer));
        let is_due = contest.warned_ms.is_none_or(|warned_ms| now_ms - warned_ms >= WARNING_PAUSE_MS);
        let is_news = is_due && WARNINGS.take(&mut self.warnings, 1, Duration::from_millis(now_ms)).is_ok();
        if is_news {
            contest.warned_ms = Some(now_ms);
        }
        Turn::Later { is_news }
    }

    /// Takes out who waits for an id, if that is not `newer` itself, which comes in its place.
    pub fn replace_waiting(&mut self, agent_id: &AgentId, newer: &Peer) -> Option<Arc<Peer>> {
        let contest = self.by_id.get_mut(agent_id)?;
        let replaced = contest.waiting.take_if(|waiting| waiting.id != newer.id)?;
        self.replaced += 1;
        Some(replaced)
    }

    /// The id is free: whoever waits for it is to come in.
    pub fn on_free(&self, agent_id: &AgentId) {
        if let Some(waiting) = self.waiting_for(agent_id) {
            waiting.call_in();
        }
    }

    /// This connection waits no longer: it has come in, or it is gone. Says whether it did wait.
    pub fn stop_waiting(&mut self, agent_id: &AgentId, peer: &Peer) -> bool {
        let contest = self.by_id.get_mut(agent_id);
        contest.and_then(|contest| contest.waiting.take_if(|waiting| waiting.id == peer.id)).is_some()
    }

    /// Whether there is anything to look at as time passes.
    pub fn is_idle(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Calls in those whose turn has come, and forgets ids that have been quiet for long.
    pub fn tick(&mut self, now_ms: u64) {
        self.by_id.retain(|_, contest| match &contest.waiting {
            Some(waiting) => {
                if contest.pace.wait_ms(now_ms) == 0 {
                    waiting.call_in();
                }
                true
            }
            None => !contest.pace.is_fresh(now_ms),
        });
    }

    /// For `/stats`.
    pub fn stats(&self, now_ms: u64) -> TakeoverStats {
        let is_fight = |contest: &Contest| contest.waiting.is_some() || { contest.pace }.is_fight(now_ms);
        let mut fighting_ids: Vec<_> =
            self.by_id.iter().filter(|(_, contest)| is_fight(contest)).map(|(id, _)| id.clone()).collect();
        fighting_ids.sort_unstable();
        let fighting = fighting_ids.len();
        fighting_ids.truncate(LISTED);
        let waiting = self.waiting().count();
        let Self { made, delayed, replaced, .. } = *self;
        TakeoverStats { made, delayed, replaced, waiting, fighting, fighting_ids }
    }
}
