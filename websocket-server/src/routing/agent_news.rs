//! The notices about an agent: a burst of changes at once, then one a second with the last state.

use std::sync::Arc;

use common::id::AgentId;
use foldhash::HashMap;

use super::notice_pace::NoticePace;
use crate::peers::Peer;

/// A change of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It has connected.
    Connected,
    /// Its description has changed, or it has a newer connection.
    Updated,
    /// Its status has changed.
    Status,
    /// It has disconnected.
    Disconnected {
        /// The reason, for the others.
        reason: String,
    },
}

impl Change {
    /// The change that replaces this one and a later one. Each notice except
    /// [`Change::Disconnected`] carries everything that is known about the agent, so the more
    /// significant type of the two is right for both.
    fn then(self, later: Self) -> Self {
        match (self, later) {
            (Self::Connected, Self::Updated | Self::Status) => Self::Connected,
            (Self::Updated, Self::Status) => Self::Updated,
            (_, later) => later,
        }
    }
}

/// A change to be told.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub change: Change,
    /// The agent's connection.
    pub about: Arc<Peer>,
    /// The connection that the last notice was about; `None`: the last notice said that there is
    /// none. A peer that may know of one connection may not know of the other.
    pub told_of: Option<Arc<Peer>>,
}

#[derive(Debug)]
struct Told {
    pace: NoticePace,
    of: Option<Arc<Peer>>,
    /// The change that was not told yet.
    untold: Option<(Change, Arc<Peer>)>,
}

/// What was told recently, and what is still to be told.
#[derive(Debug, Default)]
pub(super) struct AgentNews {
    by_id: HashMap<AgentId, Told>,
}

impl AgentNews {
    /// An agent has changed; `before`: its connection until now. Returns what must be told at once.
    pub fn on_change(
        &mut self,
        agent_id: &AgentId,
        change: Change,
        about: &Arc<Peer>,
        before: Option<&Arc<Peer>>,
        now_ms: u64,
    ) -> Option<News> {
        let of_late = self.by_id.get_mut(agent_id);
        let Some(told) = of_late else {
            let told_of = before.cloned();
            let mut pace = NoticePace::default();
            pace.take(now_ms);
            let told = Told { pace, of: is_here(&change).then(|| Arc::clone(about)), untold: None };
            self.by_id.insert(agent_id.clone(), told);
            return Some(News { change, about: Arc::clone(about), told_of });
        };
        let change = match told.untold.take() {
            Some((earlier, _)) => earlier.then(change),
            None => change,
        };
        told.untold = Some((change, Arc::clone(about)));
        told.take_due(now_ms)
    }

    /// Whether [`AgentNews::tick`] has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What must be told by now.
    pub fn tick(&mut self, now_ms: u64) -> Vec<(AgentId, News)> {
        let mut due = Vec::new();
        self.by_id.retain(|agent_id, told| {
            let news = told.take_due(now_ms);
            let is_over = news.is_none() && told.untold.is_none() && told.pace.is_over(now_ms);
            due.extend(news.map(|news| (agent_id.clone(), news)));
            !is_over
        });
        due
    }
}

impl Told {
    fn take_due(&mut self, now_ms: u64) -> Option<News> {
        if self.untold.is_none() || !self.pace.take(now_ms) {
            return None;
        }
        let (change, about) = self.untold.take()?;
        let told_of = std::mem::replace(&mut self.of, is_here(&change).then(|| Arc::clone(&about)));
        Some(News { change, about, told_of })
    }
}

/// Whether the agent is connected after a change.
fn is_here(change: &Change) -> bool {
    !matches!(change, Change::Disconnected { .. })
}
