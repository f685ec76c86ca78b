//! Connections that come and go: registering, taking over, and telling the others.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use common::{
    close::CloseCode,
    error::{ClientError, ErrorCode},
    id::{AgentId, SessionId, UserId},
    message::{AgentDescription, AgentInfo, ClientInfo, SessionInfo, Speaker, SystemMessage},
    timestamp,
};
use transport::{Frame, Lane, Overflow, Source};

use super::{
    agent_news::{Change, News},
    contests::{TakeoverStats, Turn},
    logins::STRANGER,
    notices::notice,
    router::{AgentEntry, Router, SessionEntry},
};
use crate::peers::{Peer, PeerKind};

/// The topic for changes of state.
const STATE_TOPIC: &str = "system.state";
const STATE_ADDRESS: &str = "topic:system.state";

/// The reason for closing a connection whose agent has a newer one.
pub const TAKEN_OVER: &str = "taken over by a newer connection";

/// The reason for closing a connection whose client name a newer one of its session has.
pub const NAME_TAKEN_OVER: &str =
    "another connection has this client name: come back under a new one, from the positions you hold";

/// The outcome for a connection that was to be registered.
#[derive(Debug)]
pub enum Attached {
    /// It is registered.
    Here {
        /// The former connection of the same agent, or of the same session under the same client
        /// name: cut off, and to be closed.
        older: Option<Arc<Peer>>,
        /// A connection that waited for this agent id and came before it: cut off, and to be
        /// closed.
        replaced: Option<Arc<Peer>>,
        /// Connections of the session that do not belong to its login: cut off, and to be closed.
        strangers: Vec<Arc<Peer>>,
    },
    /// It waits for its agent id. It must be attached again when it is called in
    /// ([`Peer::called_in`]).
    Waits {
        /// A connection that waited before it: cut off, and to be closed.
        replaced: Option<Arc<Peer>>,
        /// The agent's connection, if a warning must be logged that several want this agent id.
        warn_of: Option<Arc<Peer>>,
    },
    /// It is not registered, and is cut off: to be closed with this code and reason.
    Refused(CloseCode, &'static str),
}

impl Attached {
    /// Cuts off a connection that must not be registered.
    pub fn refuse(peer: &Peer, code: CloseCode, reason: &'static str) -> Self {
        peer.cut();
        Self::Refused(code, reason)
    }
}

impl Router {
    /// Registers a connection, unless it comes after a newer generation of itself, or does not
    /// belong to its session's present state. An agent's connection may have to wait if its id was
    /// taken over too often recently. `now_ms`: by the broker's clock.
    pub fn attach(&mut self, peer: &Arc<Peer>, description: AgentDescription, now_ms: u64) -> Attached {
        match &peer.kind {
            PeerKind::Agent(agent_id) => self.attach_agent(peer, agent_id, description, now_ms),
            PeerKind::Session(identity) => match self.is_stranger(peer) {
                Some(code) => Attached::refuse(peer, code, STRANGER),
                None if self.namesake(peer).is_some_and(|other| other.id > peer.id) => {
                    Attached::refuse(peer, CloseCode::NAME_TAKEN_OVER, NAME_TAKEN_OVER)
                }
                None => {
                    let older = self.namesake(peer).cloned();
                    self.attach_session(peer);
                    if let Some(older) = &older {
                        self.take_name_over(older, identity.session_id);
                    }
                    Attached::Here { older, replaced: None, strangers: self.cut_strangers(identity.session_id) }
                }
            },
        }
    }

