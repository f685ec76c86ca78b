//! Agent ids that several connections want: whose turn it is, and who waits.
//!
//! A newer connection takes over at once while the id's [`TakeoverPace`] allows it. Otherwise it
//! waits: it is connected, but not registered. Only the newest waits; one that waited before it is
//! closed. The waiting connection is admitted when its turn comes, or as soon as the holder leaves.

use std::{sync::Arc, time::Duration};

use common::{
    id::AgentId,
    rate::{Bucket, Rate},
};
use foldhash::HashMap;
use serde::Serialize;

use super::takeover_pace::TakeoverPace;
use crate::peers::Peer;

/// Ids that `/stats` lists.
const LISTED: usize = 20;
/// Rate of warnings in the log, for all ids together.
const WARNINGS: Rate = Rate::new(1, 10);
/// Milliseconds between two warnings about one id.
const WARNING_PAUSE_MS: u64 = 10_000;

#[derive(Debug)]
struct Contest {
    pace: TakeoverPace,
    waiting: Option<Arc<Peer>>,
    warned_ms: Option<u64>,
}

/// The outcome for a connection whose id another one has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It takes over.
    Now,
    /// It waits.
    Later {
        /// Whether to log a warning.
        is_news: bool,
    },
}

/// Takeovers in `/stats`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TakeoverStats {
    /// Takeovers since the start.
    pub made: u64,
    /// Connections that had to wait for their turn, since the start.
    delayed: u64,
    /// Of those, the ones closed because a newer one came, since the start.
    replaced: u64,
    /// Connections that wait now.
    waiting: usize,
    /// Ids that were taken over so often recently that the next takeover would wait.
    fighting: usize,
    /// At most twenty of them, in order.
    fighting_ids: Vec<AgentId>,
}

/// All recent contests.
#[derive(Debug, Default)]
pub(super) struct Contests {
    by_id: HashMap<AgentId, Contest>,
    warnings: Bucket,
    made: u64,
    delayed: u64,
    replaced: u64,
}

impl Contests {
    /// The connection that waits for an id.
    pub fn waiting_for(&self, agent_id: &AgentId) -> Option<&Arc<Peer>> {
        self.by_id.get(agent_id)?.waiting.as_ref()
    }

    /// All waiting connections.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.by_id.values().filter_map(|contest| contest.waiting.as_ref())
    }

    /// `peer` wants an id that another connection has, and for which nobody newer waits.
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

    /// Removes the connection that waits for an id, unless it is `newer` itself, which takes its
    /// place.
    pub fn replace_waiting(&mut self, agent_id: &AgentId, newer: &Peer) -> Option<Arc<Peer>> {
        let contest = self.by_id.get_mut(agent_id)?;
        let replaced = contest.waiting.take_if(|waiting| waiting.id != newer.id)?;
        self.replaced += 1;
        Some(replaced)
    }

    /// The id is free: calls the waiting connection in.
    pub fn on_free(&self, agent_id: &AgentId) {
        if let Some(waiting) = self.waiting_for(agent_id) {
            waiting.call_in();
        }
    }

    /// This connection no longer waits: it was admitted, or is gone. Returns whether it waited.
    pub fn stop_waiting(&mut self, agent_id: &AgentId, peer: &Peer) -> bool {
        let contest = self.by_id.get_mut(agent_id);
        contest.and_then(|contest| contest.waiting.take_if(|waiting| waiting.id == peer.id)).is_some()
    }

    /// Whether [`Contests::tick`] has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Calls in connections whose turn has come, and forgets ids that have been quiet for long.
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
