//! The routing tables, and look-ups in them.

use std::sync::{Arc, atomic::AtomicUsize};

use common::{
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, TopicName, UserId},
    message::{AgentInfo, SessionInfo, SystemMessage},
    rate::Rate,
};
use foldhash::{HashMap, HashSet};
use identity::policy::Policy;
use store::ChannelName;
use transport::{Lane, Overflow, Reservation, Source, clock::now_ms};

use crate::{
    holders::Table,
    peers::{ConnectionId, Peer, PeerKind},
};

use super::{
    agent_news::AgentNews,
    callers::Callers,
    chains::Chains,
    contests::Contests,
    presence_news::PresenceNews,
    seen::{SeenAgent, SeenAgents},
    topics::Topic,
};

/// The most members in one answer.
const MEMBERS_LISTED: usize = 1000;

/// Bounds of the tables.
#[derive(Clone, Copy, Debug)]
pub struct RouterLimits {
    /// Topics of one connection.
    pub max_subscriptions: usize,
    /// Open requests of one connection.
    pub max_requests: usize,
    /// Answers to answers in one chain.
    pub answers: Rate,
}

#[derive(Debug)]
pub(super) struct AgentEntry {
    pub peer: Arc<Peer>,
    pub info: AgentInfo,
    /// Requests that wait for this agent, whatever connection it has.
    pub awaited: Arc<AtomicUsize>,
}

#[derive(Debug)]
pub(super) struct SessionEntry {
    pub peers: Vec<Arc<Peer>>,
    pub info: SessionInfo,
    /// Requests that wait for this session.
    pub awaited: Arc<AtomicUsize>,
}

impl SessionEntry {
    /// The session's identity where senders take turns.
    pub fn source(&self) -> Source {
        self.peers.first().map_or(Source::BRIDGE, |peer| peer.source())
    }
}

/// The other subscribers of a topic, if the subscriber asked for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The number of addresses.
    pub count: Option<usize>,
    /// At most a thousand of them.
    pub listed: Option<Vec<String>>,
}

/// The tables: who is connected, and who subscribes to what.
#[derive(Debug)]
pub struct Router {
    pub(super) limits: RouterLimits,
    pub(super) chains: Chains,
    /// Callers over HTTP that wait for an answer.
    pub(super) callers: Arc<Callers>,
    pub(super) policy: Policy,
    pub(super) policy_is_open: bool,
    /// Connected agents whose keys have scopes.
    pub(super) bounded_agents: usize,
    pub(super) agents: HashMap<AgentId, AgentEntry>,
    pub(super) sessions: HashMap<SessionId, SessionEntry>,
    pub(super) users: HashMap<UserId, HashSet<SessionId>>,
    pub(super) topics: HashMap<TopicName, Topic>,
    /// Agent ids that several connections want.
    pub(super) contests: Contests,
    /// The notices about agents.
    pub(super) news: AgentNews,
    /// The notices about members of topics.
    pub(super) presence_news: PresenceNews,
    /// Agents that were connected.
    pub(super) seen_agents: SeenAgents,
    /// The topics of each connection that has any, each with its place among all subscriptions.
    pub(super) subscriptions: HashMap<ConnectionId, HashMap<TopicName, Reservation>>,
}

impl Router {
    /// Empty tables.
    pub fn new(limits: RouterLimits, policy: Policy) -> Self {
        Self {
            chains: Chains::new(limits.answers),
            callers: Arc::default(),
            limits,
            policy_is_open: policy.is_open(),
            policy,
            bounded_agents: 0,
            agents: HashMap::default(),
            sessions: HashMap::default(),
            users: HashMap::default(),
            topics: HashMap::default(),
            contests: Contests::default(),
            news: AgentNews::default(),
            presence_news: PresenceNews::default(),
            seen_agents: SeenAgents::default(),
            subscriptions: HashMap::default(),
        }
    }

    /// The callers over HTTP that wait for an answer.
    pub fn callers(&self) -> &Arc<Callers> {
        &self.callers
    }

    /// Every agent, by id.
    pub fn agents(&self) -> Vec<AgentInfo> {
        self.agents_where(|_, _| true)
    }

    /// The agents that a peer may know of, by id.
    pub fn agents_seen_by(&self, peer: &Peer) -> Vec<AgentInfo> {
        self.agents_where(|id, entry| self.sees_agent(peer, id, entry.peer.bounds()))
    }

    fn agents_where(&self, is_meant: impl Fn(&AgentId, &AgentEntry) -> bool) -> Vec<AgentInfo> {
        let meant = self.agents.iter().filter(|(id, entry)| is_meant(id, entry));
        let mut agents: Vec<_> = meant.map(|(_, entry)| entry.info.clone()).collect();
        agents.sort_unstable_by(|one, other| one.agent_id.cmp(&other.agent_id));
        agents
    }

    /// How many agents there are.
    pub fn agent_count(&self) -> usize {
        self.agents.len()
    }

