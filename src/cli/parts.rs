//! The broker and the edge of this process: started in order, drained in order.

use anyhow::Result;
use common::config::{Role, Settings};
use web_server::EdgeHandle;
use websocket_server::BrokerHandle;

/// What runs.
pub struct Parts {
    broker: Option<BrokerHandle>,
    edge: Option<EdgeHandle>,
}

impl Parts {
    /// Starts what the role asks for. The addresses in `settings` become the ones that were bound.
    pub fn start(settings: &mut Settings, role: Role) -> Result<Self> {
        let mut share = settings.clone();
        if role == Role::Daemon {
            // They are drained one after the other.
            share.drain.timeout /= 2;
        }
        let mut parts = Self { broker: None, edge: None };
        if matches!(role, Role::Daemon | Role::Broker) {
            let broker = websocket_server::start(&share)?;
            settings.broker.addr = broker.addr();
            share.broker.addr = broker.addr();
            parts.broker = Some(broker);
        }
        if matches!(role, Role::Daemon | Role::Edge) {
            let edge = web_server::start(&share)?;
            settings.web.addr = edge.addr();
            parts.edge = Some(edge);
        }
        Ok(parts)
    }

    /// Resolves when a part has died.
    pub async fn failed(&self) {
        match &self.broker {
            Some(broker) => broker.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Drains everything: the edge first, so that browsers hear of the restart and not of a broker that went away.
    pub async fn drain(self) {
        if let Some(edge) = self.edge {
            edge.drain().await;
        }
        if let Some(broker) = self.broker {
            broker.drain().await;
        }
    }
}
