//! The rules that compare several settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::exposure;
use super::faults::Fault;
use super::inputs::Role;
use super::kinds::{show_duration, show_size};
use super::settings::{DEV_AGENT_KEY, RETIRED_DEV_AGENT_KEY, Settings};
use super::tls::ClientCertificates;

/// A token of 16 KiB and the frame around it.
const LEAST_CLIENT_FRAME: usize = 32 * 1024;

/// All rules that the settings break.
pub(super) fn check(settings: &Settings, origins: &BTreeMap<&'static str, String>, role: Role) -> Vec<Fault> {
    let mut rules = Rules { origins, faults: Vec::new() };
    rules.heartbeat(settings);
    rules.edge(settings);
    rules.logins(settings);
    rules.limits(settings);
    rules.agent_keys(settings);
    rules.listeners(settings, role);
    rules.tls(settings);
    rules.faults.extend(exposure::check(settings, origins, role));
    rules.faults
}

struct Rules<'a> {
    origins: &'a BTreeMap<&'static str, String>,
    faults: Vec<Fault>,
}

impl Rules<'_> {
    fn require(&mut self, holds: bool, key: &'static str, message: impl FnOnce() -> String) {
        if !holds {
            let origin = self.origins.get(key).map_or("default", String::as_str);
            self.faults.push(Fault::new(key, origin, message()));
        }
    }

    fn heartbeat(&mut self, settings: &Settings) {
        let heartbeat = &settings.heartbeat;
        self.require(heartbeat.timeout > heartbeat.interval, "heartbeat.timeout", || {
            let (timeout, interval) = (show_duration(heartbeat.timeout), show_duration(heartbeat.interval));
            format!("{timeout} must be longer than heartbeat.interval, which is {interval}")
        });
    }

    fn edge(&mut self, settings: &Settings) {
        let web = &settings.web;
        self.require(web.reconnect_max >= web.reconnect_min, "web.reconnect_max", || {
            let (max, min) = (show_duration(web.reconnect_max), show_duration(web.reconnect_min));
            format!("{max} must not be shorter than web.reconnect_min, which is {min}")
        });
    }

    fn logins(&mut self, settings: &Settings) {
        let auth = &settings.auth;
        let sources = [!auth.jwt_secret.is_empty(), auth.jwks_url.is_some(), auth.jwks_file.is_some()];
        let sources = sources.into_iter().filter(|is_set| *is_set).count();
        self.require(auth.jwt_issuers.is_empty() || sources == 1, "auth.jwt_issuer", || {
            format!("needs one of auth.jwt_secret, auth.jwks_url and auth.jwks_file; there are {sources}")
        });
        // Clients of the hybrid dialect have tokens that name no issuer.
        let is_for_hybrid = settings.dialects.hybrid.listener.enabled && auth.jwks_url.is_none() && auth.jwks_file.is_none();
        self.require(!auth.jwt_issuers.is_empty() || sources == 0 || is_for_hybrid, "auth.jwt_issuer", || {
            "is empty, and so nothing could be checked with auth.jwt_secret, auth.jwks_url or auth.jwks_file: name what tokens have as `iss`"
                .into()
        });
        self.require(auth.jwt_issuers.is_empty() || !auth.jwt_audiences.is_empty(), "auth.jwt_audience", || {
            "is empty, and so tokens made for others would be good here: name what tokens have as `aud`".into()
        });
        for node in &auth.eth_rpc_urls {
            self.require(auth.siwe_chains.contains(&node.chain), "auth.eth_rpc_urls", || {
                format!("names a node of chain {}, which is not among auth.siwe_chains", node.chain)
            });
        }
    }

    fn limits(&mut self, settings: &Settings) {
        let limits = &settings.limits;
        self.require(limits.max_session_connections <= limits.max_connections, "limits.max_session_connections", || {
            let (session, all) = (limits.max_session_connections, limits.max_connections);
            format!("{session} must not be more than limits.max_connections, which is {all}")
        });
        self.require(limits.flow_control_burst < limits.slow_consumer_timeout, "limits.flow_control_burst", || {
            let (burst, timeout) = (show_duration(limits.flow_control_burst), show_duration(limits.slow_consumer_timeout));
            format!("{burst} must be shorter than limits.slow_consumer_timeout, which is {timeout}")
        });
        self.require(limits.first_failure_wait <= limits.longest_failure_wait, "limits.longest_failure_wait", || {
            let (longest, first) = (show_duration(limits.longest_failure_wait), show_duration(limits.first_failure_wait));
            format!("{longest} must not be shorter than limits.first_failure_wait, which is {first}")
        });
        self.require(
            limits.client_frame_bytes() >= LEAST_CLIENT_FRAME.min(limits.max_frame_bytes),
            "limits.max_client_frame_bytes",
            || {
                let (bytes, least) = (show_size(limits.max_client_frame_bytes), show_size(LEAST_CLIENT_FRAME));
                format!("{bytes} must be 0, or at least {least}: logins and refreshed tokens go through the same frames")
            },
        );
        self.require(limits.max_fragments <= limits.max_frame_bytes, "limits.max_fragments", || {
            let (fragments, bytes) = (limits.max_fragments, show_size(limits.max_frame_bytes));
            format!("{fragments} must not be more than the bytes of limits.max_frame_bytes, which is {bytes}")
        });
    }

    fn agent_keys(&mut self, settings: &Settings) {
        let keys = &settings.broker.agent_keys;
        let retired = keys.iter().find(|key| key.key.matches(RETIRED_DEV_AGENT_KEY)).map(|key| key.name.as_str());
        let setting = if retired == Some("default") { "broker.agent_token" } else { "broker.agent_keys" };
        self.require(retired.is_none(), setting, || {
            format!(
                "`{RETIRED_DEV_AGENT_KEY}` was the development key; it is `{DEV_AGENT_KEY}` now, and is used where none is set"
            )
        });
        for (index, key) in keys.iter().enumerate() {
            let before = keys.get(..index).unwrap_or_default();
            self.require(!before.iter().any(|other| other.name == key.name), "broker.agent_keys", || {
                format!("the name `{}` is given twice (`default` is the name of broker.agent_token)", key.name)
            });
            let twin = before.iter().find(|other| other.key.matches(key.key.reveal()));
            self.require(twin.is_none(), "broker.agent_keys", || {
                let twin = twin.map_or("", |twin| twin.name.as_str());
                format!("`{}` and `{twin}` are the same key", key.name)
            });
        }
    }

    fn tls(&mut self, settings: &Settings) {
        let keys = ["broker.tls_key_file", "broker.tls_acme", "web.tls_key_file", "web.tls_acme"];
        for (tls, [key_file, acme]) in [(&settings.broker.tls, [keys[0], keys[1]]), (&settings.web.tls, [keys[2], keys[3]])] {
            let cert_file = key_file.replace("key", "cert");
            self.require(tls.key_file.is_none() || tls.cert_file.is_some(), key_file, || {
                format!("a key needs its certificate: set {cert_file}")
            });
            self.require(!tls.acme || tls.cert_file.is_none(), acme, || {
                format!("the certificate is either ordered or read from {cert_file}: unset one of them")
            });
            self.require(!tls.acme || !settings.acme.domains.is_empty(), acme, || {
                "a certificate needs a name to be for: set acme.domains".to_owned()
            });
            self.require(!tls.acme || settings.acme.agree_terms, acme, || {
                "a certificate authority has terms of service: set acme.agree_terms=true if you agree to them".to_owned()
            });
        }
        let broker = &settings.broker;
        let has_authorities = broker.client_ca_file.is_some();
        self.require(!has_authorities || broker.tls.is_on(), "broker.client_ca_file", || {
            "certificates of agents need TLS: set broker.tls_cert_file or broker.tls_acme".to_owned()
        });
        let required = broker.client_certificates == ClientCertificates::Required;
        self.require(!required || has_authorities, "broker.client_certificates", || {
            "certificates of agents need an authority: set broker.client_ca_file".to_owned()
        });
        self.require(!broker.client_names || has_authorities, "broker.client_names", || {
            "certificates of agents need an authority: set broker.client_ca_file".to_owned()
        });
    }

    fn listeners(&mut self, settings: &Settings, role: Role) {
        let (broker, web) = (settings.broker.addr, settings.web.addr);
        if role == Role::Daemon {
            self.require(!collide(broker, web), "web.addr", || format!("{web} is taken by broker.addr, which is {broker}"));
        }
        if !matches!(role, Role::Daemon | Role::Edge) {
            return;
        }
        let mut taken = vec![("web.addr", web)];
        if role == Role::Daemon {
            taken.push(("broker.addr", broker));
        }
        for (_, key, addr) in settings.dialects.listeners() {
            let other = taken.iter().find(|(_, other)| collide(*other, addr));
            self.require(other.is_none(), key, || {
                let (other, at) = other.copied().unwrap_or((key, addr));
                format!("{addr} is taken by {other}, which is {at}")
            });
            taken.push((key, addr));
        }
    }
}

/// Whether two listeners want the same port of the same address.
fn collide(left: SocketAddr, right: SocketAddr) -> bool {
    let same_ip = left.ip() == right.ip() || left.ip().is_unspecified() || right.ip().is_unspecified();
    left.port() != 0 && left.port() == right.port() && same_ip
}
