//! What is good enough on one's own machine and nowhere else: with such settings no listener is opened beyond loopback.
//!
//! Each refusal names the setting, says what to do, and ends in a permanent code. docs/security.md lists them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::faults::Fault;
use super::load::Role;
use super::settings::{CookieSecure, DEV_AGENT_KEY, Settings};
use crate::network::Network;

/// Secrets for signing tokens that manuals and starter kits print, and that everybody knows therefore.
const PUBLISHED_SECRETS: [&str; 2] =
    ["a-string-secret-at-least-256-bits-long", "super-secret-jwt-token-with-at-least-32-characters-long"];

/// Every setting that is too open for where the listeners are.
pub(super) fn check(settings: &Settings, origins: &BTreeMap<&'static str, String>, role: Role) -> Vec<Fault> {
    let (broker, web) = (("broker.addr", settings.broker.addr), ("web.addr", settings.web.addr));
    let listeners: &[(&'static str, SocketAddr)] = match role {
        Role::Daemon => &[broker, web],
        Role::Broker => &[broker],
        Role::Edge => &[web],
        Role::Client => &[],
    };
    let is_exposed = |(_, addr): &&(&str, SocketAddr)| !addr.ip().to_canonical().is_loopback();
    let Some((_, exposed)) = listeners.iter().find(is_exposed) else { return Vec::new() };
    let edge_is_exposed = listeners.iter().any(|listener| listener.0 == web.0 && is_exposed(&listener));

    let mut faults = Vec::new();
    let mut refuse = |key: &'static str, code: &str, message: String| {
        let origin = origins.get(key).map_or("default", String::as_str);
        faults.push(Fault::new(key, origin, format!("{message} ({code})")));
    };
    let keys = &settings.broker.agent_keys;
    if role != Role::Edge && !settings.broker.allow_dev_key && keys.iter().any(|key| key.key.matches(DEV_AGENT_KEY)) {
        for (key, addr) in listeners.iter().filter(is_exposed) {
            let message = format!(
                "{addr} is not loopback, and the agent key is the development key that everybody knows: set AGENT_TOKEN to a key of your own \
                 (or broker.allow_dev_key=true, if you mean it)"
            );
            refuse(key, "unsafe_agent_key", message);
        }
    }
    let token = &settings.broker.operator_token;
    if !token.is_empty() && keys.iter().any(|key| key.key.matches(token.reveal())) {
        let message = "is an agent key too: every agent would be an operator; set OPERATOR_TOKEN to something else";
        refuse("broker.operator_token", "unsafe_operator_token", message.to_owned());
    }
    let everywhere = settings.proxies.trusted.iter().find(|network| is_everywhere(network));
    if let Some(network) = everywhere {
        let message = format!(
            "{network} is everybody, and {exposed} is not loopback: whoever comes could say that it is somebody else; name the addresses of the \
             proxies"
        );
        refuse("proxies.trusted", "unsafe_proxies", message);
    }
    if !edge_is_exposed {
        return faults;
    }
    if settings.web.cookie_secure == CookieSecure::Never {
        let message = format!(
            "false is for loopback, and {} is not: sessions would cross the network in the clear; leave it out, and set web.tls_cert_file or \
             web.tls_acme, or let a proxy speak TLS",
            web.1
        );
        refuse("web.cookie_secure", "unsafe_cookies", message);
    }
    let secret = &settings.auth.jwt_secret;
    let own = [&settings.web.session_secret, &settings.broker.bridge_secret];
    if !secret.is_empty() && PUBLISHED_SECRETS.iter().any(|published| secret.matches(published)) {
        let message = "is a secret that manuals print: anybody could sign tokens; set JWT_SECRET to the issuer's own";
        refuse("auth.jwt_secret", "unsafe_jwt_secret", message.to_owned());
    } else if !secret.is_empty() && own.iter().any(|own| secret.matches(own.reveal())) {
        let message =
            "is SESSION_SECRET or BRIDGE_SECRET too: the issuer could sign any session; set them to secrets of their own";
        refuse("auth.jwt_secret", "unsafe_jwt_secret", message.to_owned());
    }
    faults
}

/// Whether every address of a family is in a network.
fn is_everywhere(network: &Network) -> bool {
    let families: [[IpAddr; 2]; 2] = [
        [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()],
        [Ipv6Addr::from_bits(1 << 127).into(), Ipv6Addr::from_bits(1).into()],
    ];
    families.iter().any(|ends| ends.iter().all(|end| network.contains(*end)))
}
