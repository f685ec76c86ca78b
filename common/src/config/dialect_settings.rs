//! The settings of dialects: which are on, where they listen, and what each needs to know.

use std::{net::SocketAddr, time::Duration};

use crate::{dialect::Dialect, secret::Secret};

/// The dialects.
#[derive(Clone, Debug, Default)]
pub struct DialectsSettings {
    /// Text messages and mail.
    pub supervisor: SupervisorSettings,
    /// One user's deployments, kept in step.
    pub hybrid: HybridSettings,
}

/// Settings of the dialect `hybrid`.
#[derive(Clone, Debug)]
pub struct HybridSettings {
    /// Whether it is on, and where. Default 127.0.0.1:8888.
    pub listener: DialectListener,
}

impl Default for HybridSettings {
    fn default() -> Self {
        Self { listener: DialectListener::off_at(8888) }
    }
}

/// Whether a dialect is on, and where it listens.
#[derive(Clone, Copy, Debug)]
pub struct DialectListener {
    /// Whether it is on. Default false.
    pub enabled: bool,
    /// Where it listens. Port 0: the system picks one.
    pub addr: SocketAddr,
}

impl DialectListener {
    const fn off_at(port: u16) -> Self {
        Self { enabled: false, addr: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port) }
    }
}

/// Settings of the dialect `supervisor`.
#[derive(Clone, Debug)]
pub struct SupervisorSettings {
    /// Whether it is on, and where. Default 127.0.0.1:9999.
    pub listener: DialectListener,
    /// The key that its clients present. Empty: only tokens of sessions and issuers are accepted.
    pub token: Secret,
    /// The agent that answers. Default `supervisor`.
    pub agent: String,
    /// How long a client waits for an answer. Default 9 s.
    pub reply_timeout: Duration,
    /// The secret with which Twilio signs its webhooks. Empty: that webhook is closed.
    pub twilio_auth_token: Secret,
    /// The address of the webhooks as Twilio was told it, without the path. `None`: as the request
    /// names it.
    pub public_url: Option<String>,
    /// The secret of the webhook for mail. Empty: that webhook is closed.
    pub email_secret: Secret,
}

impl Default for SupervisorSettings {
    fn default() -> Self {
        Self {
            listener: DialectListener::off_at(9999),
            token: Secret::new(""),
            agent: "supervisor".into(),
            reply_timeout: Duration::from_secs(9),
            twilio_auth_token: Secret::new(""),
            public_url: None,
            email_secret: Secret::new(""),
        }
    }
}

impl DialectsSettings {
    /// Every listener of a dialect that is on: the dialect, the setting of its address, and the
    /// address.
    pub fn listeners(&self) -> impl Iterator<Item = (Dialect, &'static str, SocketAddr)> {
        let all = [
            (Dialect::Supervisor, "dialects.supervisor.addr", self.supervisor.listener),
            (Dialect::Hybrid, "dialects.hybrid.addr", self.hybrid.listener),
        ];
        all.into_iter().filter(|(_, _, listener)| listener.enabled).map(|(dialect, key, listener)| (dialect, key, listener.addr))
    }
}
