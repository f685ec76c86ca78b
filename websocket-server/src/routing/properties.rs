//! The router against a naive model: any history of connects, disconnects, subscriptions and
//! messages delivers to the same receivers, in the same order, and leaves nothing behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use common::{
    address::{Address, Scope},
    assertion::{ClientIdentity, Login},
    config::Settings,
    id::{AgentId, SessionId, TopicName, UserId},
    message::AgentDescription,
};
use proptest::prelude::*;
use transport::{Link, LinkPolicy};
use uuid::Uuid;

use super::{Router, RouterLimits, StampedMessage};
use crate::peers::{ConnectionId, Peer, PeerKind};

/// Few of each, so that histories meet.
const NAMES: usize = 3;
const CONNECTIONS: usize = 8;

#[derive(Clone, Copy, Debug)]
enum Who {
    Agent(usize),
    Session(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Attach(usize, Who),
    Detach(usize),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Send(usize, Option<To>),
}

#[derive(Clone, Copy, Debug)]
enum To {
    Agent(usize),
    Session(usize),
    User(usize),
    Topic(usize),
    Sessions,
    Agents,
    All,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = prop_oneof![(0..NAMES).prop_map(Who::Agent), (0..NAMES).prop_map(Who::Session)];
    let to = prop_oneof![
        (0..NAMES).prop_map(To::Agent),
        (0..NAMES).prop_map(To::Session),
        (0..NAMES).prop_map(To::User),
        (0..NAMES).prop_map(To::Topic),
        Just(To::Sessions),
        Just(To::Agents),
        Just(To::All),
    ];
    let connection = 0..CONNECTIONS;
    let step = prop_oneof![
        3 => (connection.clone(), who).prop_map(|(at, who)| Step::Attach(at, who)),
        1 => connection.clone().prop_map(Step::Detach),
        2 => (connection.clone(), 0..NAMES).prop_map(|(at, topic)| Step::Subscribe(at, topic)),
        1 => (connection.clone(), 0..NAMES).prop_map(|(at, topic)| Step::Unsubscribe(at, topic)),
        6 => (connection, proptest::option::of(to)).prop_map(|(at, to)| Step::Send(at, to)),
    ];
    prop::collection::vec(step, 1..80)
}

/// The model: what is connected where, as plain sets that are searched from end to end.
#[derive(Default)]
struct Model {
    /// Connection slot -> its identity. Taken-over agents stay, marked as not current.
    attached: BTreeMap<usize, Who>,
    current_agent: BTreeMap<usize, usize>,
    subscriptions: BTreeSet<(usize, usize)>,
}

impl Model {
    fn is_agent(&self, at: usize) -> bool {
        matches!(self.attached.get(&at), Some(Who::Agent(_)))
    }

    fn current_agents(&self) -> Vec<usize> {
        self.current_agent.values().copied().collect()
    }

    fn sessions(&self, name: Option<usize>) -> Vec<usize> {
        let is = |who: &Who| matches!(who, Who::Session(session) if name.is_none_or(|name| name == *session));
        self.attached.iter().filter(|(_, who)| is(who)).map(|(at, _)| *at).collect()
    }

    /// The receivers; `None` if the sender gets an error.
    fn receivers(&self, from: usize, to: Option<To>) -> Option<BTreeSet<usize>> {
        let one = |agent: usize| self.current_agent.get(&agent).map(|at| BTreeSet::from([*at]));
        let some = |all: Vec<usize>| if all.is_empty() { None } else { Some(all.into_iter().collect()) };
        let but_me = |all: Vec<usize>| all.into_iter().filter(|at| *at != from).collect();
        match (to, self.is_agent(from)) {
            (Some(To::Agent(name)), _) => one(name),
            (None, true) => None,
            (None, false) => match self.current_agents().as_slice() {
                [only] => Some(BTreeSet::from([*only])),
                _ => None,
            },
            (Some(To::Topic(topic)), is_agent) => {
                let subscribers = self.subscriptions.iter().filter(|(_, name)| *name == topic).map(|(at, _)| *at).collect();
                (is_agent || self.subscriptions.contains(&(from, topic))).then(|| but_me(subscribers))
            }
            (Some(_), false) => None,
            (Some(To::Session(name)), true) => some(self.sessions(Some(name))),
            // Session n belongs to user n.
            (Some(To::User(name)), true) => some(self.sessions(Some(name))),
            (Some(To::Sessions), true) => Some(but_me(self.sessions(None))),
            (Some(To::Agents), true) => Some(but_me(self.current_agents())),
            (Some(To::All), true) => Some(but_me([self.sessions(None), self.current_agents()].concat())),
        }
    }

    fn detach(&mut self, at: usize) {
        self.subscriptions.retain(|(slot, _)| *slot != at);
        if let Some(Who::Agent(name)) = self.attached.remove(&at)
            && self.current_agent.get(&name) == Some(&at)
        {
            self.current_agent.remove(&name);
        }
    }

