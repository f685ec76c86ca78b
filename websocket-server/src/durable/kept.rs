//! Which inboxes may have something pending, and which sessions the store knows. Pure.
//!
//! While sessions are forgotten, this table must agree with the order of calls to the store. What
//! is appended before the store is asked to forget a session becomes a dead letter with it. What
//! comes after belongs to a new session, which must be written again. So messages are recorded here
//! *after* the store was called for them, and a forgetting begins here *before*. A position may be
//! recorded before its write, because the session is then written first.

use common::id::SessionId;
use foldhash::HashSet;
use store::ChannelName;

/// The most sessions that are remembered as known to the store; further ones are written again and
/// again.
const MOST_SESSIONS: usize = 1_000_000;
/// The most inboxes that are remembered as having something pending; with more, any inbox may have.
const MOST_PENDING: usize = 1_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    /// Inboxes that may have something pending. One that has is always included. `None`: there are
    /// too many to remember.
    pending: Option<HashSet<ChannelName>>,
    sessions: HashSet<SessionId>,
    /// While sessions are forgotten: those for which something was stored since the store was last
    /// asked. Bounded by what may wait for the store.
    arrived: Option<HashSet<SessionId>>,
}

impl Kept {
    /// With the inboxes that have something pending when the store is opened.
    pub(super) fn new(pending: HashSet<ChannelName>) -> Self {
        let pending = Some(pending).filter(|pending| pending.len() <= MOST_PENDING);
        Self { pending, sessions: HashSet::default(), arrived: None }
    }

    /// The store was given a message for an inbox. Returns the session that must be written, if
    /// any.
    pub(super) fn note_pending(&mut self, inbox: &ChannelName) -> Option<SessionId> {
        if let Some(pending) = &mut self.pending
            && !pending.contains(inbox)
        {
            pending.insert(inbox.clone());
            if pending.len() > MOST_PENDING {
                self.pending = None;
            }
        }
        inbox.as_session().filter(|session| self.note_session(*session))
    }

    /// Something is stored for a session. Returns whether the session must be written.
    pub(super) fn note_session(&mut self, session: SessionId) -> bool {
        // A session that is being forgotten, or may be in the next step, must be seen in time, or
        // written again.
        let has_arrived = self.arrived.as_mut().is_some_and(|arrived| arrived.insert(session));
        let is_new = !self.sessions.contains(&session);
        if is_new && self.sessions.len() < MOST_SESSIONS {
            self.sessions.insert(session);
        }
        has_arrived || is_new
    }

    /// The store is about to be asked to forget sessions.
    pub(super) fn begin_step(&mut self) {
        self.arrived = Some(HashSet::default());
    }

    /// The store has forgotten sessions. Returns the inboxes that are gone with them.
    pub(super) fn forget(&mut self, sessions: &[SessionId]) -> Vec<ChannelName> {
        let has_arrived = |session: &SessionId| self.arrived.as_ref().is_some_and(|arrived| arrived.contains(session));
        let gone: Vec<SessionId> = sessions.iter().filter(|session| !has_arrived(session)).copied().collect();
        let forget = |session: SessionId| {
            self.sessions.remove(&session);
            let inbox = ChannelName::session(session);
            if let Some(pending) = &mut self.pending {
                pending.remove(&inbox);
            }
            inbox
        };
        gone.into_iter().map(forget).collect()
    }

    /// Nothing more is forgotten for now.
    pub(super) fn end(&mut self) {
        self.arrived = None;
    }

    /// Whether an inbox may have something pending.
    pub(super) fn may_have_pending(&self, inbox: &ChannelName) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.contains(inbox))
    }

    /// Nothing is pending any more.
    pub(super) fn nothing_pending(&mut self, inbox: &ChannelName) {
        if let Some(pending) = &mut self.pending {
            pending.remove(inbox);
        }
    }

    /// The numbers of inboxes and sessions; at most as many as are remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.pending.as_ref().map_or(MOST_PENDING, HashSet::len), self.sessions.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_written_once_and_again_while_it_may_be_forgotten() {
        let (mut kept, session) = (Kept::new(HashSet::default()), SessionId::fresh());
        let inbox = ChannelName::session(session);
        assert_eq!((kept.note_pending(&inbox), kept.note_pending(&inbox)), (Some(session), None));
        kept.begin_step();
        assert_eq!((kept.note_session(session), kept.note_session(session)), (true, false));
        assert!(kept.forget(&[session]).is_empty());
        assert!(kept.may_have_pending(&inbox));
        kept.begin_step();
        assert_eq!(kept.forget(&[session]), [inbox]);
        kept.end();
        assert_eq!(kept.len(), (0, 0));
    }
}
