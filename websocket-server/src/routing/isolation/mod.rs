//! No history of connects, disconnects, logins, subscriptions, messages and questions lets one user
//! receive or learn of what is another's.
//!
//! Everybody sends everywhere. Two properties hold. Each message carries the label of its owner,
//! and reaches nobody else (`labels`). What one user and their agent hear is the same, word for
//! word, whether the others are there or not (`twins`). `tests/broker/isolation` checks the same
//! over sockets, with everything that waits for a disk.

mod labels;
#[path = "../../../tests/broker/isolation/owners.rs"]
mod owners;
mod twins;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use common::{
    address::Address,
    assertion::{ClientIdentity, LoggedIn, Login, Reading},
    config::Settings,
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, TopicName, UserId},
    message::{AgentDescription, Speaker, SystemMessage},
};
use identity::{
    agent_keys::{Grant, Scopes},
    policy::Policy,
};
use proptest::prelude::*;
use store::ChannelName;
use transport::{Link, LinkPolicy};
use uuid::Uuid;

use self::owners::{BOUNDED, NAMES, Owners, PUBLIC, SESSIONS, TRUSTED, To, USERS};
use super::{Attached, Router, RouterLimits, StampedMessage};
use crate::peers::{ConnectionId, Pass, Peer, PeerKind};

const CONNECTIONS: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// With a key that reaches everything.
    Trusted,
    /// With a key for the first user.
    Bounded,
    Session(usize),
}

