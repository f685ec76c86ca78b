//! Doors to a site's broker, for peers that reconnect by themselves.

use std::{net::SocketAddr, time::Duration};

use common::{
    assertion::ClientIdentity,
    id::{AgentId, SessionId},
    secret::Secret,
};
use gateway::doors::{AgentEntrance, AgentOptions, Backoff, BrokerAddress, Door, Inbox, SessionEntrance, SessionOptions, Tuning};

use super::{AGENT_KEY, Site};

/// The secret that edge and broker of a site share, for tests that act as an edge.
pub const BRIDGE_SECRET: &str = "a-bridge-secret-of-the-suite-of-32-bytes";
/// How long one dial may take.
const DIAL: Duration = Duration::from_secs(5);

/// Short, because tests wait for doors to reconnect.
pub fn quick() -> Tuning {
    let backoff = Backoff { first: Duration::from_millis(20), longest: Duration::from_millis(200) };
    Tuning { backoff, call_limit: super::LIMIT, ..Tuning::default() }
}

/// The door of agents at this broker.
pub fn door_at(broker: SocketAddr, agent_id: &str, tuning: Tuning) -> (Door, Inbox) {
    Door::agent(AgentOptions {
        entrance: AgentEntrance::Socket(address_of(broker)),
        agent: AgentId::new(agent_id).expect("a name"),
        key: Secret::new(AGENT_KEY),
        registration: None,
        tuning,
    })
}

fn address_of(broker: SocketAddr) -> BrokerAddress {
    BrokerAddress::new(&format!("ws://{broker}"), None, DIAL)
}

impl Site {
    /// The door of agents, for this one.
    pub fn agent_door(&self, agent_id: &str, tuning: Tuning) -> (Door, Inbox) {
        door_at(self.broker, agent_id, tuning)
    }

    /// The door of sessions, for a session that this test asserts. The site uses [`BRIDGE_SECRET`].
    pub fn session_door(&self, session: SessionId, tuning: Tuning) -> (Door, Inbox) {
        Door::session(SessionOptions {
            entrance: SessionEntrance::Socket { address: address_of(self.broker), secret: Secret::new(BRIDGE_SECRET) },
            identity: ClientIdentity::anonymous(session),
            tuning,
        })
    }
}