    /// How many sessions there are.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The ids of connected sessions.
    pub fn session_ids(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// The last `limit` agents that were connected, in the order in which they came.
    pub fn seen_agents(&self, limit: usize) -> Vec<SeenAgent> {
        self.seen_agents.last(limit)
    }

    /// Rises whenever [`Router::seen_agents`] changes.
    pub fn seen_revision(&self) -> u64 {
        self.seen_agents.revision()
    }

    /// The scopes of keys have changed: forgets agents that came with one of them and are no longer
    /// connected.
    pub fn forget_seen_agents(&mut self, has_changed: impl Fn(&str) -> bool) {
        self.seen_agents.forget_keys(has_changed);
    }

    /// Adds agents that were connected in an earlier life, in the order in which they came, and
    /// those of the short list.
    pub fn restore_seen_agents(&mut self, agents: impl Iterator<Item = SeenAgent>, listed: impl Iterator<Item = SeenAgent>) {
        self.seen_agents.restore(agents, listed);
    }

    /// Call this before a message for an agent is given to the store. If the disk does not know the
    /// agent, `write` stores all agents that must be known beside [`Router::seen_agents`].
    pub fn write_agent<T>(&self, agent_id: &AgentId, write: impl FnOnce(Vec<&SeenAgent>) -> T) -> Option<T> {
        self.seen_agents.write_agent(agent_id, write)
    }

    /// What [`Router::write_agent`] wrote was not stored.
    pub fn on_agent_not_written(&self, agent_id: &AgentId) {
        self.seen_agents.on_agent_not_written(agent_id);
    }

    /// [`Router::seen_agents`] of a revision are stored. `write` stores the agents that they do not
    /// contain and that must be known, if these have changed.
    pub fn on_seen_agents_written<T>(&mut self, revision: u64, write: impl FnOnce(Vec<&SeenAgent>) -> T) -> Option<T> {
        self.seen_agents.on_written(revision, write)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Whether an inbox is that of an agent that was connected.
    pub fn has_seen(&self, inbox: &ChannelName) -> bool {
        inbox.as_str().strip_prefix("agent:").is_some_and(|agent_id| self.seen_agents.contains(agent_id))
    }

    /// Every registered connection.
    pub fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.agent_peers().chain(self.sessions.values().flat_map(|entry| &entry.peers))
    }

    /// Every registered connection of an agent.
    pub fn agent_peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.agents.values().map(|entry| &entry.peer)
    }

    /// One page of the sessions that an agent may see, ordered by id.
    pub fn list_sessions(&self, seen_by: &Peer, after: Option<SessionId>, limit: usize) -> SystemMessage {
        let seen = self.sessions.iter().filter(|(id, entry)| self.sees_session(seen_by, **id, entry.info.user_id.as_ref()));
        let seen: Vec<_> = seen.map(|(id, _)| *id).collect();
        let total = seen.len();
        let mut ids: Vec<_> = seen.into_iter().filter(|id| after.is_none_or(|after| *id > after)).collect();
        ids.sort_unstable();
        let next = (ids.len() > limit).then(|| ids.get(limit - 1).copied()).flatten();
        ids.truncate(limit);
        let sessions = ids.iter().filter_map(|id| self.sessions.get(id)).map(|entry| entry.info.clone()).collect();
        SystemMessage::SessionListed { sessions, total, next }
    }

    /// Whether a connection is registered, and was not taken over or cut off.
    pub fn is_registered(&self, peer: &Peer) -> bool {
        match &peer.kind {
            PeerKind::Agent(agent_id) => self.agents.get(agent_id).is_some_and(|entry| entry.peer.id == peer.id),
            PeerKind::Session(identity) => {
                self.sessions.get(&identity.session_id).is_some_and(|entry| entry.peers.iter().any(|other| other.id == peer.id))
            }
        }
    }

    /// Whether another connection of the same session has the same name.
    pub fn has_namesake(&self, peer: &Peer) -> bool {
        self.namesake(peer).is_some()
    }

    /// The other connection of the session that has the same client name.
    pub(super) fn namesake(&self, peer: &Peer) -> Option<&Arc<Peer>> {
        let entry = self.sessions.get(&peer.session_id()?)?;
        let client = peer.reading.client.as_ref()?;
        entry.peers.iter().find(|other| other.id != peer.id && other.reading.client.as_ref() == Some(client))
    }

