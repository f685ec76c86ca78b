//! The AgentActor: one per agent socket.
//!
//! ```text
//!   connected without an id ──first frame, or one second──▶ named: registered
//!   connected with ?agent_id= ─────────────────────────────▶
//! ```

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context};
use common::{
    assertion::Reading,
    envelope::Envelope,
    error::ClientError,
    id::AgentId,
    message::{AgentDescription, AgentMessage},
};
use transport::{CloseMode, Socket, Step, Upgraded};

use super::connection::{Connection, ConnectionActor, Named};
use crate::{
    admissions::Admission,
    broker::Broker,
    peers::{Pass, PeerKind},
    services,
    shard::RegisterFrame,
    side::Side,
};

/// How long an agent that named no id may take to register before it is announced under its
/// assigned id.
const REGISTRATION_GRACE: Duration = Duration::from_secs(1);

/// The source of the agent's id. An unnamed connection becomes named once, and never unnamed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentHandshake {
    /// The id is known.
    Named(AgentId),
    /// The first frame may still name another id than the assigned one.
    Unnamed {
        /// Its id otherwise.
        assigned: AgentId,
    },
}

impl AgentHandshake {
    /// The handshake of a connection that asked for `wanted` in its query.
    pub fn new(wanted: Option<AgentId>) -> Self {
        wanted.map_or_else(|| Self::Unnamed { assigned: AgentId::assigned() }, Self::Named)
    }

    /// The id, as far as it is known.
    pub fn agent_id(&self) -> &AgentId {
        match self {
            Self::Named(id) | Self::Unnamed { assigned: id } => id,
        }
    }

    /// Chooses the id by the first frame, if that is a registration.
    ///
    /// # Errors
    /// The id in the registration is no agent id. Then nothing is chosen.
    pub fn choose_id(&mut self, registration: Option<&AgentDescription>) -> Result<AgentId, ClientError> {
        let wanted = match registration {
            Some(description) => description.wanted_id()?,
            None => None,
        };
        let chosen = wanted.unwrap_or_else(|| self.agent_id().clone());
        *self = Self::Named(chosen.clone());
        Ok(chosen)
    }
}

/// The actor.
pub struct AgentActor {
    connection: Connection,
    handshake: AgentHandshake,
    reading: Reading,
}

impl AgentActor {
    /// Takes over the socket of an agent with a valid key, which is also valid for the id that it
    /// names, if any.
    pub fn take_over<S: Socket>(
        upgraded: Upgraded<S>,
        broker: &Arc<Broker>,
        admission: Admission,
        pass: Pass,
        handshake: AgentHandshake,
        reading: Reading,
    ) {
        let named = Named { agent_id: Some(handshake.agent_id().clone()), ..Named::default() };
        Connection::start(upgraded, broker, admission, Side::Agent, named, |mut connection, ctx: &mut Context<Self>| {
            connection.pass = Some(pass);
            match &handshake {
                AgentHandshake::Named(id) => {
                    connection.register(PeerKind::Agent(id.clone()), reading.clone(), AgentDescription::default(), None);
                }
                AgentHandshake::Unnamed { .. } => {
                    ctx.run_later(REGISTRATION_GRACE, |actor, _| actor.register_at_last());
                }
            }
            Self { connection, handshake, reading }
        });
    }

    /// Chooses the id and registers, unless that was done.
    fn register(&mut self, description: Option<AgentDescription>, id: Option<&str>) -> Result<(), ClientError> {
        if matches!(self.handshake, AgentHandshake::Named(_)) {
            return Ok(());
        }
        let mut handshake = self.handshake.clone();
        let agent_id = handshake.choose_id(description.as_ref())?;
        if let Some(pass) = &self.connection.pass {
            pass.check_id(&agent_id)?;
        }
        self.handshake = handshake;
        let asked_by = description.is_some().then(|| RegisterFrame { id: id.map(str::to_owned) });
        self.connection.register(PeerKind::Agent(agent_id), self.reading.clone(), description.unwrap_or_default(), asked_by);
        Ok(())
    }

    /// Registers under the assigned id. Closes the connection if its key is not valid for that.
    fn register_at_last(&mut self) {
        if let Err(error) = self.register(None, None) {
            self.connection.refuse(error, None);
            let (code, reason) = Pass::UNNAMED;
            self.connection.link.close(code, reason, CloseMode::Flush);
        }
    }
}

impl Actor for AgentActor {
    type Context = Context<Self>;
}

impl ConnectionActor for AgentActor {
    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    fn on_envelope(&mut self, envelope: &Envelope<'_>) -> Result<Step, ClientError> {
        if matches!(self.handshake, AgentHandshake::Unnamed { .. })
            && let Some(description) = services::registration(envelope)?
        {
            self.register(Some(description), envelope.id.as_deref())?;
            return Ok(Step::Continue);
        }
        if let Some(ask) = services::read(Side::Agent, envelope)? {
            self.register(None, None)?;
            return Ok(self.connection.ask(envelope, ask));
        }
        let message = AgentMessage::of(envelope)?;
        self.register(None, None)?;
        match message {
            AgentMessage::Other => return Ok(self.connection.route(envelope)),
            AgentMessage::Ping => self.connection.pong(envelope),
            AgentMessage::Pong => {}
        }
        Ok(Step::Continue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(agent_id: &str) -> AgentDescription {
        AgentDescription { agent_id: Some(agent_id.to_owned()), ..AgentDescription::default() }
    }

    #[test]
    fn the_first_registration_names_an_unnamed_agent() {
        let mut handshake = AgentHandshake::new(None);
        assert_eq!(handshake.choose_id(Some(&description("planner"))).expect("valid").as_str(), "planner");
        assert_eq!(handshake.agent_id().as_str(), "planner");
    }

    #[test]
    fn without_a_registration_the_assigned_id_stays() {
        let mut handshake = AgentHandshake::new(None);
        let assigned = handshake.agent_id().clone();
        assert_eq!(handshake.choose_id(None).expect("valid"), assigned);
        assert_eq!(handshake, AgentHandshake::Named(assigned));
    }

    #[test]
    fn a_bad_id_chooses_nothing() {
        let mut handshake = AgentHandshake::new(None);
        assert!(handshake.choose_id(Some(&description("a b"))).is_err());
        assert!(matches!(handshake, AgentHandshake::Unnamed { .. }));
    }
}
