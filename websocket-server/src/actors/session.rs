//! The ClientSessionActor: one per client socket at the broker.

use std::sync::Arc;

use actix::{Actor, Context};
use common::{
    assertion::ClientIdentity,
    envelope::Envelope,
    error::ClientError,
    message::{AgentDescription, ClientMessage},
};
use transport::{Socket, Step, Upgraded};

use super::connection::{Connection, ConnectionActor, Named};
use crate::{admissions::Admission, broker::Broker, peers::PeerKind, services, side::Side};

/// The actor. Its session is registered from the start, because the edge's assertion identifies it.
pub struct ClientSessionActor {
    connection: Connection,
}

impl ClientSessionActor {
    /// Takes over the socket of a client that the edge vouches for.
    pub fn take_over<S: Socket>(upgraded: Upgraded<S>, broker: &Arc<Broker>, admission: Admission, identity: ClientIdentity) {
        let ClientIdentity { session_id, socket_id, dialect, .. } = identity;
        let named = Named { agent_id: identity.agent.clone(), session_id: Some(session_id), socket_id, dialect };
        Connection::start(upgraded, broker, admission, Side::Session, named, |mut connection, _| {
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

    fn on_envelope(&mut self, envelope: &Envelope<'_>) -> Result<Step, ClientError> {
        let connection = &mut self.connection;
        if let Some(ask) = services::read(Side::Session, envelope)? {
            return Ok(connection.ask(envelope, ask));
        }
        match ClientMessage::of(envelope)? {
            ClientMessage::Other => return Ok(connection.route(envelope)),
            ClientMessage::Identify(assertion) => return Ok(connection.identify(&assertion, envelope.id.as_deref())),
            ClientMessage::Refresh(token) => connection.pass_to_edge(token, envelope.id.as_deref()),
            ClientMessage::Ping => connection.pong(envelope),
            ClientMessage::Pong => {}
        }
        Ok(Step::Continue)
    }
}