impl Who {
    fn session(self) -> Option<usize> {
        match self {
            Self::Session(session) => Some(session),
            Self::Trusted | Self::Bounded => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Request,
    /// Of the newest request.
    Answer,
    /// Only checked: the durable half delivers it.
    Durable,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Attach(usize, Who),
    /// A session's connection with credentials from before its login.
    AttachStale(usize, usize),
    Detach(usize),
    /// In place; the other connection is kept if it belongs to the session.
    LogIn(usize, usize, usize),
    Subscribe(usize, To, bool),
    Unsubscribe(usize, To),
    Send(usize, To, Kind),
    /// The history there, or of its dead letters.
    Read(usize, To, bool),
    Ask(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let session = 0..SESSIONS;
    let user = 0..USERS;
    let who = prop_oneof![1 => Just(Who::Trusted), 1 => Just(Who::Bounded), 4 => session.clone().prop_map(Who::Session)];
    let to = prop_oneof![
        Just(To::Trusted),
        Just(To::Bounded),
        session.clone().prop_map(To::Session),
        user.clone().prop_map(To::User),
        Just(To::Open),
        user.clone().prop_map(To::OfUser),
        session.clone().prop_map(To::OfSession),
        Just(To::Sessions),
        Just(To::Agents),
        Just(To::All),
        Just(To::Default),
        Just(To::OwnInbox),
        Just(To::OwnTopic),
    ];
    let kind = prop_oneof![3 => Just(Kind::Plain), 1 => Just(Kind::Request), 1 => Just(Kind::Answer), 1 => Just(Kind::Durable)];
    let at = 0..CONNECTIONS;
    let step = prop_oneof![
        6 => (at.clone(), who).prop_map(|(at, who)| Step::Attach(at, who)),
        1 => (at.clone(), session).prop_map(|(at, session)| Step::AttachStale(at, session)),
        2 => at.clone().prop_map(Step::Detach),
        2 => (at.clone(), user, at.clone()).prop_map(|(at, user, kept)| Step::LogIn(at, user, kept)),
        6 => (at.clone(), to.clone(), any::<bool>()).prop_map(|(at, to, presence)| Step::Subscribe(at, to, presence)),
        2 => (at.clone(), to.clone()).prop_map(|(at, to)| Step::Unsubscribe(at, to)),
        14 => (at.clone(), to.clone(), kind).prop_map(|(at, to, kind)| Step::Send(at, to, kind)),
        2 => (at.clone(), to, any::<bool>()).prop_map(|(at, to, dead)| Step::Read(at, to, dead)),
        2 => at.prop_map(Step::Ask),
    ];
    prop::collection::vec(step, 1..120)
}

fn session_id(number: usize) -> SessionId {
    SessionId(Uuid::from_u128(0x5e55_1000 + number as u128))
}

fn socket_id(at: usize) -> Uuid {
    Uuid::from_u128(0x50c_0000 + at as u128)
}

fn login(number: usize) -> Login {
    Login { user: UserId::new(NAMES[number]).expect("valid"), wallet: None, scopes: Default::default() }
}

/// What somebody heard: an answer, or a frame.
type Heard = Vec<(usize, String)>;

/// A router and its connections.
struct World {
    router: Router,
    links: Arc<LinkPolicy>,
    peers: BTreeMap<usize, (Who, Arc<Peer>)>,
    owners: Owners,
    /// So far from one step to the next that nobody waits for a takeover, and every change is told
    /// at once.
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let limits = RouterLimits { max_subscriptions: 100, max_requests: 100, answers: common::rate::Rate::UNLIMITED };
        let policy = Policy { visible_members: Vec::new(), ..Policy::open() };
        let links = crate::links::link_policy(&Settings::for_tests());
        let owners = Owners::of(std::array::from_fn(session_id));
        Self { router: Router::new(limits, policy), links, peers: BTreeMap::new(), owners, now_ms: 0 }
    }

    fn address(&self, to: To) -> Option<Address> {
        self.owners.address(to).map(|address| Address::parse(&address).expect("valid"))
    }

    fn topic(&self, to: To) -> Option<TopicName> {
        match self.address(to) {
            Some(Address::Topic(topic)) => Some(topic),
            _ => None,
        }
    }

    /// The channel of an address.
    fn channel(&self, to: To, dead: bool) -> Option<ChannelName> {
        let channel = ChannelName::parse(&self.owners.address(to)?).ok()?;
        Some(if dead && channel.family().is_inbox() { channel.dead() } else { channel })
    }

    /// The target, with "own" replaced by what it means for the peer at a place.
    fn resolve(&self, at: usize, to: To) -> To {
        self.owners.resolve(self.peers.get(&at).and_then(|(who, _)| who.session()), to)
    }

    fn peer(&self, at: usize, who: Who, is_stale: bool) -> Arc<Peer> {
        let agent = |id: &str, scopes| {
            let id: Arc<str> = id.into();
            let grant = Grant { key: Arc::clone(&id), scopes: Arc::new(scopes), expires_at: None };
            (PeerKind::Agent(AgentId::new(&id).expect("valid")), Some(Pass::new(grant, Instant::now())))
        };
        let all = Scopes::everything();
        let (kind, pass) = match who {
            Who::Trusted => agent(TRUSTED, all),
            Who::Bounded => {
                let users = vec![NAMES[0].parse().expect("a pattern")];
                agent(BOUNDED, Scopes { users, anonymous: false, ..all })
            }
            Who::Session(number) => {
                let mut identity = ClientIdentity::anonymous(session_id(number));
                identity.login = self.owners.users[number].filter(|_| !is_stale).map(login);
                identity.socket_id = Some(socket_id(at));
                identity.ip = Some(format!("ip-of-{}", session_id(number)));
                (PeerKind::Session(Box::new(identity)), None)
            }
        };
        Peer::new(ConnectionId::next(), kind, Link::new(Arc::clone(&self.links)), Reading::default(), pass, Default::default())
    }

    /// The peer at a place. A peer that was cut off is ignored.
    fn active(&self, at: usize) -> Option<(Who, Arc<Peer>)> {
        self.peers.get(&at).filter(|(_, peer)| !peer.is_cut()).cloned()
    }

    /// As the handler of `Attach` does it.
    fn attach(&mut self, at: usize, who: Who, is_stale: bool) {
        let peer = self.peer(at, who, is_stale);
        // While nobody with the login is connected, the broker cannot know of it
        // (docs/security.md).
        let is_unknown = is_stale && !self.peers.values().any(|(other, peer)| *other == who && !peer.is_cut());
        if self.peers.contains_key(&at) || is_unknown {
            return;
        }
        match self.router.attach(&peer, AgentDescription::default(), self.now_ms) {
            Attached::Here { older, .. } => {
                self.peers.retain(|_, (_, peer)| older.as_ref().is_none_or(|older| peer.id != older.id));
                self.peers.insert(at, (who, peer));
            }
            Attached::Waits { .. } => unreachable!("takeovers are far apart"),
            Attached::Refused(..) => assert!(peer.is_cut() && !self.router.is_registered(&peer)),
        }
    }

    fn log_in(&mut self, at: usize, user: usize, kept: usize) -> Option<Result<(), ErrorCode>> {
        let (Who::Session(session), peer) = self.active(at)? else { return None };
        let keep = vec![socket_id(at), socket_id(kept)];
        let outcome = self.router.log_in(&peer, &LoggedIn { session_id: session_id(session), login: login(user), keep });
        if outcome.as_ref().is_ok_and(|outcome| !outcome.logged_in.is_empty()) {
            self.owners.users[session] = Some(user);
        }
        Some(outcome.map(drop))
    }

    /// Does the `number`-th step, and returns what everybody heard.
    fn step(&mut self, number: usize, step: Step) -> Heard {
        self.now_ms = number as u64 * 10_000;
        let mut heard = Heard::new();
        let told = |message: SystemMessage| message.encode(Speaker::Bridge, None, None);
        // What the asker itself named is no news.
        let refused = |error: ClientError| told(SystemMessage::Error(ClientError { target: None, ..error }));
        match step {
            Step::Attach(at, who) => self.attach(at, who, false),
            Step::AttachStale(at, session) => self.attach(at, Who::Session(session), true),
            Step::Detach(at) => {
                if let Some((_, peer)) = self.peers.remove(&at) {
                    self.router.detach(&peer, "test", self.now_ms);
                }
            }
            Step::LogIn(at, user, kept) => {
                if let Some(Err(code)) = self.log_in(at, user, kept) {
                    heard.push((at, refused(code.into())));
                }
            }
            Step::Subscribe(at, to, presence) => {
                if let (Some((_, peer)), Some(topic)) = (self.active(at), self.topic(self.resolve(at, to))) {
                    heard.push(match self.router.subscribe(&peer, &topic, presence) {
                        Ok(members) => {
                            let mut listed = members.listed.unwrap_or_default();
                            listed.sort();
                            (at, format!("{topic} {:?} {listed:?}", members.count))
                        }
                        Err(error) => (at, refused(error)),
                    });
                }
            }
            Step::Unsubscribe(at, to) => {
                if let (Some((_, peer)), Some(topic)) = (self.active(at), self.topic(self.resolve(at, to))) {
                    self.router.unsubscribe(&peer, &topic);
                }
            }
            Step::Send(at, to, kind) => {
                if let Some((who, peer)) = self.active(at)
                    && let Err(error) = self.send(number, who, &peer, self.resolve(at, to), kind)
                {
                    heard.push((at, refused(error)));
                }
            }
            Step::Read(at, to, dead) => {
                let to = self.resolve(at, to);
                if let (Some((_, peer)), Some(channel)) = (self.active(at), self.channel(to, dead)) {
                    // The owner of what is there, as an agent would leave it there.
                    let whose = match to {
                        To::Trusted | To::Bounded => format!("{to:?}"),
                        _ => self.owners.whose(None, to),
                    };
                    heard.push(match self.router.check_read(&peer.as_caller(peer.login().as_deref()), &channel) {
                        Ok(()) => (at, format!("said to {whose}")),
                        Err(code) => (at, refused(code.into())),
                    });
                }
            }
            Step::Ask(at) => {
                if let Some((_, peer)) = self.active(at) {
                    heard.push((at, told(SystemMessage::AgentListed { agents: self.router.agents_seen_by(&peer) })));
                    if peer.is_agent() {
                        heard.push((at, told(self.router.list_sessions(&peer, None, 100))));
                        self.router.set_status(&peer, "busy", self.now_ms);
                    }
                }
            }
        }
        for (at, (_, peer)) in &self.peers {
            heard.extend(peer.link.drain().iter().map(|frame| (*at, frame.payload_text().to_owned())));
        }
        heard
    }

    fn send(&self, number: usize, who: Who, peer: &Arc<Peer>, to: To, kind: Kind) -> Result<(), ClientError> {
        let target = self.address(to);
        let mut message = StampedMessage::plain(&format!("said to {}", self.owners.whose(who.session(), to)), target.clone());
        match kind {
            Kind::Plain => {}
            Kind::Request => {
                message.id = Some(format!("question {number}"));
                message.deadline_ms = Some(u64::MAX);
            }
            Kind::Answer => message.correlation_id = Some(format!("question {}", number.saturating_sub(1))),
            Kind::Durable => {
                let target = self.router.resolve(peer, target.as_ref())?.into_owned();
                return Ok(self.router.check_send(peer, &target, true)?);
            }
        }
        self.router.dispatch(peer, &message).map(drop)
    }
}