    /// Whether a connection subscribes to a topic.
    pub fn subscribes(&self, id: ConnectionId, topic: &TopicName) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.has(id))
    }

    /// Whether a connection gets the presence of a topic.
    pub fn watches(&self, id: ConnectionId, topic: &TopicName) -> bool {
        self.topics.get(topic).is_some_and(|topic| topic.watches(id))
    }

    /// Subscribes a connection to a topic, or changes whether it gets presence.
    ///
    /// # Errors
    /// `too_many_subscriptions`, `too_many_topics`, `share_exceeded`, `not_allowed`,
    /// `login_required`, `scope_required`.
    pub fn subscribe(&mut self, peer: &Arc<Peer>, name: &TopicName, presence: bool) -> Result<Members, ClientError> {
        if peer.is_cut() {
            return Err(ErrorCode::NotAllowed.into());
        }
        self.check_subscription(peer, name).map_err(|code| ClientError::new(code).about(format!("topic:{name}")))?;
        if !self.subscribes(peer.id, name) {
            self.make_room(peer, name).map_err(|error| error.about(format!("topic:{name}")))?;
        }
        if self.topics.entry(name.clone()).or_default().subscribe(peer, presence) {
            self.on_presence(name, peer, now_ms());
        }
        let (count, listed) = presence.then(|| self.members_seen_by(peer, name)).unzip();
        Ok(Members { count, listed })
    }

    /// Takes the places of a new subscription: among all subscriptions, and among all topics if the
    /// topic is new.
    fn make_room(&mut self, peer: &Arc<Peer>, name: &TopicName) -> Result<(), ClientError> {
        let most = self.limits.max_subscriptions;
        let own = self.subscriptions.get(&peer.id).map_or(0, HashMap::len);
        if own >= most {
            let message = format!("This connection has as many subscriptions as it may: {most}. Unsubscribe from one first.");
            return Err(ClientError::with_message(ErrorCode::TooManySubscriptions, message));
        }
        let subscription = peer.take(Table::Subscriptions, 1)?;
        if !self.topics.contains_key(name) {
            let topic = peer.take(Table::Topics, 1)?;
            self.topics.insert(name.clone(), Topic::paid_by(peer.id, topic));
        }
        self.subscriptions.entry(peer.id).or_default().insert(name.clone(), subscription);
        Ok(())
    }

    /// Ends a subscription, if there is one.
    pub fn unsubscribe(&mut self, peer: &Peer, name: &TopicName) {
        if let Some(subscriptions) = self.subscriptions.get_mut(&peer.id) {
            subscriptions.remove(name);
            if subscriptions.is_empty() {
                self.subscriptions.remove(&peer.id);
            }
        }
        self.leave_topic(peer, name);
    }

    pub(super) fn leave_all_topics(&mut self, peer: &Peer) {
        for name in self.subscriptions.remove(&peer.id).unwrap_or_default().into_keys() {
            self.leave_topic(peer, &name);
        }
    }

    fn leave_topic(&mut self, peer: &Peer, name: &TopicName) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let left = topic.unsubscribe(peer);
        if topic.is_empty() {
            self.topics.remove(name);
        } else if let Some(left) = left {
            self.on_presence(name, &left, now_ms());
        }
    }

    /// A member of a topic has come or gone.
    pub(super) fn on_presence(&mut self, name: &TopicName, about: &Arc<Peer>, now_ms: u64) {
        let is_watched = self.topics.get(name).is_some_and(Topic::is_watched);
        if is_watched && self.presence_news.on_change(name, about, now_ms) {
            self.tell_presence(name, about);
        }
    }

    /// Tells the present state of a member.
    pub(super) fn tell_presence(&self, name: &TopicName, about: &Peer) {
        let Some(topic) = self.topics.get(name).filter(|topic| topic.is_watched()) else { return };
        let (member, is_here) = (about.address().to_owned(), topic.has_member(about.address()));
        let topic = name.clone();
        let notice = match is_here {
            true => SystemMessage::PresenceJoin { topic, member },
            false => SystemMessage::PresenceLeave { topic, member },
        };
        self.tell_watchers(name, about, &notice);
    }

    /// The addresses that subscribe to a topic, as far as a peer may know of them: how many, and
    /// the first of them.
    fn members_seen_by(&self, peer: &Peer, name: &TopicName) -> (usize, Vec<String>) {
        let Some(topic) = self.topics.get(name) else { return (0, Vec::new()) };
        if self.sees_all_members(peer) {
            return topic.members(MEMBERS_LISTED);
        }
        let seen = topic.subscribers().filter(|member| self.sees_member(peer, name, member));
        let addresses: HashSet<&str> = seen.map(|member| member.address()).collect();
        (addresses.len(), addresses.iter().take(MEMBERS_LISTED).map(|address| (*address).to_owned()).collect())
    }

    /// Tells the subscribers with presence, except `about` and those who may not know of it.
    fn tell_watchers(&self, name: &TopicName, about: &Peer, notice: &SystemMessage) {
        let Some(topic) = self.topics.get(name).filter(|topic| topic.is_watched()) else { return };
        let notice = super::notices::notice(notice);
        for watcher in topic.watchers().filter(|watcher| watcher.address() != about.address()) {
            if self.sees_all_members(watcher) || self.sees_member(watcher, name, about) {
                watcher.link.send_from(about.source(), Lane::Normal, notice.clone(), Overflow::DropNewest);
            }
        }
    }
}