    fn attach(&mut self, at: usize, who: Who) {
        self.attached.insert(at, who);
        if let Who::Agent(name) = who
            && let Some(older) = self.current_agent.insert(name, at)
        {
            self.subscriptions.retain(|(slot, _)| *slot != older);
        }
    }
}

fn session_id(name: usize) -> SessionId {
    SessionId(Uuid::from_u128(name as u128 + 1))
}

fn address(to: To) -> Address {
    let agent = |name: usize| AgentId::new(&format!("a{name}")).expect("valid");
    match to {
        To::Agent(name) => Address::Agent(agent(name)),
        To::Session(name) => Address::Session(session_id(name)),
        To::User(name) => Address::User(UserId::new(&format!("u{name}")).expect("valid")),
        To::Topic(name) => Address::Topic(topic(name)),
        To::Sessions => Address::Broadcast(Scope::Sessions),
        To::Agents => Address::Broadcast(Scope::Agents),
        To::All => Address::Broadcast(Scope::All),
    }
}

fn topic(name: usize) -> TopicName {
    TopicName::new(&format!("t{name}")).expect("valid")
}

fn peer(who: Who, policy: &Arc<LinkPolicy>) -> Arc<Peer> {
    let kind = match who {
        Who::Agent(name) => PeerKind::Agent(AgentId::new(&format!("a{name}")).expect("valid")),
        Who::Session(name) => {
            let mut identity = ClientIdentity::anonymous(session_id(name));
            let user = UserId::new(&format!("u{name}")).expect("valid");
            identity.login = Some(Login { user, wallet: None, scopes: Default::default() });
            PeerKind::Session(Box::new(identity))
        }
    };
    Peer::new(
        ConnectionId::next(),
        kind,
        Link::new(Arc::clone(policy)),
        common::assertion::Reading::default(),
        None,
        Default::default(),
    )
}

/// Whether the connection is registered and was not taken over.
fn is_current(router: &Router, peer: &Peer) -> bool {
    router.peers().any(|other| other.id == peer.id)
}

/// The numbers of the messages that a peer got, without notices.
fn seen(peer: &Peer) -> Vec<usize> {
    let frames = peer.link.drain();
    frames.iter().filter_map(|frame| frame.payload_text().strip_prefix('#')?.parse().ok()).collect()
}

proptest! {
    #[test]
    fn any_history_delivers_like_the_model(steps in steps()) {
        let policy = crate::links::link_policy(&Settings::for_tests());
        let limits = RouterLimits { max_subscriptions: 100, max_requests: 100, answers: common::rate::Rate::UNLIMITED };
        let (mut router, mut model) = (Router::new(limits, identity::policy::Policy::open()), Model::default());
        let mut peers: BTreeMap<usize, Arc<Peer>> = BTreeMap::new();
        let mut expected: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Attach(at, who) => {
                    if let std::collections::btree_map::Entry::Vacant(slot) = peers.entry(at) {
                        let peer = slot.insert(peer(who, &policy));
                        // So far apart that nobody waits for a takeover.
                        router.attach(peer, AgentDescription::default(), number as u64 * 10_000);
                        model.attach(at, who);
                    }
                }
                Step::Detach(at) => {
                    if let Some(peer) = peers.remove(&at) {
                        prop_assert_eq!(seen(&peer), expected.remove(&at).unwrap_or_default());
                        router.detach(&peer, "test", number as u64 * 10_000);
                        model.detach(at);
                    }
                }
                // A connection that was taken over is closed: it subscribes to nothing any more.
                Step::Subscribe(at, name) => {
                    if let Some(peer) = peers.get(&at).filter(|peer| is_current(&router, peer)) {
                        router.subscribe(peer, &topic(name), number % 2 == 0).expect("subscribes");
                        model.subscriptions.insert((at, name));
                    }
                }
                Step::Unsubscribe(at, name) => {
                    if let Some(peer) = peers.get(&at) {
                        router.unsubscribe(peer, &topic(name));
                        model.subscriptions.remove(&(at, name));
                    }
                }
                Step::Send(at, to) => {
                    if let Some(peer) = peers.get(&at) {
                        let outcome = router.dispatch(peer, &StampedMessage::plain(&format!("#{number}"), to.map(address)));
                        let receivers = model.receivers(at, to);
                        prop_assert_eq!(outcome.as_ref().ok().map(|routed| routed.deliveries), receivers.as_ref().map(BTreeSet::len));
                        for receiver in receivers.unwrap_or_default() {
                            expected.entry(receiver).or_default().push(number);
                        }
                    }
                }
            }
        }
        for (at, peer) in peers {
            prop_assert_eq!(seen(&peer), expected.remove(&at).unwrap_or_default(), "connection {}", at);
            router.detach(&peer, "test", 0);
        }
        prop_assert!(router.agents.is_empty() && router.sessions.is_empty() && router.users.is_empty());
        prop_assert!(router.topics.is_empty() && router.subscriptions.is_empty());
    }
}
