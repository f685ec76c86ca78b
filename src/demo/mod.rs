//! The demo agent: a real agent over the real socket, with the real key, but without a model.
//!
//! [`answers`] makes the answers, [`desk`] serves questions side by side, and [`run`] uses a
//! [`Door`], which keeps the connection. The daemon runs it with `--demo`, and `agent-bridge demo`
//! alone.

mod answers;
mod desk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use common::close::CloseCode;
use common::config::{DemoSettings, Settings};
use common::id::AgentId;
use common::secret::Secret;
use gateway::doors::{AgentEntrance, AgentOptions, BrokerAddress, Door, DoorError, DoorState, Ending, Inbox, Tuning};
use serde_json::json;
use tls::{ClientTls, TlsError};
use tokio::time::{Instant, sleep_until};

use self::desk::Desk;

/// How long connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The options of a demo agent.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The broker, `ws://host:port` or `wss://host:port`.
    pub url: String,
    /// The trusted authorities, if that is `wss`.
    pub tls: Option<Arc<ClientTls>>,
    /// The agent key.
    pub key: Secret,
    /// The id it registers with.
    pub agent_id: String,
    /// Questions answered at the same time.
    pub max_concurrency: usize,
    /// Between two tokens of a stream; zero: no wait.
    pub token_pace: Duration,
}

impl DemoOptions {
    /// From the settings: the broker at `demo.url`, else at `broker.addr`, and the first of the
    /// agent keys.
    ///
    /// # Errors
    /// The trusted authorities cannot be read.
    pub fn from_settings(settings: &Settings) -> Result<Self, TlsError> {
        let DemoSettings { url, agent_id, max_concurrency, token_pace, .. } = settings.demo.clone();
        let trust = tls::broker_trust(settings, url.as_deref());
        let tls = trust.map(ClientTls::new).transpose()?.map(Arc::new);
        let url = url.unwrap_or_else(|| settings.local_broker_url());
        let key = settings.broker.agent_keys.first().map_or_else(|| Secret::new(""), |named| named.key.clone());
        Ok(Self { url, tls, key, agent_id, max_concurrency, token_pace })
    }
}

/// Why a demo agent gave up.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The broker refused the connection, and would again.
    #[error("the broker refused the connection (HTTP {status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The broker's message.
        message: String,
    },
    /// The broker closed the connection with a code after which a client must not come back by
    /// itself.
    #[error("the broker closed the connection with {code}: {reason}")]
    Closed {
        /// The close code.
        code: u16,
        /// The broker's reason.
        reason: String,
    },
    /// The configuration is invalid.
    #[error("the demo agent cannot connect: {0}")]
    Misconfigured(String),
}

/// Serves until `shutdown` is ready, over as many connections as it takes.
///
/// # Errors
/// The broker made clear that coming back is useless: wrong key, taken over by another with the
/// same id, session ended.
pub async fn run(options: DemoOptions, shutdown: impl Future<Output = ()>) -> Result<(), DemoError> {
    run_with(options, Tuning::default(), shutdown).await
}

async fn run_with(options: DemoOptions, tuning: Tuning, shutdown: impl Future<Output = ()>) -> Result<(), DemoError> {
    let (door, inbox) = Door::agent(at_door(&options, tuning)?);
    tokio::select! {
        ending = serve(&door, inbox, &options) => outcome(ending),
        () = shutdown => {
            door.close().await;
            Ok(())
        }
    }
}

fn at_door(options: &DemoOptions, tuning: Tuning) -> Result<AgentOptions, DemoError> {
    let DemoOptions { url, tls, key, agent_id, max_concurrency, .. } = options;
    let registration = json!({
        "agent_id": agent_id,
        "name": "Demo agent",
        "type": "demo",
        "capabilities": ["help", "echo", "time", "count", "fail"],
        "version": env!("CARGO_PKG_VERSION"),
        "max_concurrency": max_concurrency,
    });
    Ok(AgentOptions {
        entrance: AgentEntrance::Socket(BrokerAddress::new(url, tls.clone(), PATIENCE)),
        agent: AgentId::new(agent_id).map_err(|error| DemoError::Misconfigured(format!("demo.agent_id {error}")))?,
        key: key.clone(),
        registration: Some(registration),
        tuning,
    })
}

/// Answers questions until the door is closed for good. Questions in progress when a connection
/// ends are dropped: the broker tells their askers that the agent has gone.
async fn serve(door: &Door, mut inbox: Inbox, options: &DemoOptions) -> Ending {
    let new_desk = || Desk::new(options.max_concurrency, options.token_pace);
    let (mut desk, mut state) = (new_desk(), door.watch());
    loop {
        let out = tokio::select! {
            message = inbox.recv() => match message {
                Some(message) => desk.on_message(message, Instant::now()),
                None => return door.closed().await,
            },
            () = wake(desk.next_due()) => desk.on_due(Instant::now()),
            changed = state.changed() => {
                if changed.is_err() {
                    return door.closed().await;
                }
                match &*state.borrow_and_update() {
                    DoorState::Open => tracing::info!(agent = options.agent_id, url = options.url, "demo agent is connected"),
                    DoorState::Waiting { retry_in, .. } => {
                        tracing::info!(retry_in_ms = retry_in.as_millis(), "demo agent lost the broker and will reconnect");
                        desk = new_desk();
                    }
                    DoorState::Connecting { .. } | DoorState::Draining | DoorState::Closed(_) => {}
                }
                continue;
            }
        };
        for message in out {
            match door.send(message).await {
                Ok(()) => {}
                Err(DoorError::Closed) => return door.closed().await,
                Err(error) => tracing::warn!(%error, "an answer could not be sent"),
            }
        }
    }
}

async fn wake(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What the door's final closing means for the demo agent.
fn outcome(ending: Ending) -> Result<(), DemoError> {
    match ending {
        Ending::Ours | Ending::Closed { code: CloseCode::NORMAL, .. } => Ok(()),
        Ending::Closed { code, reason } => Err(DemoError::Closed { code: code.0, reason }),
        Ending::Refused { status, error } => Err(DemoError::Refused { status, message: error.message }),
        Ending::Misconfigured(why) => Err(DemoError::Misconfigured(why)),
    }
}
