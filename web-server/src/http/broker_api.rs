//! What the edge asks of the broker over HTTP: the past of channels, for its sessions; and what it tells it for the audit log.

use std::sync::Arc;

use common::{
    assertion::{self, ClientIdentity},
    audit::{Audit, Event, TICK},
    config::Settings,
    error::{ClientError, ErrorCode},
    secret::Secret,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    ClientAddress, Refusal,
    outbound::{Answer, Outbound, Question},
};

/// Bytes of a page of history.
const LONGEST_PAGE: usize = 16 * 1024 * 1024;

/// See the module.
pub struct BrokerApi {
    outbound: Outbound,
    /// `http://host:port`
    origin: String,
    bridge_secret: Secret,
    audit: Audit,
}

impl BrokerApi {
    /// Of the broker that these settings name.
    pub fn new(settings: &Settings) -> Self {
        Self {
            outbound: Outbound::trusting(tls::broker_trust(settings, settings.web.broker_url.as_deref())),
            origin: settings.broker_url().replacen("ws", "http", 1).trim_end_matches('/').to_owned(),
            bridge_secret: settings.broker.bridge_secret.clone(),
            audit: Audit::new(settings.store.audit),
        }
    }

    /// Notes for the audit log what became of a session, or of somebody who would have one.
    pub fn note(&self, kind: Event, who: &str, what: &str, origin: ClientAddress) {
        self.audit.note(kind, who, what, &origin.0.to_string());
    }

    /// A page of a channel's history, as the broker answers: status and JSON. `query` is that of the broker's own route.
    ///
    /// # Errors
    /// `not_ready`: the broker does not answer.
    pub async fn history(&self, identity: &ClientIdentity, channel: &str, query: &str) -> Result<Answer, Refusal> {
        let assertion = assertion::mint(identity, &self.bridge_secret)?;
        let channel = utf8_percent_encode(channel, NON_ALPHANUMERIC);
        let url = format!("{}/api/v1/channels/{channel}/history?{query}", self.origin);
        let question = Question { bearer: Some(&assertion), longest: LONGEST_PAGE, ..Question::get(&url) };
        self.outbound.ask(question).await.map_err(|error| {
            tracing::warn!(%error, "the broker was not asked for history");
            ClientError::with_message(ErrorCode::NotReady, "the broker does not answer").into()
        })
    }

    /// Tells the broker what waits. What it does not take waits on.
    pub async fn report(&self) {
        let entries = self.audit.take();
        if entries.is_empty() {
            return;
        }
        let told = async {
            let assertion = assertion::mint_edge(&self.bridge_secret).map_err(|code| code.to_string())?;
            let body = serde_json::to_string(&entries).map_err(|error| error.to_string())?;
            let url = format!("{}/api/v1/audit", self.origin);
            let question = Question { bearer: Some(&assertion), ..Question::post(&url, body) };
            let answer = self.outbound.ask(question).await.map_err(|error| error.to_string())?;
            if answer.is_success() { Ok(()) } else { Err(format!("the broker answers with {}", answer.status)) }
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, entries = entries.len(), "the audit log was not told");
            self.audit.add(entries);
        }
    }
}

/// Tells the broker what waits, as long as the edge runs.
pub async fn keep_reporting(broker: Arc<BrokerApi>) {
    loop {
        tokio::time::sleep(TICK).await;
        broker.report().await;
    }
}
