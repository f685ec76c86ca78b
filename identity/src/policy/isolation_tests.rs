//! No sequence of allowed actions lets one user receive or learn of another's messages.
//!
//! A small world is run by random steps of random principals. They do everything that the policy
//! allows and nothing else. Every message carries a label: for whom it is. At each delivery, read
//! and listing the recipient must match the label.

use std::collections::{BTreeSet, HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::policy::{AgentRule, Requirement, TopicRule, session_topic, user_topic};

const USERS: [&str; 3] = ["ann", "bob", "team/ann"];
const SESSIONS: usize = 6;

/// For whom a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum For {
    User(UserId),
    Session(SessionId),
    /// In a topic that the operator opened, or from an agent to everybody.
    Everybody,
}

#[derive(Clone, Debug)]
struct Kept {
    content: For,
    /// In a session's channel: the session's user at that time.
    user: Option<UserId>,
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    user: Option<UserId>,
}

impl Session {
    fn label(&self) -> For {
        self.user.clone().map_or(For::Session(self.id), For::User)
    }

    fn is_for(&self, content: &For) -> bool {
        match content {
            For::Everybody => true,
            For::User(user) => self.user.as_ref() == Some(user),
            For::Session(id) => *id == self.id,
        }
    }
}

/// The target of a step.
#[derive(Clone, Debug)]
enum Aim {
    Agent(usize),
    Session(usize),
    User(usize),
    OpenTopic(usize),
    UserTopic(usize),
    SessionTopic(usize),
    OddTopic(usize),
    Broadcast(usize),
}

#[derive(Clone, Debug)]
enum Step {
    SessionSends(usize, Aim),
    SessionSubscribes(usize, Aim),
    SessionReads(usize, Aim),
    SessionLooks(usize, Aim),
    SessionLooksAtMember(usize, Aim, usize),
    AgentSends(usize, Aim),
    AgentLooks(usize, Aim),
    LogsIn(usize, Option<usize>),
}

struct World {
    policy: Policy,
    sessions: Vec<Session>,
    agents: Vec<(AgentId, Scopes)>,
    /// By the channel's address.
    logs: HashMap<String, Vec<Kept>>,
    subscribers: HashMap<String, HashSet<usize>>,
    none: BTreeSet<String>,
}

fn name(resource: &Resource<'_>) -> String {
    match resource {
        Resource::Agent { id, .. } => format!("agent:{id}"),
        Resource::Session { id, .. } => format!("session:{id}"),
        Resource::User(user) => format!("user:{user}"),
        Resource::Topic(topic) => format!("topic:{topic}"),
        Resource::Broadcast(scope) => format!("broadcast:{scope:?}"),
        Resource::Bridge => "bridge".to_owned(),
    }
}

/// An aim, with everything that a place borrows from.
struct Held {
    agent: (AgentId, Scopes),
    session: Session,
    user: UserId,
    topic: TopicName,
    kind: Aim,
}

impl Held {
    fn resource(&self) -> Resource<'_> {
        match &self.kind {
            Aim::Agent(_) => Resource::Agent { id: &self.agent.0, scopes: Some(&self.agent.1) },
            Aim::Session(_) => Resource::Session { id: self.session.id, user: self.session.user.as_ref() },
            Aim::User(_) => Resource::User(&self.user),
            Aim::OpenTopic(_) | Aim::UserTopic(_) | Aim::SessionTopic(_) | Aim::OddTopic(_) => Resource::Topic(&self.topic),
            Aim::Broadcast(0) => Resource::Broadcast(Scope::Sessions),
            Aim::Broadcast(1) => Resource::Broadcast(Scope::Agents),
            Aim::Broadcast(_) => Resource::Broadcast(Scope::All),
        }
    }

    /// The label of what an agent sends there.
    fn label(&self) -> For {
        match &self.kind {
            Aim::Session(_) => self.session.label(),
            Aim::User(_) | Aim::UserTopic(_) => For::User(self.user.clone()),
            Aim::SessionTopic(_) => For::Session(self.session.id),
            // It looks owned, but belongs to nobody.
            Aim::OddTopic(_) => For::User(UserId::new("nobody").unwrap()),
            Aim::Agent(_) | Aim::OpenTopic(_) | Aim::Broadcast(_) => For::Everybody,
        }
    }
}

