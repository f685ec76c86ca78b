//! The ClientSessionActor: one per client socket at the broker.

use actix::{Actor, Context};
use common::{
    assertion::ClientIdentity,
    message::{AgentDescription, AgentMessage, ClientMessage},
};
use transport::{Socket, Step, Upgraded};

use super::{
    connection::{Connection, ConnectionActor, Named},
    state::Side,
};
use crate::{broker::Admission, routing::PeerKind};

/// The actor. Its session is registered from the start: the edge's assertion said who it is.
pub struct ClientSessionActor {
    connection: Connection,
}

impl ClientSessionActor {
    /// Takes over the socket of a client that the edge vouches for.
    pub fn take_over<S: Socket>(upgraded: Upgraded<S>, admission: Admission, identity: ClientIdentity) {
        let named =
            Named { agent_id: identity.agent.clone(), session_id: Some(identity.session_id), socket_id: identity.socket_id };
        Connection::start(upgraded, admission, Side::Session, named, |mut connection, _| {
            let reading = identity.reading.clone();
            connection.register(PeerKind::Session(Box::new(identity)), reading, AgentDescription::default(), None);
            Self { connection }
        });
    }
}

impl Actor for ClientSessionActor {
    type Context = Context<Self>;
}

impl ConnectionActor for ClientSessionActor {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn on_text(&mut self, text: &str, _: &mut Context<Self>) -> Step {
        let Some(envelope) = self.connection.read(text) else { return Step::Continue };
        let message = match ClientMessage::of(&envelope) {
            Ok(ClientMessage::Common(request)) => AgentMessage::Common(request),
            Ok(ClientMessage::Route) => AgentMessage::Route,
            Ok(ClientMessage::Identify(assertion)) => return self.connection.identify(&assertion, envelope.id.as_deref()),
            Ok(ClientMessage::Refresh(token)) => {
                self.connection.pass_to_edge(token, envelope.id.as_deref());
                return Step::Continue;
            }
            Err(error) => {
                self.connection.refuse(error, envelope.id.as_deref());
                return Step::Continue;
            }
        };
        self.connection.handle(&envelope, message)
    }
}
