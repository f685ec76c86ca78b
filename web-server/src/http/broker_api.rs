//! The edge's HTTP requests to the broker: histories of channels for its sessions, entries of the
//! audit log, and revocations.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{
    assertion::{ClientIdentity, Signer},
    audit::{Audit, Batch, Event, TICK},
    config::Settings,
    error::{ClientError, ErrorCode},
};
use futures_util::future::LocalBoxFuture;
use identity::revocations::{Exchange, Exchanged};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    ClientAddress, Refusal,
    outbound::{Answer, Outbound, Question},
};

/// How long a call may take. The longest wait for an answer is ten minutes.
const LONGEST_CALL: Duration = Duration::from_secs(11 * 60);
/// The longest page of history, or answer to a call, in bytes.
const LONGEST_PAGE: usize = 16 * 1024 * 1024;

/// Why the broker could not be told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// It does not accept this edge.
    #[error("the broker refuses this edge's assertion: broker.bridge_secret must be the same at broker and edge")]
    Refused,
    /// It is away or has a fault.
    #[error("{0}")]
    Other(String),
}

impl TellError {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

/// See the module.
pub struct BrokerApi {
    outbound: Outbound,
    /// `http://host:port`
    origin: String,
    /// Signs for this edge.
    pub signer: Arc<Signer>,
    audit: Audit,
    /// For a broker in this process.
    local: Option<CallPipe>,
}

/// What is called over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// `POST /api/v1/messages`.
    Publish,
    /// `POST /api/v1/request`.
    Request,
}

impl CallKind {
    /// Its path below `/api/v1`.
    const fn path(self) -> &'static str {
        match self {
            Self::Publish => "messages",
            Self::Request => "request",
        }
    }
}

/// A call over HTTP.
#[derive(Clone, Debug)]
pub struct Call {
    /// What is called.
    pub kind: CallKind,
    /// The body.
    pub body: Bytes,
    /// The idempotency key of a request.
    pub key: Option<String>,
}

/// Makes a session's call at a broker in this process, on the caller's thread. Returns the JSON of
/// the answer. Dropping the future ends the wait for an answer.
pub type CallPipe = Arc<dyn Fn(ClientIdentity, Call) -> LocalBoxFuture<'static, Result<String, ClientError>> + Send + Sync>;

impl BrokerApi {
    /// For the broker of these settings. With `local`, calls do not need a connection to it.
    pub fn new(settings: &Settings, signer: Arc<Signer>, local: Option<CallPipe>) -> Self {
        Self {
            local,
            outbound: Outbound::trusting(tls::broker_trust(settings, settings.web.broker_url.as_deref())),
            origin: settings.broker_url().replacen("ws", "http", 1).trim_end_matches('/').to_owned(),
            signer,
            audit: Audit::new(settings.store.audit),
        }
    }

    /// Records an event of a session, or of somebody who asked for one, for the audit log.
    pub fn note(&self, kind: Event, who: &str, what: &str, origin: ClientAddress) {
        self.audit.note(kind, who, what, &origin.0.to_string());
    }

    /// Counts an event that exceeds the rate of the audit log.
    pub fn pass_over(&self) {
        self.audit.pass_over(1);
    }

    /// Removes and returns what waits to be reported.
    #[cfg(test)]
    pub fn take(&self) -> Batch {
        self.audit.take()
    }

    /// A page of a channel's history, as the broker answers: status and JSON. `query` is that of
    /// the broker's own route.
    ///
    /// # Errors
    /// `not_ready`: the broker does not answer.
    pub async fn history(&self, identity: &ClientIdentity, channel: &str, query: &str) -> Result<Answer, Refusal> {
        let channel = utf8_percent_encode(channel, NON_ALPHANUMERIC);
        let url = format!("{}/api/v1/channels/{channel}/history?{query}", self.origin);
        let question = || Question { longest: LONGEST_PAGE, ..Question::get(&url) };
        self.ask(question, || self.signer.mint(identity)).await.map_err(|error| {
            tracing::warn!(%error, "the broker was not asked for history");
            ClientError::with_message(ErrorCode::NotReady, "the broker does not answer").into()
        })
    }

