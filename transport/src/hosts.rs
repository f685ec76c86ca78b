//! The host rule: a server answers only under its own names.
//!
//! A page of `evil.example` can have that name resolve to this machine (DNS rebinding). To its
//! browser, the page and this server are then one origin. The name in `Host` reveals it, because it
//! is the page's own. IP addresses are always allowed: a browser sends one only if it dials it.
//!
//! Not here: which requests need no name. Each server decides that by its routes.

use actix_web::{HttpRequest, http::header};
use common::network::is_loopback;

/// The names under which a listener answers. See the module.
#[derive(Clone, Debug, Default)]
pub struct HostRule {
    names: Vec<String>,
    /// Suffixes of names, with the dot before them.
    ends: Vec<String>,
}

impl HostRule {
    /// The rule with these names, besides `localhost` and every IP address. Ports are ignored. `*.`
    /// at the beginning matches any name before it.
    pub fn new<'a>(hosts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut rule = Self::default();
        for host in hosts {
            match (host.strip_prefix('*').filter(|end| end.starts_with('.')), name_of(host)) {
                (Some(end), _) => rule.ends.push(end.to_ascii_lowercase()),
                (None, Some(name)) => rule.names.push(name),
                (None, None) => {}
            }
        }
        rule
    }

    /// Whether every host that a request names is allowed: the one in `Host`, and the one of a
    /// target in absolute form. A request without a host is not from a browser, but must name one
    /// all the same.
    pub fn admits(&self, request: &HttpRequest) -> bool {
        let mut named = request.headers().get_all(header::HOST).peekable();
        named.peek().is_some()
            && named.all(|host| host.to_str().is_ok_and(|host| self.allows(host)))
            && request.uri().authority().is_none_or(|authority| self.allows(authority.as_str()))
    }

    /// Whether `host[:port]` is one of the names, `localhost`, a name below it, or an IP address.
    pub fn allows(&self, host: &str) -> bool {
        if is_address(host) {
            return true;
        }
        let Some(name) = name_of(host) else { return false };
        // Browsers resolve names below `localhost` to this machine without asking DNS.
        is_loopback(&name)
            || name.ends_with(".localhost")
            || self.names.contains(&name)
            || self.ends.iter().any(|end| name.len() > end.len() && name.ends_with(end.as_str()))
    }
}

/// The name in `name[:port]` in lower case, without the final dot.
fn name_of(host: &str) -> Option<String> {
    let name = match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return None,
        None => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    is_name.then(|| name.to_ascii_lowercase())
}

/// Whether `ip[:port]` is an address as browsers write it: IPv4 with four parts, IPv6 in brackets.
fn is_address(host: &str) -> bool {
    let is_port =
        |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(rest),
        None => {
            let (address, port) = host.find(':').map_or((host, ""), |colon| host.split_at(colon));
            address.parse::<std::net::Ipv4Addr>().is_ok() && is_port(port)
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn rule() -> HostRule {
        HostRule::new(["bridge.example", "Ports.Example:8443", "*.apps.example"])
    }

    #[test]
    fn own_names_and_addresses_pass_whatever_their_port_case_and_last_dot() {
        for host in [
            "localhost",
            "LOCALHOST:8081",
            "localhost.:8081",
            "app.localhost",
            "127.0.0.1:8081",
            "192.0.2.7",
            "10.0.0.1:1",
            "[::1]:8081",
            "[2001:db8::1]",
            "bridge.example",
            "Bridge.Example:443",
            "bridge.example.",
            "bridge.example.:8081",
            "ports.example",
            "one.apps.example",
            "two.one.Apps.example:80",
        ] {
            assert!(rule().allows(host), "{host}");
        }
    }

    #[test]
    fn every_other_name_is_refused() {
        for host in [
            "",
            ":8081",
            ".",
            "evil.example",
            "evil.example:8081",
            "bridge.example.evil.example",
            "evilbridge.example",
            "apps.example",
            ".apps.example",
            "evilapps.example",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "2130706433",
            "0x7f.1",
            "127.1",
            "::1",
            "[::1",
            "[::1]evil.example",
            "[evil.example]",
            "bridge.example:80:80",
            "bridge.example:evil",
            "bridge.example..",
            "bridge.example/",
            " bridge.example",
            "br\u{ef}dge.example",
        ] {
            assert!(!rule().allows(host), "{host}");
        }
    }

    #[test]
    fn every_host_of_a_request_counts_and_one_is_needed() {
        let admits = |target: &str, hosts: &[&'static str]| {
            let request =
                hosts.iter().fold(TestRequest::with_uri(target), |request, host| request.append_header(("host", *host)));
            rule().admits(&request.to_http_request())
        };
        assert!(admits("/", &["bridge.example"]) && admits("http://bridge.example/", &["bridge.example"]));
        assert!(!admits("/", &[]) && !admits("http://bridge.example/", &[]));
        assert!(!admits("http://evil.example/", &["bridge.example"]) && !admits("http://bridge.example/", &["evil.example"]));
        assert!(!admits("/", &["bridge.example", "evil.example"]) && !admits("/", &["evil.example", "bridge.example"]));
        assert!(admits("//evil.example/", &["bridge.example"]), "a path");
    }
}
