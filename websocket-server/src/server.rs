//! Starting and stopping the broker.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix::{Actor, Arbiter};
use actix_web::{App, dev::ServerHandle, middleware};
use common::config::Settings;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use transport::ServeOptions;

use crate::{
    actors::{Drain, StateManagerActor, UseBroker},
    broker::{Broker, Readiness},
    http::{self, sockets::LocalBroker},
};

/// How often a drain looks whether everyone has gone.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Why the broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Which.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server's threads cannot be started.
    #[error("cannot start the server: {0}")]
    Serve(io::Error),
}

/// A running broker.
#[derive(Debug)]
pub struct BrokerHandle {
    addr: SocketAddr,
    broker: Arc<Broker>,
    server: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
    state_thread: Arbiter,
}

/// Starts the broker. Needs an actix system.
///
/// # Errors
/// The address is taken or not ours.
pub fn start(settings: &Settings) -> Result<BrokerHandle, StartError> {
    let wanted = settings.broker.addr;
    let listener = transport::listen(wanted).map_err(|source| StartError::Listen { addr: wanted, source })?;
    let addr = listener.local_addr().map_err(StartError::Serve)?;
    let state_thread = Arbiter::new();
    let state = StateManagerActor::start_in_arbiter(&state_thread.handle(), |_| StateManagerActor::default());
    let broker = Broker::new(settings, state);
    broker.state.do_send(UseBroker(Arc::downgrade(&broker)));

    let workers = match settings.broker.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let options = ServeOptions {
        workers,
        handshake_timeout: settings.limits.handshake_timeout,
        max_in_flight: settings.limits.max_handshakes.div_ceil(workers),
        shutdown_timeout: settings.drain.timeout,
    };
    let shared = Arc::clone(&broker);
    let server = transport::serve(listener, &options, move || {
        App::new()
            .wrap(middleware::DefaultHeaders::new().add(("X-Content-Type-Options", "nosniff")))
            .configure(|config| http::routes(config, &shared))
    })
    .map_err(StartError::Serve)?;
    let handle = server.handle();
    let serving = actix_rt::spawn(server);
    broker.set_readiness(Readiness::Ready);
    tracing::info!(%addr, workers, "broker listens");
    Ok(BrokerHandle { addr, broker, server: handle, serving, state_thread })
}

impl BrokerHandle {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its threads share.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// A way in for an edge in the same process.
    pub fn local(&self) -> LocalBroker {
        LocalBroker(Arc::clone(&self.broker))
    }

    /// Resolves when a router has died: the broker is of no use any more and the process should end.
    pub async fn failed(&self) {
        let mut died = self.broker.watch_routers();
        if died.wait_for(|died| *died).await.is_err() {
            std::future::pending().await
        }
    }

    /// Stops in good order: not ready, everyone told, connections closed at a bounded pace, within the configured limit.
    /// Says how many connections had to be cut.
    pub async fn drain(self) -> usize {
        let limit = self.broker.settings.drain.timeout;
        let deadline = Instant::now() + limit;
        self.broker.set_readiness(Readiness::Draining);
        self.broker.state.do_send(Drain);
        while self.broker.connections() > 0 && Instant::now() < deadline {
            sleep(DRAIN_POLL).await;
        }
        let left = self.broker.connections();
        tracing::info!(left, "broker drained");
        let stopping = async {
            self.server.stop(left == 0).await;
            drop(self.serving.await);
        };
        if timeout(Duration::from_secs(2), stopping).await.is_err() {
            tracing::warn!("the server's threads did not stop in time");
        }
        self.state_thread.stop();
        left
    }
}