impl World {
    fn new() -> Self {
        let patterns = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let mut sessions: Vec<_> = (0..SESSIONS).map(|_| Session { id: SessionId::fresh(), user: None }).collect();
        // Two more connections of the first session, with their own credentials: from before a
        // login, or planted by somebody.
        (sessions[4].id, sessions[5].id) = (sessions[0].id, sessions[0].id);
        let limited =
            Scopes { users: patterns(&["ann"]), topics: patterns(&["*"]), agents: patterns(&["*"]), ..Scopes::default() };
        let agents = vec![(AgentId::new("all").unwrap(), Scopes::everything()), (AgentId::new("anns").unwrap(), limited)];
        let policy = Policy {
            agents: vec![AgentRule { agents: "*".parse().unwrap(), requires: Requirement::Anyone }],
            topics: vec![TopicRule { topics: "*".parse().unwrap(), requires: Requirement::Anyone }],
            visible_members: Vec::new(),
        };
        Self { policy, sessions, agents, logs: HashMap::new(), subscribers: HashMap::new(), none: BTreeSet::new() }
    }

    fn hold(&self, aim: &Aim) -> Held {
        let number = match aim {
            Aim::Agent(n)
            | Aim::Session(n)
            | Aim::User(n)
            | Aim::OpenTopic(n)
            | Aim::UserTopic(n)
            | Aim::SessionTopic(n)
            | Aim::OddTopic(n)
            | Aim::Broadcast(n) => *n,
        };
        let session = self.sessions[number % SESSIONS].clone();
        let user = UserId::new(USERS[number % USERS.len()]).unwrap();
        let odd = [
            "user/team/ann/x",
            "user/ann",
            "USER/ann/x",
            "user/team+2fann/x",
            "session/x/y",
            "user/ann+/x",
            "user",
            "user/+61nn/x",
        ];
        let topic = match aim {
            Aim::UserTopic(_) => user_topic(&user, "x").unwrap(),
            Aim::SessionTopic(_) => session_topic(session.id, "x").unwrap(),
            Aim::OddTopic(_) => TopicName::new(odd[number % odd.len()]).unwrap(),
            _ => TopicName::new(&format!("room/{}", number % 2)).unwrap(),
        };
        Held { agent: self.agents[number % self.agents.len()].clone(), session, user, topic, kind: aim.clone() }
    }

    fn may(&self, session: usize, action: Action<'_>) -> bool {
        let Session { id, user } = &self.sessions[session];
        self.policy.may(Principal::Session { id: *id, user: user.as_ref(), scopes: &self.none }, action).is_ok()
    }

    fn deliver(&mut self, held: &Held, content: For) {
        let resource = held.resource();
        self.logs.entry(name(&resource)).or_default().push(Kept { content: content.clone(), user: held.session.user.clone() });
        let receivers: Vec<usize> = match resource {
            Resource::Session { id, .. } => {
                (0..SESSIONS).filter(|at| self.sessions[*at].id == id && self.may(*at, Action::Subscribe(resource))).collect()
            }
            Resource::User(user) => (0..SESSIONS).filter(|at| self.sessions[*at].user.as_ref() == Some(user)).collect(),
            Resource::Broadcast(Scope::Sessions | Scope::All) => (0..SESSIONS).collect(),
            Resource::Topic(_) => self.subscribers.get(&name(&resource)).into_iter().flatten().copied().collect(),
            Resource::Agent { .. } | Resource::Broadcast(Scope::Agents) | Resource::Bridge => vec![],
        };
        for receiver in receivers {
            assert!(
                self.sessions[receiver].is_for(&content),
                "{:?} received {content:?} at {}",
                self.sessions[receiver],
                name(&resource)
            );
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::SessionSends(at, aim) => {
                let held = self.hold(aim);
                if !self.may(*at, Action::Send(held.resource())) {
                    return;
                }
                let sender = self.sessions[*at].clone();
                match held.resource() {
                    Resource::Agent { scopes, .. } => {
                        let reached = scopes.is_some_and(|scopes| scopes.reach_user(sender.user.as_ref().map(UserId::as_str)));
                        assert!(reached, "{sender:?} wrote to an agent that must not hear of it");
                        self.deliver(&held, sender.label());
                    }
                    // What is sent to an open topic is public; what is sent to an owned one is its
                    // owner's.
                    Resource::Topic(_) => {
                        let content = if matches!(held.kind, Aim::OpenTopic(_)) { For::Everybody } else { held.label() };
                        if !matches!(held.kind, Aim::OpenTopic(_)) {
                            assert!(
                                sender.is_for(&content) && content != For::Everybody,
                                "{sender:?} wrote to {}",
                                name(&held.resource())
                            );
                        }
                        self.deliver(&held, content);
                    }
                    other => panic!("a session wrote to {}", name(&other)),
                }
            }
            Step::SessionSubscribes(at, aim) => {
                let held = self.hold(aim);
                if self.may(*at, Action::Subscribe(held.resource())) {
                    self.subscribers.entry(name(&held.resource())).or_default().insert(*at);
                }
            }
            Step::SessionReads(at, aim) => {
                let held = self.hold(aim);
                for kept in self.logs.get(&name(&held.resource())).into_iter().flatten() {
                    let resource = match held.resource() {
                        Resource::Session { id, .. } => Resource::Session { id, user: kept.user.as_ref() },
                        other => other,
                    };
                    if self.may(*at, Action::ReadHistory(resource)) {
                        assert!(
                            self.sessions[*at].is_for(&kept.content),
                            "{:?} read {kept:?} of {}",
                            self.sessions[*at],
                            name(&resource)
                        );
                    }
                }
            }
            Step::SessionLooks(at, aim) => {
                let held = self.hold(aim);
                if self.may(*at, Action::See(held.resource())) {
                    self.assert_may_know(*at, &held);
                }
            }
            Step::SessionLooksAtMember(at, aim, member) => {
                let (topic, member) = (self.hold(aim), self.hold(&Aim::Session(*member)));
                if let Resource::Topic(topic) = topic.resource()
                    && self.may(*at, Action::SeeMember { topic, member: member.resource() })
                {
                    self.assert_may_know(*at, &member);
                }
            }
            Step::AgentSends(at, aim) => {
                let (held, (id, scopes)) = (self.hold(aim), &self.agents[*at]);
                if self.policy.may(Principal::Agent { id, scopes }, Action::Send(held.resource())).is_ok() {
                    self.assert_within(scopes, &held);
                    self.deliver(&held, held.label());
                }
            }
            Step::AgentLooks(at, aim) => {
                let (held, (id, scopes)) = (self.hold(aim), &self.agents[*at]);
                if self.policy.may(Principal::Agent { id, scopes }, Action::See(held.resource())).is_ok() {
                    self.assert_within(scopes, &held);
                }
            }
            Step::LogsIn(at, user) => {
                self.sessions[*at].user = user.map(|user| UserId::new(USERS[user]).unwrap());
                // Here users change, so subscriptions must end. The servers are stricter: a session
                // gets one user in its life.
                self.subscribers.values_mut().for_each(|subscribers| {
                    subscribers.remove(at);
                });
            }
        }
    }

