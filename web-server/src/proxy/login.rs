//! What happens to a socket when its session logs in, and when its client presents later
//! credentials.

use std::{sync::Arc, time::SystemTime};

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use common::{
    assertion::{LoggedIn, Login},
    backplane::ToEdge,
    close::CloseCode,
    error::{ClientError, ErrorCode},
    message::SystemMessage,
    secret::Secret,
    timestamp,
};
use identity::policy::Ability;
use transport::Lane;

use super::actor::{Face, ProxyActor};
use crate::sessions::{Order, Session, Source};

impl<F: Face> ProxyActor<F> {
    /// The session has logged in, and the login named this socket.
    ///
    /// If the later credentials permit less, what the user began under the earlier ones must end:
    /// the socket is closed, and the client reconnects with the later ones.
    pub(super) fn on_login(&mut self, logged_in: Arc<LoggedIn>) {
        let before = self.identity.login.replace(logged_in.login.clone());
        let loses = |before: &Login| {
            let of = |ability: &Ability| ability.is_in(&before.scopes) && !ability.is_in(&logged_in.login.scopes);
            Ability::ALL.iter().any(of)
        };
        if before.as_ref().is_some_and(loses) {
            let reason = "the later credentials let the session do less: come back with them";
            self.ticket.order(Order::Close { code: CloseCode::CREDENTIALS_EXPIRED, reason });
        }
        self.logged_in = Some(logged_in);
        self.announce_login();
    }

    /// Tells the broker that the session has logged in, as soon as there is a connection and no
    /// message is incomplete. A broker that is dialled later gets the login with its assertion.
    pub(super) fn announce_login(&mut self) {
        if self.uplink.is_inside() || !self.is_linked() {
            return;
        }
        let Some(logged_in) = self.logged_in.take() else { return };
        if let Some(frame) = self.environment.identify(&logged_in) {
            self.send_up(Lane::Normal, frame);
        }
    }

    /// Tells the client when its credentials expire.
    pub(super) fn tell_expiry(&mut self, at: SystemTime) {
        self.face.tell(&SystemMessage::Expiring { expires_at: timestamp::text(at) }, None);
    }

    /// The broker asks this edge for something.
    pub(super) fn on_broker_ask(&mut self, ask: ToEdge, ctx: &mut Context<Self>) {
        match ask {
            ToEdge::Refresh { id, token } => self.on_refresh(id, token, ctx),
        }
    }

    /// The client has presented later credentials. They are checked one at a time, because an
    /// issuer may have to be asked for its keys.
    fn on_refresh(&mut self, id: Option<String>, token: Secret, ctx: &mut Context<Self>) {
        if self.is_refreshing {
            return self.face.tell(&SystemMessage::Error(ErrorCode::TooManyRequests.into()), id.as_deref());
        }
        self.is_refreshing = true;
        let (environment, address) = (Arc::clone(&self.environment), self.address);
        let session = Some(self.identity.session_id);
        let judging = async move {
            // As over HTTP: the address pays for the check, and a token that nobody signed costs it
            // a wait.
            let pay = || environment.throttle.pay_for_check(session, address);
            let judged = environment.credentials.recognise(token.reveal(), pay).await;
            judged.map_err(|code| environment.throttle.on_refused_token(address, code).code())
        };
        ctx.spawn(judging.into_actor(self).map(move |judged, actor, _| {
            actor.is_refreshing = false;
            let answer = match judged.and_then(|session| actor.prolong(&session)) {
                Ok(expires_at) => SystemMessage::Refreshed { expires_at: timestamp::text(expires_at) },
                Err(code) => SystemMessage::Error(ClientError::new(code)),
            };
            actor.face.tell(&answer, id.as_deref());
        }));
    }

    /// Extends the life of the socket to that of these credentials, if they belong to its session,
    /// or to its user by the same issuer. If they carry other rights than before, the broker is
    /// told.
    fn prolong(&mut self, session: &Session) -> Result<SystemTime, ErrorCode> {
        let (mine, theirs) = (self.identity.login.as_ref(), session.login());
        let is_same_user = mine.map(|login| &login.user) == theirs.map(|login| &login.user);
        let is_same_session = session.id == self.identity.session_id;
        if !is_same_user || !is_same_session && (session.source == Source::Edge || mine.is_none()) {
            return Err(ErrorCode::Forbidden);
        }
        let changed = theirs.filter(|theirs| mine != Some(theirs)).cloned();
        self.ticket.prolong(session.expires_at);
        if is_same_session {
            session.vouch(&mut self.identity);
        }
        if let Some(login) = changed {
            let keep = vec![self.ticket.socket_id()];
            self.on_login(Arc::new(LoggedIn { session_id: self.identity.session_id, login, keep }));
        }
        Ok(session.expires_at)
    }
}
