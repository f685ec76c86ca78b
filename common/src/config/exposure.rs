//! Settings that are safe on loopback only. With them no listener opens beyond loopback.
//!
//! Each refusal names the setting, says what to do, and ends in a permanent code. docs/security.md
//! lists them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::faults::Fault;
use super::inputs::Role;
use super::settings::{CookieSecure, DEV_AGENT_KEY, Settings};
use super::strength::{SHOWN, SIGNS, Strength};
use crate::{network::Network, secret::Secret};

/// Signing secrets that manuals and starter kits print, so that everybody knows them.
const PUBLISHED_SECRETS: [&str; 2] =
    ["a-string-secret-at-least-256-bits-long", "super-secret-jwt-token-with-at-least-32-characters-long"];

/// All settings that are too open for the addresses of the listeners.
pub(super) fn check(settings: &Settings, origins: &BTreeMap<&'static str, String>, role: Role) -> Vec<Fault> {
    let (broker, web) = (("broker.addr", settings.broker.addr), ("web.addr", settings.web.addr));
    let mut listeners: Vec<(&'static str, SocketAddr)> = match role {
        Role::Daemon => vec![broker, web],
        Role::Broker => vec![broker],
        Role::Edge => vec![web],
        Role::Client => Vec::new(),
    };
    if matches!(role, Role::Daemon | Role::Edge) {
        listeners.extend(settings.dialects.listeners().map(|(_, key, addr)| (key, addr)));
    }
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
    for (key, message) in weak_secrets(settings, role) {
        refuse(key, "unsafe_weak_secret", message);
    }
    for (key, other) in shared_secrets(settings, role) {
        let message = format!("is the same secret as {other}: who knows one of them knows both; set each to a secret of its own");
        refuse(key, "unsafe_shared_secret", message);
    }
    let token = &settings.broker.operator_token;
    if !token.is_empty() && keys.iter().any(|key| key.key.matches(token.reveal())) {
        let message = "is an agent key too: every agent would be an operator; set OPERATOR_TOKEN to something else";
        refuse("broker.operator_token", "unsafe_operator_token", message.to_owned());
    }
    let everywhere = settings.proxies.trusted.iter().find(|network| is_everywhere(network));
    if let Some(network) = everywhere {
        let message = format!(
            "{network} is everybody, and {exposed} is not loopback: every client could claim another's address; name the addresses of the \
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

/// A configured secret: its setting, its name in messages, and its required strength.
struct Given<'a> {
    key: &'static str,
    name: String,
    secret: &'a Secret,
    strength: Strength,
}

/// The configured secrets of a process with this role. Secrets that the process makes are strong.
fn given(settings: &Settings, role: Role) -> Vec<Given<'_>> {
    let broker = &settings.broker;
    let mut given = Vec::new();
    let mut add = |key: &'static str, name: String, secret, strength| given.push(Given { key, name, secret, strength });
    if role != Role::Edge {
        // The development key has its own refusal.
        for agent in broker.agent_keys.iter().filter(|agent| !agent.key.matches(DEV_AGENT_KEY)) {
            let key = if agent.name == "default" { "broker.agent_token" } else { "broker.agent_keys" };
            add(key, format!("the agent key `{}`", agent.name), &agent.key, SHOWN);
        }
    }
    add("broker.operator_token", "it".to_owned(), &broker.operator_token, SHOWN);
    add("broker.bridge_secret", "it".to_owned(), &broker.bridge_secret, SIGNS);
    if role != Role::Broker {
        add("web.session_secret", "it".to_owned(), &settings.web.session_secret, SIGNS);
        add("auth.jwt_secret", "it".to_owned(), &settings.auth.jwt_secret, SIGNS);
        let supervisor = &settings.dialects.supervisor;
        if supervisor.listener.enabled {
            add("dialects.supervisor.token", "it".to_owned(), &supervisor.token, SHOWN);
            add("dialects.supervisor.twilio_auth_token", "it".to_owned(), &supervisor.twilio_auth_token, SIGNS);
            add("dialects.supervisor.email_secret", "it".to_owned(), &supervisor.email_secret, SHOWN);
        }
    }
    given.retain(|given| !given.secret.is_empty());
    given
}

fn weak_secrets(settings: &Settings, role: Role) -> Vec<(&'static str, String)> {
    let weak = given(settings, role).into_iter().filter(|given| !given.strength.has(given.secret.reveal()));
    weak.map(|Given { key, name, strength: Strength { length, bits }, .. }| {
        let message = format!(
            "{name} can be guessed: a secret that strangers can try has at least {length} characters and an estimated {bits} bits; make one with \
             `openssl rand -hex 32`"
        );
        (key, message)
    })
    .collect()
}

/// Pairs of settings with the same secret. Some pairs have their own refusal.
fn shared_secrets(settings: &Settings, role: Role) -> Vec<(&'static str, &'static str)> {
    let is_agents = |key: &str| key.starts_with("broker.agent_");
    let given = given(settings, role);
    let pairs = given.iter().enumerate().flat_map(|(place, one)| given.iter().skip(place + 1).map(move |other| (one, other)));
    pairs
        .filter(|(one, other)| one.secret.matches(other.secret.reveal()))
        .filter(|(one, other)| !(is_agents(one.key) && is_agents(other.key)))
        .filter(|(one, other)| !(is_agents(one.key) && other.key == "broker.operator_token"))
        .filter(|(one, other)| {
            other.key != "auth.jwt_secret" || !["broker.bridge_secret", "web.session_secret"].contains(&one.key)
        })
        .map(|(one, other)| (other.key, one.key))
        .collect()
}

/// Whether a network contains every address of a family.
fn is_everywhere(network: &Network) -> bool {
    let families: [[IpAddr; 2]; 2] = [
        [Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into()],
        [Ipv6Addr::from_bits(1 << 127).into(), Ipv6Addr::from_bits(1).into()],
    ];
    families.iter().any(|ends| ends.iter().all(|end| network.contains(*end)))
}
