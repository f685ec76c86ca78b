//! What a session may do because of the scopes of its login.

use std::collections::BTreeSet;

use super::{Action, Resource};

/// The prefix of the scopes that are for the bridge. Other scopes concern the issuer and others.
const OURS: &str = "bridge:";

/// Something that a session may do, named by a scope of its login. A login without a scope of the
/// bridge may do everything that the rules allow. A login with one may do only what its scopes
/// name. Messages for a session always reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Send to agents.
    Send,
    /// Send to topics.
    Publish,
    /// Subscribe to topics, from any position.
    Subscribe,
    /// Read the history of channels.
    History,
}

impl Ability {
    /// All abilities.
    pub const ALL: [Self; 4] = [Self::Send, Self::Publish, Self::Subscribe, Self::History];

    /// The scope that names it.
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Send => "bridge:send",
            Self::Publish => "bridge:publish",
            Self::Subscribe => "bridge:subscribe",
            Self::History => "bridge:history",
        }
    }

    /// Whether a login with these scopes has it.
    pub fn is_in(self, scopes: &BTreeSet<String>) -> bool {
        scopes.contains(self.scope()) || !is_limited(scopes)
    }

    /// The ability that a session needs for an action; `None`: none.
    pub(super) fn for_action(action: &Action<'_>) -> Option<Self> {
        match action {
            Action::Send(Resource::Bridge) | Action::See(_) | Action::SeeMember { .. } => None,
            Action::Send(Resource::Topic(_)) => Some(Self::Publish),
            Action::Send(_) => Some(Self::Send),
            Action::Subscribe(Resource::Topic(_)) => Some(Self::Subscribe),
            Action::Subscribe(_) => None,
            Action::ReadHistory(_) => Some(Self::History),
        }
    }
}

/// Whether any of the scopes is for the bridge.
fn is_limited(scopes: &BTreeSet<String>) -> bool {
    // They are adjacent, because the set is sorted.
    scopes.range(OURS.to_owned()..).next().is_some_and(|scope| scope.starts_with(OURS))
}

#[cfg(test)]
mod tests {
    use common::{
        address::Scope,
        id::{AgentId, SessionId, TopicName, UserId},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::policy::{Denied, Policy, Principal};

    fn scopes(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn scopes_of_others_limit_nothing_and_any_of_the_bridges_does() {
        for open in [&[][..], &["openid", "profile"], &["publish", "bridg", "bridge", "bridgez:send", "zzz"]] {
            assert!(Ability::ALL.iter().all(|ability| ability.is_in(&scopes(open))), "{open:?}");
        }
        for ability in Ability::ALL {
            let limited = scopes(&["openid", "zzz", ability.scope()]);
            assert!(Ability::ALL.iter().all(|other| other.is_in(&limited) == (*other == ability)), "{ability:?}");
        }
        assert!(!Ability::ALL.iter().any(|ability| ability.is_in(&scopes(&["bridge:none"]))));
    }

    proptest! {
        /// Scopes take away, one ability each, and never add anything.
        #[test]
        fn a_session_may_what_the_rules_allow_and_its_scopes_name(
            named in prop::collection::btree_set(prop::sample::select(vec![
                "bridge:send", "bridge:publish", "bridge:subscribe", "bridge:history", "bridge:other", "openid", "write",
            ]), 0..6),
            is_user in any::<bool>(),
            is_open in any::<bool>(),
            kind in 0..4_usize,
            target in 0..8_usize,
        ) {
            let policy = if is_open { Policy::open() } else { Policy::default() };
            let (own, user) = (SessionId::fresh(), UserId::new("ann").unwrap());
            let user = is_user.then_some(&user);
            let (agent, room) = (AgentId::new("a").unwrap(), TopicName::new("room").unwrap());
            let mine = TopicName::new("user/ann/x").unwrap();
            let bob = UserId::new("bob").unwrap();
            let resource = [
                Resource::Agent { id: &agent, scopes: None },
                Resource::Topic(&room),
                Resource::Topic(&mine),
                Resource::Session { id: own, user },
                Resource::Session { id: SessionId::fresh(), user: Some(&bob) },
                Resource::User(&bob),
                Resource::Broadcast(Scope::Sessions),
                Resource::Bridge,
            ][target];
            let action = [Action::Send(resource), Action::Subscribe(resource), Action::ReadHistory(resource), Action::See(resource)][kind];
            let named = scopes(&named.into_iter().collect::<Vec<_>>());
            let may = |scopes| policy.may(Principal::Session { id: own, user, scopes }, action);
            let (without, with) = (may(&BTreeSet::new()), may(&named));
            match Ability::for_action(&action) {
                Some(ability) if !ability.is_in(&named) => prop_assert_eq!(with, Err(Denied::ScopeRequired)),
                _ => prop_assert_eq!(with, without),
            }
        }
    }
}
