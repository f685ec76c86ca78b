//! The broker and the edge of this process: started in order, drained in order.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use common::{
    config::{Role, Settings},
    dialect::Dialect,
};
use tokio::sync::oneshot;
use transport::{Socket, process::Part};
use web_server::{Beside, Call, CallKind, CallPipe, EdgeHandle, SessionPipe};
use websocket_server::BrokerHandle;

use crate::demo::{self, DemoOptions};

fn connect_to(broker: &BrokerHandle) -> Beside {
    let local = broker.local();
    let calls: CallPipe = {
        let local = local.clone();
        Arc::new(move |identity, Call { kind, body, key }| {
            let kind = match kind {
                CallKind::Publish => websocket_server::CallKind::Publish,
                CallKind::Request => websocket_server::CallKind::Request,
            };
            Box::pin(local.call(identity, websocket_server::Call { kind, body, key }))
        })
    };
    let sessions: SessionPipe = Arc::new(move |identity| {
        let socket = local.connect(identity)?;
        Ok(Box::new(socket) as Box<dyn Socket>)
    });
    Beside { sessions, calls: Some(calls) }
}

/// The running parts, and the demo agent beside them.
pub struct Parts {
    demo: Option<DemoInside>,
    broker: Option<BrokerHandle>,
    edge: Option<EdgeHandle>,
}

impl Parts {
    /// Starts the parts of the role. The addresses in `settings` become those that were bound.
    pub async fn start(settings: &mut Settings, role: Role) -> Result<Self> {
        let mut share = settings.clone();
        if role == Role::Daemon {
            // They are drained one after the other.
            share.drain.timeout /= 2;
        }
        let mut parts = Self { demo: None, broker: None, edge: None };
        if matches!(role, Role::Daemon | Role::Broker) {
            let broker = websocket_server::start(&share).await?;
            settings.broker.addr = broker.addr();
            share.broker.addr = broker.addr();
            parts.broker = Some(broker);
        }
        if matches!(role, Role::Daemon | Role::Edge) {
            // Beside its broker the edge needs no sockets to it, unless it is configured to dial.
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

    /// The dialects that are on, each with its address.
    pub fn dialects(&self) -> Vec<(Dialect, SocketAddr)> {
        self.edge.as_ref().map(EdgeHandle::dialects).unwrap_or_default()
    }

    /// Starts the demo agent, if the settings ask for it. Returns whether it was started.
    pub fn start_demo(&mut self, settings: &Settings, role: Role) -> bool {
        self.demo = DemoInside::start(settings, role);
        self.demo.is_some()
    }
}

impl Part for Parts {
    async fn failed(&self) {
        match &self.broker {
            Some(broker) => broker.failed().await,
            None => std::future::pending().await,
        }
    }

    async fn reload(&self) {
        if let Some(broker) = &self.broker {
            Part::reload(broker).await;
        }
        if let Some(edge) = &self.edge {
            Part::reload(edge).await;
        }
    }

    /// Drains the edge first, so that browsers hear of the restart, and not of a broker that went
    /// away.
    async fn drain(self) {
        drop(self.demo);
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

/// The demo agent in the process of its broker. Dropping it closes its connection.
struct DemoInside {
    _stop: oneshot::Sender<()>,
}

impl DemoInside {
    fn start(settings: &Settings, role: Role) -> Option<Self> {
        if !settings.demo.enabled || role == Role::Edge {
            return None;
        }
        let options = match DemoOptions::from_settings(settings) {
            Ok(options) => options,
            Err(error) => {
                tracing::warn!(%error, "the demo agent does not start");
                return None;
            }
        };
        let (stop, stopped) = oneshot::channel();
        tokio::task::spawn_local(async {
            let ended = demo::run(options, async {
                let _ = stopped.await;
            });
            if let Err(error) = ended.await {
                tracing::warn!(%error, "the demo agent gave up");
            }
        });
        Some(Self { _stop: stop })
    }
}
