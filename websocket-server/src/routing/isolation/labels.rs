//! Each message carries a label. If a session sends it to anything but an open topic, the label is
//! the sender's user; if an agent sends it, the receiver's. Whatever reaches a session must be its
//! own, its user's or public, and no message of the bridge to it may name another's session or
//! user. The same holds for an agent whose key reaches one user only.

use super::*;

/// Fails if a peer was told something that is not for it.
fn check(world: &World, who: Who, peer: &Peer, text: &str) -> Result<(), TestCaseError> {
    let user = match who {
        Who::Trusted => return Ok(()),
        Who::Bounded => Some(NAMES[0]),
        Who::Session(_) => peer.user_id().map(UserId::as_str),
    };
    let is_mine = |name: &str| {
        let is_session = |number: usize| session_id(number).to_string() == name;
        let is_own = matches!(who, Who::Session(number) if is_session(number)) || name == format!("{who:?}");
        let of_user =
            |user: &str| name == user || (0..SESSIONS).any(|number| is_session(number) && world.owners.owner(number) == user);
        is_own || user.is_some_and(of_user)
    };
    if let Some(whose) = text.strip_prefix("said to ") {
        prop_assert!(is_mine(whose) || whose == PUBLIC, "{:?} got {}", who, text);
        return Ok(());
    }
    for session in (0..SESSIONS).map(|number| session_id(number).to_string()).filter(|session| !is_mine(session)) {
        prop_assert!(!text.contains(&session), "{:?} learned of {}: {}", who, session, text);
    }
    for user in NAMES.iter().filter(|user| !is_mine(user)) {
        prop_assert!(!text.contains(&format!("\"{user}\"")), "{:?} learned of {}: {}", who, user, text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn nobody_receives_or_learns_of_what_is_anothers(steps in steps()) {
        let mut world = World::new();
        for (number, step) in steps.into_iter().enumerate() {
            for (at, text) in world.step(number, step) {
                let (who, peer) = &world.peers[&at];
                check(&world, *who, peer, &text)?;
            }
        }
    }
}
