//! Who gives way in a full inbox. Pure; every backend uses it.
//!
//! An inbox is divided in three steps. Of each bound a quarter is guaranteed to anonymous sessions,
//! a quarter to users, and half to agents. Of the *standings* that have more than that, the least
//! trusted gives way. Among its *sources* (client addresses, users, agent keys) the one with most
//! gives way, and among the senders of that source the one with most. Of that sender the oldest
//! message of the lowest priority goes. So a flood evicts only messages of its own sender, as long
//! as others have less.
//!
//! A flooder that sends a new message loses its own oldest one, instead of having the new one
//! refused. A receiver that was away needs the newest most, a sender hears of each message that was
//! given up, and an accepted message can be delivered live without waiting for the store. The
//! sender's quota bounds how much it can have accepted in all.

use std::collections::BTreeSet;

use foldhash::HashMap;

use crate::{
    options::Bounds,
    owner::{Owner, Standing},
    quota::Usage,
};

/// A sender as an inbox sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) standing: Standing,
    pub(crate) source: u64,
    pub(crate) owner: u64,
}

impl Member {
    /// The sender of records without a known owner.
    pub(crate) const NOBODY: Self = Self { standing: Standing::Agent, source: 0, owner: 0 };

    pub(crate) fn of(owner: Option<&Owner>) -> Self {
        owner.map_or(Self::NOBODY, |owner| Self { standing: owner.key.standing, source: owner.source, owner: owner.id })
    }
}

/// What several have, and which one has most.
#[derive(Debug, Default)]
struct Ranking {
    used: HashMap<u64, Usage>,
    by_records: BTreeSet<(u64, u64)>,
    by_bytes: BTreeSet<(u64, u64)>,
}

impl Ranking {
    fn change(&mut self, who: u64, change: impl FnOnce(&mut Usage)) {
        let used = self.used.entry(who).or_default();
        let before = *used;
        change(used);
        let after = *used;
        self.by_records.remove(&(before.records, who));
        self.by_bytes.remove(&(before.bytes, who));
        if after.records == 0 {
            self.used.remove(&who);
        } else {
            self.by_records.insert((after.records, who));
            self.by_bytes.insert((after.bytes, who));
        }
    }

    fn largest(&self, by_bytes: bool) -> Option<u64> {
        let ranked = if by_bytes { &self.by_bytes } else { &self.by_records };
        ranked.last().map(|(_, who)| *who)
    }

    fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

/// What the senders of one standing have.
#[derive(Debug, Default)]
struct Class {
    used: Usage,
    sources: Ranking,
    senders: HashMap<u64, Ranking>,
}

/// What waits in one inbox, by sender.
#[derive(Debug, Default)]
pub(crate) struct Shares([Class; Standing::ALL.len()]);

impl Shares {
    fn class_mut(&mut self, standing: Standing) -> &mut Class {
        let [anonymous, users, agents] = &mut self.0;
        match standing {
            Standing::Anonymous => anonymous,
            Standing::User => users,
            Standing::Agent => agents,
        }
    }

    /// A message of a sender waits.
    pub(crate) fn add(&mut self, member: Member, bytes: u64) {
        let class = self.class_mut(member.standing);
        class.used.add(bytes);
        class.sources.change(member.source, |used| used.add(bytes));
        class.senders.entry(member.source).or_default().change(member.owner, |used| used.add(bytes));
    }

    /// It no longer waits.
    pub(crate) fn remove(&mut self, member: Member, bytes: u64) {
        let class = self.class_mut(member.standing);
        class.used.remove(bytes);
        class.sources.change(member.source, |used| used.remove(bytes));
        if let Some(senders) = class.senders.get_mut(&member.source) {
            senders.change(member.owner, |used| used.remove(bytes));
            if senders.is_empty() {
                class.senders.remove(&member.source);
            }
        }
    }

    /// The sender whose message goes, by the number of its owner, if these bounds are exceeded.
    pub(crate) fn victim(&self, bounds: Bounds) -> Option<u64> {
        let records: u64 = self.0.iter().map(|class| class.used.records).sum();
        let by_bytes = bounds.records == 0 || records <= bounds.records;
        let bound = if by_bytes { bounds.bytes } else { bounds.records };
        let quarter = bound / 4;
        let sure_of = [quarter, quarter, bound - 2 * quarter];
        let has = |class: &Class| if by_bytes { class.used.bytes } else { class.used.records };
        let (class, _) = self.0.iter().zip(sure_of).find(|(class, sure)| has(class) > *sure)?;
        class.senders.get(&class.sources.largest(by_bytes)?)?.largest(by_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(standing: Standing, source: u64, owner: u64) -> Member {
        Member { standing, source, owner }
    }

    fn shares(waiting: &[(Member, u64)]) -> Shares {
        let mut shares = Shares::default();
        for (member, count) in waiting {
            (0..*count).for_each(|_| shares.add(*member, 10));
        }
        shares
    }

    const OF_TEN: Bounds = Bounds { records: 10, bytes: 0, age_ms: 0 };

    #[test]
    fn many_sessions_of_one_address_are_one_sender() {
        let mut waiting = vec![(member(Standing::Anonymous, 1, 1), 2)];
        waiting.extend((10..19).map(|owner| (member(Standing::Anonymous, 2, owner), 1)));
        let victim = shares(&waiting).victim(OF_TEN);
        assert!(victim.is_some_and(|owner| owner >= 10), "{victim:?}");
    }

    #[test]
    fn less_trusted_senders_lose_messages_first_but_keep_a_quarter() {
        let (anonymous, user, agent) =
            (member(Standing::Anonymous, 1, 1), member(Standing::User, 2, 2), member(Standing::Agent, 3, 3));
        assert_eq!(shares(&[(anonymous, 3), (user, 4), (agent, 4)]).victim(OF_TEN), Some(1));
        assert_eq!(shares(&[(anonymous, 2), (user, 3), (agent, 6)]).victim(OF_TEN), Some(2));
        assert_eq!(shares(&[(anonymous, 2), (user, 2), (agent, 7)]).victim(OF_TEN), Some(3));
        assert_eq!(shares(&[(agent, 11)]).victim(OF_TEN), Some(3));
    }

    #[test]
    fn the_exceeded_bound_decides_which_sender_is_the_largest() {
        let (many, large) = (member(Standing::Agent, 1, 1), member(Standing::Agent, 2, 2));
        let mut shares = shares(&[(many, 5)]);
        shares.add(large, 1_000);
        let bytes = Bounds { records: 10, bytes: 500, age_ms: 0 };
        assert_eq!((shares.victim(bytes), shares.victim(Bounds { records: 5, ..bytes })), (Some(2), Some(1)));
        shares.remove(large, 1_000);
        assert_eq!(shares.victim(Bounds { records: 4, ..bytes }), Some(1));
        (0..5).for_each(|_| shares.remove(many, 10));
        assert!(shares.0.iter().all(|class| class.senders.is_empty() && class.sources.is_empty()));
    }
}
