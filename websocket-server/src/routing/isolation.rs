//! No history of comings, goings, subscriptions, messages and questions lets one user receive or learn of what is another's.
//!
//! Everybody sends everywhere. What is sent says whose it is: the sender's own, where a session sends it to anything but an open
//! topic; the receiver's, where an agent sends it. Whatever reaches a session must be its own, its user's or said in public, and nothing
//! the bridge tells it may name a session or user of others. The same holds for an agent whose key reaches one user only.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use common::{
    address::{Address, Scope},
    assertion::{ClientIdentity, Login, Reading},
    config::Settings,
    id::{AgentId, SessionId, TopicName, UserId},
    message::{AgentDescription, Page, Speaker, SystemMessage},
};
use identity::{
    agent_keys::{Grant, Scopes},
    policy::{Policy, session_topic, user_topic},
};
use proptest::prelude::*;
use transport::{Link, LinkPolicy};
use uuid::Uuid;

use super::{ConnectionId, Outgoing, Pass, Peer, PeerKind, Router, RouterLimits};

const CONNECTIONS: usize = 9;
const USERS: [&str; 2] = ["ann", "bob"];
/// Whose each session is.
const SESSIONS: [Option<usize>; 5] = [Some(0), Some(0), Some(1), None, None];
const PUBLIC: &str = "public";

#[derive(Clone, Copy, Debug)]
enum Who {
    /// With a key that reaches everything.
    Trusted,
    /// With a key for the first user.
    Bounded,
    Session(usize),
}