    /// Makes a call for a session, as the broker answers: status and JSON.
    ///
    /// # Errors
    /// `not_ready`: the broker does not answer.
    pub async fn call(&self, identity: ClientIdentity, call: Call) -> Result<Answer, Refusal> {
        if let Some(local) = &self.local {
            return Ok(match local(identity, call).await {
                Ok(text) => Answer { status: 200, clock: None, retry_after: None, body: text.into() },
                Err(error) => return Err(error.into()),
            });
        }
        let url = format!("{}/api/v1/{}", self.origin, call.kind.path());
        let question = || Question {
            longest: LONGEST_PAGE,
            key: call.key.as_deref(),
            patience: LONGEST_CALL,
            ..Question::post(&url, call.body.clone())
        };
        self.ask(question, || self.signer.mint(&identity)).await.map_err(|error| {
            tracing::warn!(%error, "the broker did not answer a call");
            ClientError::with_message(ErrorCode::NotReady, "the broker does not answer").into()
        })
    }

    /// Tells the broker what was revoked here, and gets what was revoked elsewhere.
    ///
    /// # Errors
    /// The reason for the failure.
    pub async fn exchange(&self, ask: &Exchange) -> Result<Exchanged, TellError> {
        let body = serde_json::to_string(ask).map_err(TellError::other)?;
        let answer = self.tell("revocations", body).await?;
        serde_json::from_slice(&answer.body).map_err(TellError::other)
    }

    /// Posts JSON on behalf of the edge itself.
    async fn tell(&self, path: &str, body: String) -> Result<Answer, TellError> {
        let url = format!("{}/api/v1/{path}", self.origin);
        let answer = self.ask(|| Question::post(&url, body.clone()), || self.signer.mint_edge()).await?;
        match answer.status {
            _ if answer.is_success() => Ok(answer),
            401 => Err(TellError::Refused),
            status => Err(TellError::Other(format!("the broker answers with {status}"))),
        }
    }

    /// Asks with an assertion; once more if the broker has answered with its time.
    async fn ask<'a>(
        &self,
        question: impl Fn() -> Question<'a>,
        sign: impl Fn() -> Result<String, ErrorCode>,
    ) -> Result<Answer, TellError> {
        let mut has_learned = false;
        loop {
            let assertion = sign().map_err(TellError::other)?;
            let question = Question { bearer: Some(&assertion), ..question() };
            let answer = self.outbound.ask(question).await.map_err(TellError::other)?;
            let clock = answer.clock.as_deref().filter(|_| answer.status == 401 && !has_learned);
            has_learned = clock.is_some_and(|clock| self.signer.learn(clock, &assertion));
            if !has_learned {
                return Ok(answer);
            }
        }
    }

    /// Reports what waits. What the broker does not accept keeps waiting, also if the report is
    /// cancelled.
    pub async fn report(&self) {
        let mut report = Report { audit: &self.audit, batch: self.audit.take() };
        if report.batch.is_empty() {
            return;
        }
        let told = async {
            let body = serde_json::to_string(&report.batch).map_err(TellError::other)?;
            self.tell("audit", body).await
        };
        match told.await {
            Ok(_) => report.batch = Batch::default(),
            Err(error) => {
                tracing::debug!(%error, entries = report.batch.entries.len(), "entries for the broker's audit log were not sent and are kept")
            }
        }
    }

    /// Reports what waits for the last time, within this time.
    pub async fn report_last(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.report()).await;
        let Batch { entries, beyond } = self.audit.take();
        if !entries.is_empty() || beyond > 0 {
            tracing::warn!(entries = entries.len(), beyond, "entries for the broker's audit log are lost");
        }
    }
}

/// A batch on its way to the broker. If it is dropped, its entries wait again.
struct Report<'a> {
    audit: &'a Audit,
    batch: Batch,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.audit.put_back(std::mem::take(&mut self.batch));
    }
}

/// Reports what waits, as long as the edge runs.
pub async fn keep_reporting(broker: Arc<BrokerApi>) {
    loop {
        tokio::time::sleep(TICK).await;
        broker.report().await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    #[actix_web::test]
    async fn a_report_that_is_broken_off_waits_again() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut settings = Settings::for_tests();
        settings.web.broker_url = Some(format!("ws://{}", listener.local_addr().expect("bound")));
        let broker = BrokerApi::new(&settings, Arc::new(Signer::new(settings.broker.bridge_secret.clone())), None);
        broker.audit.note(Event::Authentication, "", "first", "");
        broker.pass_over();
        {
            // Never ready.
            let mut report = std::pin::pin!(broker.report());
            let mut task = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(report.as_mut().poll(&mut task).is_pending());
            assert!(broker.audit.take().is_empty(), "it is on its way");
        }
        broker.audit.note(Event::Authentication, "", "second", "");
        let Batch { entries, beyond } = broker.take();
        assert_eq!(entries.iter().map(|entry| entry.what.as_str()).collect::<Vec<_>>(), ["first", "second"]);
        assert_eq!(beyond, 1);
    }
}
