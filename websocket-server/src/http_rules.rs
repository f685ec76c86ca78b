//! The checks on every HTTP request and handshake, before its sender is known.

use std::sync::Arc;

use common::config::Settings;
use tls::ServerTls;
use transport::{Gate, GateRules, HostRule, HttpFaults, HttpRates, OriginRule, client_address::TrustedProxies};

/// The rules of one broker's listener.
#[derive(Debug)]
pub struct HttpRules {
    /// Which addresses may open connections, and how many.
    pub gate: Arc<Gate>,
    /// Counts the clients' errors over HTTP that occur before any handler sees the request.
    pub faults: Arc<HttpFaults>,
    /// The proxies whose statement about a client's address is believed.
    pub proxies: TrustedProxies,
    /// How often an address may send requests.
    pub rates: HttpRates,
    /// The origins whose pages may open sockets.
    pub origins: OriginRule,
    /// The names under which the broker answers.
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
