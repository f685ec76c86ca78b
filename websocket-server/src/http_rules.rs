//! What is checked of every HTTP request and handshake, whoever sent it.

use std::sync::Arc;

use common::config::Settings;
use tls::ServerTls;
use transport::{Gate, GateRules, HostRule, HttpFaults, HttpRates, OriginRule, client_address::TrustedProxies};

/// The rules of one broker's listener.
#[derive(Debug)]
pub struct HttpRules {
    /// Which addresses may open connections, and how many.
    pub gate: Arc<Gate>,
    /// Counts what clients do wrong over HTTP before any handler sees the request.
    pub faults: Arc<HttpFaults>,
    /// Whose statement about a client's address is believed.
    pub proxies: TrustedProxies,
    /// How often an address may send requests.
    pub rates: HttpRates,
    /// The origins whose pages may open sockets.
    pub origins: OriginRule,
    /// Under which names the broker answers.
    pub hosts: HostRule,
    /// TLS of the listener.
    pub tls: Option<Arc<ServerTls>>,
}

impl HttpRules {
    /// The rules that the settings ask for.
    pub fn new(settings: &Settings, tls: Option<Arc<ServerTls>>) -> Self {
        let certified = tls.as_ref().map(|tls| tls.certified_names()).unwrap_or_default();
        Self {
            gate: Gate::new(GateRules::of(settings, settings.proxies.broker_protocol)),
            faults: Arc::default(),
            proxies: TrustedProxies::of(&settings.proxies),
            rates: HttpRates::of(settings),
            origins: OriginRule::new(&settings.web.allowed_origins, TrustedProxies::of(&settings.proxies)),
            hosts: HostRule::new(
                settings.broker.hosts.iter().chain(&certified).map(String::as_str).chain(settings.public_hosts()),
            ),
            tls,
        }
    }
}
