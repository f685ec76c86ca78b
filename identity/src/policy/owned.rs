//! Topics that belong to one user or one session by their name.

use common::id::{SessionId, TopicName, UserId};

use crate::{escape_name, unescape_name};

const USER: &str = "user/";
const SESSION: &str = "session/";
/// The longest name of a user in a topic. Longer ids are shortened to a hash.
const LONGEST: usize = 80;

/// The owner of a topic, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    /// No owner: the rules decide.
    Open,
    /// The user with this name in topics.
    User(&'a str),
    /// A session's.
    Session(SessionId),
    /// It looks owned, but names no owner: nobody may use it.
    Malformed,
}

/// The owner of a topic.
pub(super) fn owner(topic: &TopicName) -> Owner<'_> {
    // In any case of letters, so that no name looks owned to a person without being owned.
    let begins_with = |prefix: &str| topic.as_str().get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    let named = |prefix| {
        topic
            .as_str()
            .strip_prefix(prefix)
            .and_then(|rest: &str| rest.split_once('/'))
            .filter(|(name, rest)| !name.is_empty() && !rest.is_empty())
    };
    if begins_with(USER) {
        named(USER).map_or(Owner::Malformed, |(name, _)| Owner::User(name))
    } else if begins_with(SESSION) {
        let id = named(SESSION).and_then(|(name, _)| name.parse().ok().filter(|id: &SessionId| id.to_string() == name));
        id.map_or(Owner::Malformed, Owner::Session)
    } else if ["user", "session"].iter().any(|name| topic.as_str().eq_ignore_ascii_case(name)) {
        Owner::Malformed
    } else {
        Owner::Open
    }
}

/// A user's name in topics.
pub(super) fn segment(user: &UserId) -> String {
    escape_name(user.as_str(), LONGEST)
}

/// The user with this name in topics. `None` if the name was shortened.
pub(super) fn user_of(segment: &str) -> Option<UserId> {
    unescape_name(segment).and_then(|id| UserId::new(&id).ok())
}

/// The name of a topic that belongs to a user. `None` if it would be invalid or too long.
pub fn user_topic(user: &UserId, name: &str) -> Option<TopicName> {
    TopicName::new(&format!("{USER}{}/{name}", segment(user))).ok().filter(|_| !name.is_empty())
}

/// The name of a topic that belongs to a session. `None` if it would be invalid or too long.
pub fn session_topic(session: SessionId, name: &str) -> Option<TopicName> {
    TopicName::new(&format!("{SESSION}{session}/{name}")).ok().filter(|_| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner_of(name: &str) -> Owner<'static> {
        let topic = Box::leak(Box::new(TopicName::new(name).unwrap()));
        owner(topic)
    }

    #[test]
    fn names_tell_their_owner() {
        let session = SessionId::fresh();
        assert_eq!(owner_of("user/ann/notes"), Owner::User("ann"));
        assert_eq!(owner_of("user/ann/notes/2"), Owner::User("ann"));
        assert_eq!(owner_of(&format!("session/{session}/x")), Owner::Session(session));
        for open in ["users/ann/x", "room/user/ann/x", "user.ann", "sessions", "u"] {
            assert_eq!(owner_of(open), Owner::Open, "{open}");
        }
        let shouted = format!("session/{}/x", session.to_string().to_uppercase());
        for malformed in
            ["user", "User", "user/", "user/ann", "user/ann/", "user//x", "USER/ann/x", "session/1/x", "session", &shouted]
        {
            assert_eq!(owner_of(malformed), Owner::Malformed, "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn two_users_never_share_a_topic(one in "[a/+@:]{1,100}", other in "[a/+@:]{1,100}", name in "[a/]{1,8}") {
            let (one, other) = (UserId::new(&one).unwrap(), UserId::new(&other).unwrap());
            let topic = user_topic(&one, &name).unwrap();
            prop_assert_eq!(owner(&topic), Owner::User(&segment(&one)));
            prop_assert_eq!(owner(&topic) == Owner::User(&segment(&other)), one == other);
            let back = user_of(&segment(&one));
            prop_assert!(back.is_none_or(|user| user == one));
        }

        #[test]
        fn no_name_makes_it_panic(name in "(user|session|USER)?/?[a/+-]{0,20}") {
            if let Ok(topic) = TopicName::new(&name) {
                let _ = owner(&topic);
            }
            let _ = user_of(&name);
        }
    }
}
