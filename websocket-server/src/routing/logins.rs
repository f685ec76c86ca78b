//! Sessions that log in while they are connected. Their identity changes in place.
//!
//! A session has at most one user in its life. A connection belongs to the login if the edge says
//! so. Every other connection of the session that was opened before is returned to be closed,
//! because its holder is not known to be the one who logged in.

use std::sync::Arc;

use common::{
    assertion::{LoggedIn, Login},
    close::CloseCode,
    error::ErrorCode,
    id::SessionId,
    message::{SessionInfo, SystemMessage},
};
use transport::{Lane, Overflow, Source};

use super::{Router, notices::notice};
use crate::peers::{LoginNews, Peer, PeerKind};

/// The reason for closing a connection that was opened before the login and does not belong to it.
pub const STRANGER: &str = "the session has logged in: come back with its new credentials";

/// The effect of a login on the connections of its session.
#[derive(Debug, Default)]
pub struct LoginOutcome {
    /// These now have a user.
    pub logged_in: Vec<Arc<Peer>>,
    /// These must be closed.
    pub strangers: Vec<Arc<Peer>>,
}

impl Router {
    /// The code for closing a connection that does not belong to its session's present state:
    /// without a login, or with another user's.
    pub(crate) fn is_stranger(&self, peer: &Peer) -> Option<CloseCode> {
        let PeerKind::Session(identity) = &peer.kind else { return None };
        let user = self.sessions.get(&identity.session_id)?.info.user_id.as_ref()?;
        match peer.user_id() {
            None => Some(CloseCode::CREDENTIALS_EXPIRED),
            Some(other) if other != user => Some(CloseCode::SESSION_ENDED),
            Some(_) => None,
        }
    }

    /// The session of `peer` has logged in, or its user has later credentials.
    ///
    /// # Errors
    /// `forbidden` for another session's login, `already_logged_in` for another user's.
    pub fn log_in(&mut self, peer: &Arc<Peer>, logged_in: &LoggedIn) -> Result<LoginOutcome, ErrorCode> {
        let LoggedIn { session_id, login, keep } = logged_in;
        if !matches!(&peer.kind, PeerKind::Session(identity) if identity.session_id == *session_id) {
            return Err(ErrorCode::Forbidden);
        }
        let Some(entry) = self.sessions.get(session_id) else { return Ok(LoginOutcome::default()) };
        if entry.info.user_id.as_ref().is_some_and(|user| *user != login.user) {
            return Err(ErrorCode::AlreadyLoggedIn);
        }
        if !entry.peers.iter().any(|other| other.id == peer.id) {
            return Ok(LoginOutcome::default());
        }
        let is_kept = |other: &Peer| match &other.kind {
            PeerKind::Session(identity) => other.id == peer.id || identity.socket_id.is_some_and(|id| keep.contains(&id)),
            PeerKind::Agent(_) => false,
        };
        let news = |peer: &Arc<Peer>| (Arc::clone(peer), peer.log_in(login));
        let news: Vec<_> = entry.peers.iter().filter(|peer| is_kept(peer)).map(news).collect();
        let of_kind = |kind| news.iter().filter(move |(_, news)| *news == kind).map(|(peer, _)| Arc::clone(peer));
        self.on_session_login(*session_id, login);
        if of_kind(LoginNews::Credentials).next().is_some() {
            self.on_session_credentials(*session_id, login);
        }
        let outcome = LoginOutcome { logged_in: of_kind(LoginNews::User).collect(), strangers: self.cut_strangers(*session_id) };
        if let Some(entry) = self.sessions.get(session_id) {
            let frame = notice(&SystemMessage::SessionIdentified(Box::new(entry.info.clone())));
            for peer in of_kind(LoginNews::User).chain(of_kind(LoginNews::Credentials)) {
                peer.link.send(Lane::Normal, frame.clone());
            }
        }
        Ok(outcome)
    }

    /// Cuts off the connections of a logged-in session that do not belong to its login: nothing
    /// goes to them or comes from them any more. Returns them, to be closed.
    pub(super) fn cut_strangers(&mut self, session_id: SessionId) -> Vec<Arc<Peer>> {
        let Some(entry) = self.sessions.get_mut(&session_id).filter(|entry| entry.info.user_id.is_some()) else {
            return Vec::new();
        };
        let strangers: Vec<_> = entry.peers.extract_if(.., |peer| peer.user_id().is_none()).collect();
        for stranger in &strangers {
            stranger.cut();
            self.leave_all_topics(stranger);
        }
        strangers
    }

    /// An anonymous session now has a user.
    pub(super) fn on_session_login(&mut self, session_id: SessionId, login: &Login) {
        let Some(entry) = self.sessions.get_mut(&session_id).filter(|entry| entry.info.user_id.is_none()) else { return };
        entry.info.user_id = Some(login.user.clone());
        entry.info.wallet_address.clone_from(&login.wallet);
        entry.info.authenticated = true;
        let (info, source) = (entry.info.clone(), entry.source());
        self.users.entry(login.user.clone()).or_default().insert(session_id);
        self.tell_agents_of_login(source, &info);
    }

    /// The user of a session has later credentials. Agents may have to be told.
    fn on_session_credentials(&mut self, session_id: SessionId, login: &Login) {
        let Some(entry) = self.sessions.get_mut(&session_id).filter(|entry| entry.info.wallet_address != login.wallet) else {
            return;
        };
        entry.info.wallet_address.clone_from(&login.wallet);
        let (info, source) = (entry.info.clone(), entry.source());
        self.tell_agents_of_session(source, &info, &SystemMessage::SessionIdentified(Box::new(info.clone())));
    }

    /// What an agent hears depends on whether it may hear of anonymous sessions, of this user, or
    /// of both.
    fn tell_agents_of_login(&self, source: Source, info: &SessionInfo) {
        self.publish_state(&SystemMessage::SessionIdentified(Box::new(info.clone())));
        let identified = notice(&SystemMessage::SessionIdentified(Box::new(info.clone())));
        let connected = notice(&SystemMessage::SessionConnected(Box::new(info.clone())));
        let out_of_sight = notice(&SystemMessage::SessionDisconnected {
            session_id: info.session_id,
            user_id: None,
            reason: "logged in as a user out of reach".to_owned(),
        });
        let named = info.agent.as_ref();
        for entry in self.agents.values().filter(|entry| named.is_none_or(|named| entry.info.agent_id == *named)) {
            let sees = |user| self.sees_session(&entry.peer, info.session_id, user);
            let frame = match (sees(None), sees(info.user_id.as_ref())) {
                (true, true) => &identified,
                (false, true) => &connected,
                (true, false) => &out_of_sight,
                (false, false) => continue,
            };
            entry.peer.link.send_from(source, Lane::Normal, frame.clone(), Overflow::DropNewest);
        }
    }
}
