//! A request to a bridge service, and what the service may use to answer it.

use std::{fmt, future::Future, sync::Arc};

use actix::Context;
use common::{error::ClientError, message::SystemMessage};

use super::actor::RouterActor;
use crate::peers::Peer;

/// What a frame asks of the bridge: its payload, read and checked.
pub trait Ask: fmt::Debug + Send {
    /// Executes the request, in the router's thread. Must not block; work that waits goes to
    /// [`Call::later`].
    ///
    /// `Ok(None)`: there is no answer, or it comes later.
    ///
    /// # Errors
    /// The error for the sender.
    fn serve(self: Box<Self>, call: Call<'_>) -> Result<Option<SystemMessage>, ClientError>;
}

/// One frame that is being served.
pub struct Call<'a> {
    /// The router of this thread.
    pub router: &'a mut RouterActor,
    /// The sender of the frame.
    pub peer: &'a Arc<Peer>,
    /// The frame's id, to which the answer is correlated.
    pub id: Option<String>,
    /// The router's actor context.
    pub ctx: &'a mut Context<RouterActor>,
}

impl Call<'_> {
    /// Answers when `outcome` is ready. It runs in this thread, beside the router.
    pub fn later(self, outcome: impl Future<Output = Result<Option<SystemMessage>, ClientError>> + 'static) {
        let (peer, id, refuse) = (Arc::clone(self.peer), self.id, self.router.refuser());
        actix_rt::spawn(async move { tell_outcome(outcome.await, &peer, id.as_deref(), refuse) });
    }
}

/// Sends the answer, if there is one, or the refusal.
pub(super) fn tell_outcome(
    outcome: Result<Option<SystemMessage>, ClientError>,
    peer: &Peer,
    id: Option<&str>,
    refuse: impl FnOnce(&Peer, ClientError, Option<&str>),
) {
    match outcome {
        Ok(Some(answer)) => drop(peer.answer(&answer, id)),
        Ok(None) => {}
        Err(error) => refuse(peer, error, id),
    }
}