    fn attach_agent(&mut self, peer: &Arc<Peer>, agent_id: &AgentId, description: AgentDescription, now_ms: u64) -> Attached {
        let holder = self.agents.get(agent_id).map(|entry| &entry.peer);
        let waiting = self.contests.waiting_for(agent_id);
        if [holder, waiting].into_iter().flatten().any(|other| other.id > peer.id) {
            return Attached::refuse(peer, CloseCode::TAKEN_OVER, TAKEN_OVER);
        }
        let holder = holder.cloned();
        let replaced = self.contests.replace_waiting(agent_id, peer);
        if let Some(replaced) = &replaced {
            replaced.cut();
            replaced.call_in();
        }
        match &holder {
            None => {
                self.contests.stop_waiting(agent_id, peer);
            }
            Some(holder) => {
                if let Turn::Later { is_news } = self.contests.come(agent_id, peer, now_ms) {
                    return Attached::Waits { replaced, warn_of: is_news.then(|| Arc::clone(holder)) };
                }
            }
        }
        let older = self.register_agent(peer, agent_id, description, now_ms);
        Attached::Here { older, replaced, strangers: Vec::new() }
    }

    fn register_agent(
        &mut self,
        peer: &Arc<Peer>,
        agent_id: &AgentId,
        description: AgentDescription,
        now_ms: u64,
    ) -> Option<Arc<Peer>> {
        let info = AgentInfo {
            agent_id: agent_id.clone(),
            description,
            status: "idle".to_owned(),
            connected_at: timestamp::now_string(),
        };
        self.seen_agents.note(agent_id, peer);
        let older = self.agents.remove(agent_id);
        self.bounded_agents += usize::from(peer.bounds().is_some());
        self.bounded_agents -= usize::from(older.as_ref().is_some_and(|older| older.peer.bounds().is_some()));
        let awaited = older.as_ref().map(|older| Arc::clone(&older.awaited)).unwrap_or_default();
        self.agents.insert(agent_id.clone(), AgentEntry { peer: Arc::clone(peer), info, awaited });
        peer.come_in();
        let older = older.map(|entry| entry.peer);
        if let Some(older) = &older {
            // Messages that the older connection has sent and the router has not processed yet are
            // dropped.
            older.cut();
            self.leave_all_topics(older);
        }
        let change = if older.is_some() { Change::Updated } else { Change::Connected };
        self.on_agent_change(agent_id, change, peer, older.as_ref(), now_ms);
        older
    }

    /// A name has one holder at a time. If two confirmed positions under one name, each would lose
    /// messages of the other.
    fn take_name_over(&mut self, older: &Arc<Peer>, session_id: SessionId) {
        // What it sent and confirmed and the router has not processed yet is dropped.
        older.cut();
        self.leave_all_topics(older);
        if let Some(entry) = self.sessions.get_mut(&session_id) {
            entry.peers.retain(|peer| peer.id != older.id);
        }
    }

    fn attach_session(&mut self, peer: &Arc<Peer>) {
        let PeerKind::Session(identity) = &peer.kind else { return };
        if let Some(entry) = self.sessions.get_mut(&identity.session_id) {
            entry.peers.push(Arc::clone(peer));
            if let Some(login) = peer.login() {
                self.on_session_login(identity.session_id, &login);
            }
            return;
        }
        let login = peer.login();
        let info = SessionInfo {
            session_id: identity.session_id,
            user_id: peer.user_id().cloned(),
            wallet_address: login.as_ref().and_then(|login| login.wallet.clone()),
            agent: identity.agent.clone(),
            authenticated: login.is_some(),
            connected_at: timestamp::now_string(),
            client: ClientInfo { ip: identity.ip.clone(), user_agent: identity.user_agent.clone() },
        };
        if let Some(user_id) = peer.user_id() {
            self.users.entry(user_id.clone()).or_default().insert(identity.session_id);
        }
        let message = SystemMessage::SessionConnected(Box::new(info.clone()));
        self.tell_agents_of_session(peer.source(), &info, &message);
        let entry = SessionEntry { peers: vec![Arc::clone(peer)], info, awaited: Arc::default() };
        self.sessions.insert(identity.session_id, entry);
    }

