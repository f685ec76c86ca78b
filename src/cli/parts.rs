//! The broker and the edge of this process: started in order, drained in order.

use std::sync::Arc;

use anyhow::Result;
use common::config::{Role, Settings};
use transport::Socket;
use web_server::{EdgeHandle, SessionPipe};
use websocket_server::BrokerHandle;

fn connect_to(broker: &BrokerHandle) -> SessionPipe {
    let local = broker.local();
    Arc::new(move |identity| {
        let socket = local.connect(identity)?;
        Ok(Box::new(socket) as Box<dyn Socket>)
    })
}

/// What runs.
pub struct Parts {
    broker: Option<BrokerHandle>,
    edge: Option<EdgeHandle>,
}

impl Parts {
    /// Starts what the role asks for. The addresses in `settings` become the ones that were bound.
    pub async fn start(settings: &mut Settings, role: Role) -> Result<Self> {
        let mut share = settings.clone();
        if role == Role::Daemon {
            // They are drained one after the other.
            share.drain.timeout /= 2;
        }
        let mut parts = Self { broker: None, edge: None };
        if matches!(role, Role::Daemon | Role::Broker) {
            let broker = websocket_server::start(&share).await?;
            settings.broker.addr = broker.addr();
            share.broker.addr = broker.addr();
            parts.broker = Some(broker);
        }
        if matches!(role, Role::Daemon | Role::Edge) {
            // Beside its broker the edge needs no sockets to it, unless it is told to dial.
            let beside = parts.broker.as_ref().filter(|_| share.web.broker_url.is_none()).map(connect_to);
            let edge = match beside {
                Some(broker) => web_server::start_beside(&share, broker)?,
                None => web_server::start(&share)?,
            };
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

    /// Reads again what can change without a restart.
    pub async fn reload(&self) {
        if let Some(broker) = &self.broker {
            broker.reload_keys().await;
            broker.reload_certificate().await;
        }
        if let Some(edge) = &self.edge {
            edge.reload_certificate().await;
        }
    }

    /// Drains everything: the edge first, so that browsers hear of the restart and not of a broker that went away.
    pub async fn drain(self) {
        if let Some(broker) = &self.broker {
            broker.refuse_new();
        }
        if let Some(edge) = self.edge {
            edge.drain().await;
        }
        if let Some(broker) = self.broker {
            broker.drain().await;
        }
    }
}