    fn assert_may_know(&self, at: usize, held: &Held) {
        let session = &self.sessions[at];
        let knows = match held.resource() {
            Resource::Session { id, user } => id == session.id || user.is_some() && user == session.user.as_ref(),
            Resource::User(user) => Some(user) == session.user.as_ref(),
            Resource::Topic(_) if !matches!(held.kind, Aim::OpenTopic(_)) => {
                session.is_for(&held.label()) && held.label() != For::Everybody
            }
            _ => true,
        };
        assert!(knows, "{session:?} saw {}", name(&held.resource()));
    }

    fn assert_within(&self, scopes: &Scopes, held: &Held) {
        if !scopes.reach_all_sessions() {
            let is_anns = match held.label() {
                For::User(user) => user.as_str() == "ann",
                For::Session(_) => false,
                For::Everybody => {
                    matches!(held.kind, Aim::OpenTopic(_) | Aim::Agent(_)) || matches!(held.kind, Aim::Broadcast(1))
                }
            };
            assert!(is_anns, "an agent for ann alone reached {}", name(&held.resource()));
        }
    }
}

fn aims() -> impl Strategy<Value = Aim> {
    (0..8_usize, 0..8_usize).prop_map(|(kind, number)| match kind {
        0 => Aim::Agent(number),
        1 => Aim::Session(number),
        2 => Aim::User(number),
        3 => Aim::OpenTopic(number),
        4 => Aim::UserTopic(number),
        5 => Aim::SessionTopic(number),
        6 => Aim::OddTopic(number),
        _ => Aim::Broadcast(number % 3),
    })
}

fn steps() -> impl Strategy<Value = Step> {
    let session = || 0..SESSIONS;
    prop_oneof![
        4 => (session(), aims()).prop_map(|(at, aim)| Step::SessionSends(at, aim)),
        4 => (session(), aims()).prop_map(|(at, aim)| Step::SessionSubscribes(at, aim)),
        4 => (session(), aims()).prop_map(|(at, aim)| Step::SessionReads(at, aim)),
        2 => (session(), aims()).prop_map(|(at, aim)| Step::SessionLooks(at, aim)),
        2 => (session(), aims(), session()).prop_map(|(at, aim, member)| Step::SessionLooksAtMember(at, aim, member)),
        4 => (0..2_usize, aims()).prop_map(|(at, aim)| Step::AgentSends(at, aim)),
        1 => (0..2_usize, aims()).prop_map(|(at, aim)| Step::AgentLooks(at, aim)),
        2 => (session(), prop::option::of(0..USERS.len())).prop_map(|(at, user)| Step::LogsIn(at, user)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn nothing_of_one_user_reaches_another(steps in prop::collection::vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.run(step);
        }
    }
}