#[derive(Clone, Copy, Debug)]
enum To {
    Trusted,
    Bounded,
    Session(usize),
    User(usize),
    Open,
    OfUser(usize),
    OfSession(usize),
    Sessions,
    All,
    Default,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Attach(usize, Who),
    Detach(usize),
    Subscribe(usize, To, bool),
    Unsubscribe(usize, To),
    Send(usize, To),
    Ask(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = 0..SESSIONS.len();
    let who = prop_oneof![1 => Just(Who::Trusted), 1 => Just(Who::Bounded), 4 => session.clone().prop_map(Who::Session)];
    let to = prop_oneof![
        Just(To::Trusted),
        Just(To::Bounded),
        session.clone().prop_map(To::Session),
        (0..USERS.len()).prop_map(To::User),
        Just(To::Open),
        (0..USERS.len()).prop_map(To::OfUser),
        session.prop_map(To::OfSession),
        Just(To::Sessions),
        Just(To::All),
        Just(To::Default),
    ];
    let at = 0..CONNECTIONS;
    let step = prop_oneof![
        3 => (at.clone(), who).prop_map(|(at, who)| Step::Attach(at, who)),
        1 => at.clone().prop_map(Step::Detach),
        3 => (at.clone(), to.clone(), any::<bool>()).prop_map(|(at, to, presence)| Step::Subscribe(at, to, presence)),
        1 => (at.clone(), to.clone()).prop_map(|(at, to)| Step::Unsubscribe(at, to)),
        6 => (at.clone(), to).prop_map(|(at, to)| Step::Send(at, to)),
        1 => at.prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..100)
}

fn session_id(number: usize) -> SessionId {
    SessionId(Uuid::from_u128(0x5e55_1000 + number as u128))
}

fn user(number: usize) -> UserId {
    UserId::new(USERS[number]).expect("valid")
}

fn topic(to: To) -> Option<TopicName> {
    match to {
        To::Open => TopicName::new("room").ok(),
        To::OfUser(number) => user_topic(&user(number), "notes"),
        To::OfSession(number) => session_topic(session_id(number), "notes"),
        _ => None,
    }
}

fn address(to: To) -> Option<Address> {
    let agent = |id| AgentId::new(id).ok().map(Address::Agent);
    match to {
        To::Trusted => agent("trusted"),
        To::Bounded => agent("bounded"),
        To::Session(number) => Some(Address::Session(session_id(number))),
        To::User(number) => Some(Address::User(user(number))),
        To::Open | To::OfUser(_) | To::OfSession(_) => topic(to).map(Address::Topic),
        To::Sessions => Some(Address::Broadcast(Scope::Sessions)),
        To::All => Some(Address::Broadcast(Scope::All)),
        To::Default => None,
    }
}

/// Whose what belongs to a session is: its user's, or its own.
fn owner(session: usize) -> String {
    SESSIONS[session].map_or_else(|| session_id(session).to_string(), |user| USERS[user].to_owned())
}

/// Whose a message is.
fn whose(from: Who, to: To) -> String {
    match (from, to) {
        (_, To::Open) => PUBLIC.to_owned(),
        (Who::Session(number), _) => owner(number),
        (_, To::Session(number) | To::OfSession(number)) => owner(number),
        (_, To::User(number) | To::OfUser(number)) => USERS[number].to_owned(),
        (_, To::Trusted | To::Bounded | To::Sessions | To::All | To::Default) => PUBLIC.to_owned(),
    }
}

fn peer(who: Who, policy: &Arc<LinkPolicy>) -> Arc<Peer> {
    let all = Scopes::everything();
    let agent = |id: &str, scopes| {
        let id: Arc<str> = id.into();
        let grant = Grant { key: Arc::clone(&id), scopes: Arc::new(scopes), expires_at: None };
        (PeerKind::Agent(AgentId::new(&id).expect("valid")), Some(Pass::new(grant, Instant::now())))
    };
    let (kind, pass) = match who {
        Who::Trusted => agent("trusted", all),
        Who::Bounded => {
            let users = vec!["ann".parse().expect("a pattern")];
            agent("bounded", Scopes { users, anonymous: false, ..all })
        }
        Who::Session(number) => {
            let mut identity = ClientIdentity::anonymous(session_id(number));
            identity.login = SESSIONS[number].map(|name| Login { user: user(name), wallet: None, scopes: Default::default() });
            identity.ip = Some(format!("ip-of-{}", owner(number)));
            (PeerKind::Session(Box::new(identity)), None)
        }
    };
    Peer::new(ConnectionId::next(), kind, Link::new(Arc::clone(policy)), Reading::default(), pass)
}

/// Fails if what a peer was told is not for it.
fn check(who: Who, text: &str) -> Result<(), TestCaseError> {
    let mine = match who {
        Who::Trusted => return Ok(()),
        Who::Bounded => USERS[0].to_owned(),
        Who::Session(number) => owner(number),
    };
    if let Some(whose) = text.strip_prefix("said to ") {
        prop_assert!(whose == mine || whose == PUBLIC, "{:?} got {}", who, text);
        return Ok(());
    }
    for (number, _) in SESSIONS.iter().enumerate().filter(|(number, _)| owner(*number) != mine) {
        let named = session_id(number).to_string();
        prop_assert!(!text.contains(&named), "{:?} learned of {}: {}", who, named, text);
        prop_assert!(!text.contains(&format!("\"{}\"", owner(number))), "{:?} learned of {}: {}", who, owner(number), text);
    }
    Ok(())
}

proptest! {
    #[test]
    fn nobody_receives_or_learns_of_what_is_anothers(steps in steps()) {
        let links = crate::broker::link_policy(&Settings::for_tests());
        let limits = RouterLimits { max_subscriptions: 100, max_topics: 100, max_requests: 100, answers: common::rate::Rate::UNLIMITED };
        let policy = Policy { visible_members: Vec::new(), ..Policy::open() };
        let mut router = Router::new(limits, policy);
        let mut peers: BTreeMap<usize, (Who, Arc<Peer>)> = BTreeMap::new();
        for step in steps {
            let answer = |who: Who, message: SystemMessage| check(who, &message.encode(Speaker::Bridge, None, None));
            match step {
                Step::Attach(at, who) => {
                    if let std::collections::btree_map::Entry::Vacant(slot) = peers.entry(at) {
                        let (_, peer) = slot.insert((who, peer(who, &links)));
                        if let Some(older) = router.attach(peer, AgentDescription::default()) {
                            peers.retain(|_, (_, peer)| peer.id != older.id);
                        }
                    }
                }
                Step::Detach(at) => {
                    if let Some((_, peer)) = peers.remove(&at) {
                        router.detach(&peer, "test");
                    }
                }
                Step::Subscribe(at, to, presence) => {
                    if let (Some((who, peer)), Some(topic)) = (peers.get(&at), topic(to))
                        && let Ok(members) = router.subscribe(peer, &topic, presence)
                    {
                        check(*who, &format!("{topic} {members:?}"))?;
                    }
                }
                Step::Unsubscribe(at, to) => {
                    if let (Some((_, peer)), Some(topic)) = (peers.get(&at), topic(to)) {
                        router.unsubscribe(peer, &topic);
                    }
                }
                Step::Send(at, to) => {
                    if let Some((who, peer)) = peers.get(&at) {
                        let text = format!("said to {}", whose(*who, to));
                        if let Err(error) = router.dispatch(peer, &Outgoing::plain(&text, address(to))) {
                            // What the sender itself named is no news.
                            let error = common::error::ClientError { target: None, ..error };
                            answer(*who, SystemMessage::Error(error))?;
                        }
                    }
                }
                Step::Ask(at) => {
                    if let Some((who, peer)) = peers.get(&at) {
                        answer(*who, SystemMessage::AgentListed { agents: router.agents_seen_by(peer) })?;
                        if peer.is_agent() {
                            let page = Page { after: None, limit: 100 };
                            answer(*who, router.list_sessions(peer, page))?;
                            router.set_status(peer, "busy");
                        }
                    }
                }
            }
            for (who, peer) in peers.values() {
                for frame in peer.link.drain() {
                    check(*who, frame.payload_text())?;
                }
            }
        }
    }
}