    /// Unregisters a connection. If it was taken over, this only removes its own subscriptions.
    pub fn detach(&mut self, peer: &Arc<Peer>, reason: &str, now_ms: u64) {
        self.leave_all_topics(peer);
        match &peer.kind {
            PeerKind::Agent(agent_id) => {
                if self.contests.stop_waiting(agent_id, peer) {
                    peer.cut();
                    peer.call_in();
                    return;
                }
                if self.agents.get(agent_id).is_none_or(|entry| entry.peer.id != peer.id) {
                    return;
                }
                let Some(entry) = self.agents.remove(agent_id) else { return };
                self.bounded_agents -= usize::from(entry.peer.bounds().is_some());
                self.fail_requests_to(peer, &entry.awaited);
                let change = Change::Disconnected { reason: reason.to_owned() };
                self.on_agent_change(agent_id, change, peer, Some(peer), now_ms);
                self.contests.on_free(agent_id);
            }
            PeerKind::Session(identity) => {
                let Some(entry) = self.sessions.get_mut(&identity.session_id) else { return };
                entry.peers.retain(|other| other.id != peer.id);
                if !entry.peers.is_empty() {
                    return;
                }
                let Some(entry) = self.sessions.remove(&identity.session_id) else { return };
                self.fail_requests_to(peer, &entry.awaited);
                if let Some(user_id) = &entry.info.user_id {
                    self.forget_session_of_user(user_id, identity.session_id);
                }
                let message = SystemMessage::SessionDisconnected {
                    session_id: identity.session_id,
                    user_id: entry.info.user_id.clone(),
                    reason: reason.to_owned(),
                };
                self.tell_agents_of_session(peer.source(), &entry.info, &message);
            }
        }
    }

    fn forget_session_of_user(&mut self, user_id: &UserId, session_id: SessionId) {
        if let Some(sessions) = self.users.get_mut(user_id) {
            sessions.remove(&session_id);
            if sessions.is_empty() {
                self.users.remove(user_id);
            }
        }
    }

    /// Tells everyone who waits for an answer of a peer that has gone.
    fn fail_requests_to(&self, gone: &Peer, awaited: &AtomicUsize) {
        self.callers.fail(gone.address());
        if awaited.load(Relaxed) == 0 {
            return;
        }
        for peer in self.peers().filter(|peer| peer.has_requests()) {
            for (id, responder) in peer.with_requests(|requests| requests.fail(gone.address())) {
                let error = ClientError::new(ErrorCode::PeerGone).about(responder);
                peer.answer(&SystemMessage::Error(error), Some(&id));
            }
        }
    }

    /// A later registration of the same connection: replaces the agent's description.
    pub fn describe(&mut self, peer: &Peer, description: AgentDescription, now_ms: u64) -> Option<AgentInfo> {
        self.change_agent(peer, |info| info.description = description, Change::Updated, now_ms)
    }

    /// The agent reports its status.
    pub fn set_status(&mut self, peer: &Peer, status: &str, now_ms: u64) {
        self.change_agent(peer, |info| status.clone_into(&mut info.status), Change::Status, now_ms);
    }

    fn change_agent(&mut self, peer: &Peer, edit: impl FnOnce(&mut AgentInfo), change: Change, now_ms: u64) -> Option<AgentInfo> {
        let PeerKind::Agent(agent_id) = &peer.kind else { return None };
        let entry = self.agents.get_mut(agent_id).filter(|entry| entry.peer.id == peer.id)?;
        edit(&mut entry.info);
        let (info, peer) = (entry.info.clone(), Arc::clone(&entry.peer));
        self.on_agent_change(agent_id, change, &peer, Some(&peer), now_ms);
        Some(info)
    }

    /// An agent as others see it.
    pub fn agent(&self, agent_id: &AgentId) -> Option<&AgentInfo> {
        self.agents.get(agent_id).map(|entry| &entry.info)
    }

