//! The demo agent: a real agent over the real socket, with the real key, and nothing behind it.
//!
//! [`answers`] says what is answered, [`desk`] serves questions side by side, [`connection`] owns one socket, and [`run`] comes
//! back when a connection ends, as docs/protocol.md section 8 asks of a client. The daemon runs it with `--demo`, and
//! `agent-bridge demo` alone.

mod answers;
mod backoff;
mod connection;
mod desk;
mod frames;
#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::close::{Advice, CloseCode};
use common::config::{DemoSettings, Settings};
use common::secret::Secret;
use tls::{ClientTls, TlsError};

use self::backoff::{Backoff, chance};
use self::connection::{Ending, serve};

/// First and last bound of the wait before the next try.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A connection that lived this long was a good one.
const GOOD_LIFE: Duration = Duration::from_secs(5);

/// What a demo agent needs to know.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The broker, `ws://host:port` or `wss://host:port`.
    pub url: String,
    /// Whom to trust when that is `wss`.
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
    /// As configured: the broker at `demo.url`, else at `broker.addr`, and the first of the agent keys.
    ///
    /// # Errors
    /// What is to be trusted cannot be read.
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
        /// What the broker said.
        message: String,
    },
    /// The broker closed the connection with a code after which a client does not come back by itself.
    #[error("the broker closed the connection with {code}: {reason}")]
    Closed {
        /// The close code.
        code: u16,
        /// What the broker said.
        reason: String,
    },
    /// What was configured is of no use.
    #[error("the demo agent cannot connect: {0}")]
    Misconfigured(String),
}

/// Serves until `shutdown` is ready, over as many connections as it takes.
///
/// # Errors
/// When the broker makes clear that coming back is of no use: wrong key, taken over by another with the same id, session ended.
pub async fn run(options: DemoOptions, shutdown: impl Future<Output = ()>) -> Result<(), DemoError> {
    run_with(options, Backoff::new(WAIT.0, WAIT.1), shutdown).await
}

async fn run_with(options: DemoOptions, mut backoff: Backoff, shutdown: impl Future<Output = ()>) -> Result<(), DemoError> {
    let mut shutdown = pin!(shutdown);
    loop {
        let since = Instant::now();
        let ending = serve(&options, shutdown.as_mut()).await;
        if since.elapsed() >= GOOD_LIFE {
            backoff.reset();
        }
        let wait = match after(ending)? {
            Next::Stop => return Ok(()),
            // At once, but not in a circle: a connection that ends young waits like any other.
            Next::AtOnce if since.elapsed() >= GOOD_LIFE => continue,
            Next::AtOnce | Next::WithBackoff => backoff.next_wait(chance()),
        };
        tracing::info!(retry_in_ms = wait.as_millis(), "demo agent comes back");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut shutdown => return Ok(()),
        }
    }
}

#[derive(Debug, PartialEq)]
enum Next {
    Stop,
    AtOnce,
    WithBackoff,
}

/// What to do after a connection's end.
fn after(ending: Ending) -> Result<Next, DemoError> {
    match ending {
        Ending::Shutdown => Ok(Next::Stop),
        Ending::Refused(status, message) => Err(DemoError::Refused { status, message }),
        Ending::Misconfigured(why) => Err(DemoError::Misconfigured(why)),
        Ending::Unreachable(why) | Ending::Lost(why) => {
            tracing::warn!(%why, "demo agent is not connected");
            Ok(Next::WithBackoff)
        }
        Ending::Closed(code, reason) => {
            tracing::info!(code = code.0, reason, "the broker closed the demo agent's connection");
            after_close(code, reason)
        }
    }
}

fn after_close(code: CloseCode, reason: String) -> Result<Next, DemoError> {
    match code.advice() {
        Advice::ReconnectAtOnce => Ok(Next::AtOnce),
        Advice::ReconnectWithBackoff | Advice::ReconnectRenamed => Ok(Next::WithBackoff),
        Advice::Never if code == CloseCode::NORMAL => Ok(Next::Stop),
        // A pre-shared key cannot be refreshed.
        Advice::Never | Advice::RefreshCredentials => Err(DemoError::Closed { code: code.0, reason }),
    }
}
