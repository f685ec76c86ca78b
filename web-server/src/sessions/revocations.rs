//! Sessions that were ended while tokens of theirs are still good.
//!
//! An entry is kept until every token signed before it has expired. The table is bounded. At the bound the oldest entry
//! gives way, and from then on every token signed up to that entry's moment is refused: the rule errs on the side of
//! ending more sessions (they are anonymous and register anew), never of reviving an ended one.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use common::id::SessionId;

/// Entries kept by default: about 10 MB at most.
pub const CAPACITY: usize = 100_000;

/// See the module.
pub struct Revocations {
    ended: HashMap<SessionId, SystemTime>,
    /// In the order of ending, which is the order of expiry too.
    order: VecDeque<(SessionId, SystemTime)>,
    capacity: usize,
    /// The longest that a token signed at the moment of ending could live.
    lifetime: Duration,
    /// Tokens signed up to this moment are refused.
    all_until: Option<SystemTime>,
}

impl Revocations {
    /// A table of at most `capacity` entries for tokens of this lifetime.
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { ended: HashMap::new(), order: VecDeque::new(), capacity: capacity.max(1), lifetime, all_until: None }
    }

    /// Ends a session: every token of it, whenever it was signed.
    pub fn end(&mut self, id: SessionId, now: SystemTime) {
        self.forget_expired(now);
        if self.ended.contains_key(&id) {
            return;
        }
        if self.order.len() >= self.capacity
            && let Some((oldest, moment)) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
            self.all_until = self.all_until.max(Some(moment));
        }
        self.ended.insert(id, now);
        self.order.push_back((id, now));
    }

    /// Whether a token of this session, signed at this moment, is refused.
    pub fn is_ended(&self, id: SessionId, issued_at: SystemTime) -> bool {
        self.ended.contains_key(&id) || self.all_until.is_some_and(|moment| issued_at <= moment)
    }

    fn forget_expired(&mut self, now: SystemTime) {
        while let Some((id, moment)) = self.order.front().copied() {
            let expired = moment.checked_add(self.lifetime).is_some_and(|end| end < now);
            if !expired {
                return;
            }
            self.order.pop_front();
            self.ended.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_ended_session_stays_ended_while_its_tokens_could_live() {
        let mut table = Revocations::new(10, Duration::from_secs(100));
        let (ended, other) = (SessionId::fresh(), SessionId::fresh());
        table.end(ended, at(1000));
        assert!(table.is_ended(ended, at(950)));
        assert!(!table.is_ended(other, at(950)));
        table.end(other, at(1100));
        assert!(table.is_ended(ended, at(1000)), "its last token expires at 1100");
        table.end(SessionId::fresh(), at(1101));
        assert!(!table.ended.contains_key(&ended));
    }

    #[test]
    fn at_the_bound_more_is_ended_and_never_less() {
        let mut table = Revocations::new(2, Duration::from_secs(1000));
        let sessions: Vec<_> = (0..3).map(|_| SessionId::fresh()).collect();
        for (second, session) in sessions.iter().enumerate() {
            table.end(*session, at(100 + second as u64));
        }
        assert_eq!(table.order.len(), 2);
        assert_eq!(table.ended.len(), 2);
        for session in &sessions {
            assert!(table.is_ended(*session, at(50)));
        }
        assert!(table.is_ended(SessionId::fresh(), at(100)), "signed before the entry that gave way");
        assert!(!table.is_ended(SessionId::fresh(), at(101)));
    }

    #[test]
    fn ending_twice_takes_one_entry() {
        let mut table = Revocations::new(2, Duration::from_secs(1000));
        let session = SessionId::fresh();
        for second in 0..5 {
            table.end(session, at(second));
        }
        assert_eq!(table.order.len(), 1);
    }
}