    /// Publishes a change of state to the subscribers of `topic:system.state`.
    pub fn publish_state(&self, message: &SystemMessage) {
        let Some(topic) = self.topics.get(STATE_TOPIC) else { return };
        let frame = Frame::text(&message.encode(Speaker::Bridge, Some(STATE_ADDRESS), None));
        for peer in topic.subscribers() {
            peer.link.send(Lane::Normal, frame.clone());
        }
    }

    /// Whether [`Router::tick`] has anything to do, now or later.
    pub fn is_idle(&self) -> bool {
        self.contests.is_idle() && self.news.is_idle() && self.presence_news.is_idle()
    }

    /// Sends the notices that are due, and calls in connections whose turn has come. To be called
    /// several times a second.
    pub fn tick(&mut self, now_ms: u64) {
        self.contests.tick(now_ms);
        for (agent_id, news) in self.news.tick(now_ms) {
            self.tell_of_agent(&agent_id, &news);
        }
        for (topic, about) in self.presence_news.tick(now_ms) {
            self.tell_presence(&topic, &about);
        }
    }

    /// Connections of agents that wait for their turn.
    pub fn waiting_agents(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.contests.waiting()
    }

    /// How often agents were taken over, and which connections wait.
    pub fn takeovers(&self, now_ms: u64) -> TakeoverStats {
        self.contests.stats(now_ms)
    }

    fn on_agent_change(&mut self, id: &AgentId, change: Change, about: &Arc<Peer>, before: Option<&Arc<Peer>>, now_ms: u64) {
        if let Some(news) = self.news.on_change(id, change, about, before, now_ms) {
            self.tell_of_agent(id, &news);
        }
    }

    fn tell_of_agent(&self, id: &AgentId, News { change, about, told_of }: &News) {
        let gone = |reason: &str| SystemMessage::AgentDisconnected { agent_id: id.clone(), reason: reason.to_owned() };
        let info = || self.agent(id).cloned().map(Box::new);
        let message = match change {
            Change::Connected => info().map(|agent| SystemMessage::AgentConnected { agent }),
            Change::Updated => info().map(|agent| SystemMessage::AgentUpdated { agent }),
            Change::Status => {
                info().map(|agent| SystemMessage::AgentStatus { agent_id: id.clone(), status: agent.status.clone(), agent })
            }
            Change::Disconnected { reason } => Some(gone(reason)),
        };
        let Some(message) = message else { return };
        self.publish_state(&message);
        let frame = notice(&message);
        // Peers that may know of a newer connection with another key may not know of the former
        // one.
        let known = told_of.as_ref().filter(|known| known.bounds() != about.bounds());
        let out_of_sight = known.map(|known| (known, notice(&gone("taken over by an agent out of reach"))));
        for peer in self.peers() {
            let is_itself = matches!(&peer.kind, PeerKind::Agent(agent_id) if agent_id == id);
            if is_itself {
                continue;
            }
            let frame = match &out_of_sight {
                _ if self.sees_agent(peer, id, about.bounds()) => &frame,
                Some((known, gone)) if self.sees_agent(peer, id, known.bounds()) => gone,
                _ => continue,
            };
            peer.link.send_from(about.source(), Lane::Normal, frame.clone(), Overflow::DropNewest);
        }
    }

    /// Agents hear of the sessions that named them and of those that named none.
    pub(super) fn tell_agents_of_session(&self, source: Source, info: &SessionInfo, message: &SystemMessage) {
        self.publish_state(message);
        if self.agents.is_empty() {
            return;
        }
        let frame = notice(message);
        let named = info.agent.as_ref();
        for entry in self.agents.values().filter(|entry| named.is_none_or(|named| entry.info.agent_id == *named)) {
            if self.sees_session(&entry.peer, info.session_id, info.user_id.as_ref()) {
                entry.peer.link.send_from(source, Lane::Normal, frame.clone(), Overflow::DropNewest);
            }
        }
    }
}
