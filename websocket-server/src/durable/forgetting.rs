//! Forgetting sessions that were not connected for long, while messages for them may arrive and
//! they may connect.

use common::id::SessionId;
use store::{ChannelName, Forgotten, Reply};

use super::Channels;

/// A check of the sessions. Until it is dropped, sessions for which something is stored are
/// recorded as having arrived meanwhile.
#[derive(Debug)]
pub struct Forgetting<'a>(&'a Channels);

impl Channels {
    /// Begins a check of the sessions. To be called before the connected sessions are listed, so
    /// that nobody connects unnoticed.
    pub fn begin_forgetting(&self) -> Forgetting<'_> {
        self.kept.lock().begin_step();
        Forgetting(self)
    }
}

impl Forgetting<'_> {
    /// Asks the store for one step; see [`store::Store::forget_sessions`]. Takes its place in line
    /// at once.
    pub fn step(&mut self, not_seen_since: u64, now: u64, limit: u32) -> Reply<Forgotten> {
        self.0.kept.lock().begin_step();
        self.0.store().forget_sessions(not_seen_since, now, limit)
    }

    /// The store has forgotten sessions. If they come again, they must be written again. What has
    /// arrived for one since the store was asked stays. If they come, they are told what became
    /// dead letters with their inboxes. `now`: the time that the store was told.
    pub fn forget(&mut self, forgotten: &[SessionId], now: u64) {
        let inboxes = self.0.kept.lock().forget(forgotten);
        if let Some(kept) = self.0.kept_of_edges.lock().as_mut() {
            for session in inboxes.iter().filter_map(ChannelName::as_session) {
                kept.remove(&session);
            }
        }
        let mut untold = self.0.untold.lock();
        for inbox in &inboxes {
            untold.forget(inbox, now);
        }
    }
}

impl Drop for Forgetting<'_> {
    fn drop(&mut self) {
        self.0.kept.lock().end();
    }
}
