//! A session that logs in while it is connected, handled by its router.

use std::sync::Arc;

use actix::Context;
use common::{assertion::LoggedIn, close::CloseCode};
use store::ChannelName;
use transport::CloseMode;

use super::actor::RouterActor;
use crate::{audit::Event, peers::Peer, routing::STRANGER};

/// The session of this connection has logged in, as its edge asserts.
#[derive(Debug)]
pub struct Identify {
    /// The connection that carried the assertion.
    pub peer: Arc<Peer>,
    /// The session's new identity.
    pub logged_in: LoggedIn,
    /// The id of the frame.
    pub id: Option<String>,
}

/// Closes connections that were cut off.
pub(super) fn close_strangers(strangers: Vec<Arc<Peer>>) {
    for stranger in strangers {
        tracing::info!(session = stranger.address(), connection = %stranger.id, "closed after a login: the login did not name this socket");
        stranger.link.close(CloseCode::CREDENTIALS_EXPIRED, STRANGER, CloseMode::Discard);
    }
}

impl RouterActor {
    /// Changes the session, opens the inbox of its user, and closes the connections that do not
    /// belong to the login.
    pub(super) fn on_identify(&mut self, Identify { peer, logged_in, id }: Identify, ctx: &mut Context<Self>) {
        let channel = ChannelName::user(&logged_in.login.user);
        let channels = &self.broker.channels;
        let outcome = {
            let mut router = self.broker.router.write();
            router.log_in(&peer, &logged_in).map(|outcome| {
                // Under the lock, so that nothing is delivered to them before what is pending.
                let waits = channels.may_have_pending(&channel);
                let behind = outcome.logged_in.iter().filter(|_| waits).map(|peer| channels.fall_behind(&channel, peer, 0));
                let behind: Vec<_> = behind.collect();
                (outcome, behind)
            })
        };
        match outcome {
            Ok((outcome, behind)) => {
                if !outcome.logged_in.is_empty() {
                    self.broker.audit.note_peer(Event::Authentication, &peer, &format!("logged in as {}", logged_in.login.user));
                }
                for way in behind {
                    self.open_inbox(way, ctx);
                }
                close_strangers(outcome.strangers);
            }
            Err(code) => self.refuse(&peer, code.into(), id.as_deref()),
        }
    }
}
