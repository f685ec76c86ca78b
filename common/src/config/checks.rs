//! The forms that textual settings must have.

use tracing_subscriber::EnvFilter;

use crate::network::is_loopback;

/// `ws://host:port` or `ws://host`, or the same with `wss`; followed by one slash at most.
pub(super) fn is_ws_url(text: &str) -> bool {
    let rest = text.strip_prefix("ws://").or_else(|| text.strip_prefix("wss://"));
    rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)).is_some_and(is_authority)
}

/// `host:port` of `ws://host[:port][/]` or `wss://host[:port][/]`.
pub fn ws_authority(url: &str) -> String {
    let (rest, port) = match url.strip_prefix("wss://") {
        Some(rest) => (rest, 443),
        None => (url.strip_prefix("ws://").unwrap_or(url), 80),
    };
    let rest = rest.trim_end_matches('/');
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    if has_port { rest.to_owned() } else { format!("{rest}:{port}") }
}

/// `scheme://host[:port]`, as browsers send it in `Origin`.
pub(super) fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
            && is_authority(rest)
            && !rest.bytes().any(|byte| byte.is_ascii_uppercase())
    })
}

/// `https://host[:port]` and a path.
pub(super) fn is_https_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    is_authority(authority) && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// A DNS name of at least two labels, without a wildcard, because one name is proved.
pub(super) fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    text.len() <= 253 && text.contains('.') && text.split('.').all(is_label) && text.parse::<std::net::Ipv4Addr>().is_err()
}

/// A host's name without a port, or `*.` and a suffix of names.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label =
        |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Text with an `@` inside. Whether it is a working address is not checked.
pub(super) fn is_mail_address(text: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic() && !b"@<>,;".contains(&byte));
    text.split_once('@').is_some_and(|(name, host)| is_part(name) && is_part(host))
}

/// 1 to 128 characters of the set for agent ids.
pub(super) fn is_agent_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/@+".contains(&byte))
}

/// The name of a topic, or a prefix followed by `*`.
pub(super) fn is_topic_pattern(text: &str) -> bool {
    text == "*" || is_agent_id(text.strip_suffix('*').unwrap_or(text))
}

/// A pattern of ids or topics: their characters, `*` and `?`.
pub(super) fn is_pattern(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/@+*?".contains(&byte))
}

/// `https://host[:port][/path][?query]`. On loopback also `http`, because nobody listens in there.
pub(super) fn is_key_url(text: &str) -> bool {
    let (rest, loopback_only) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (rest, false),
        (None, Some(rest)) => (rest, true),
        (None, None) => return false,
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    is_authority(authority)
        && (!loopback_only || is_loopback(authority))
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Visible ASCII.
pub(super) fn is_visible(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Printable ASCII on one line, at most 1024.
pub(super) fn is_line(text: &str) -> bool {
    (1..=1024).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// A filter that tracing accepts.
pub(super) fn is_log_filter(text: &str) -> bool {
    !text.is_empty() && EnvFilter::builder().parse(text).is_ok()
}

/// `host[:port]`; the host a name, an IPv4 address or an IPv6 address in brackets. No user, no
/// password.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", port),
            _ => return false,
        },
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let host_is_good = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let port_is_good =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    host_is_good && port_is_good
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_host_and_no_path_or_user() {
        for good in ["ws://127.0.0.1:8080", "ws://broker", "ws://[::1]:8080/", "ws://my_broker.internal:1/", "wss://broker:8443"]
        {
            assert!(is_ws_url(good), "{good}");
        }
        for bad in ["", "ws://", "wss://", "http://broker", "ws://u:p@broker", "ws://b/ws", "ws://b:0", "ws://b:x", "ws://[::1"] {
            assert!(!is_ws_url(bad), "{bad}");
        }
    }

    #[test]
    fn urls_become_host_and_port() {
        for (url, expected) in [
            ("ws://127.0.0.1:8080", "127.0.0.1:8080"),
            ("ws://broker/", "broker:80"),
            ("ws://[::1]:9/", "[::1]:9"),
            ("ws://[::1]", "[::1]:80"),
            ("wss://broker", "broker:443"),
            ("wss://broker:8443/", "broker:8443"),
        ] {
            assert_eq!(ws_authority(url), expected);
        }
    }

    #[test]
    fn origins_are_scheme_and_host() {
        for good in ["https://app.example", "http://localhost:5173", "chrome-extension://abc"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["*", "app.example", "https://", "https://a/b", "HTTPS://a", "https://A.example"] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_without_ports() {
        for good in ["bridge.example", "broker", "my_broker.internal", "*.bridge.example", "B.Example"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "*", "*.", "a..b", ".a", "a.", "a:80", "https://a", "a.*", "a/b", "[::1]", "u@a"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn domains_directories_and_mail_addresses() {
        for good in ["bridge.example", "a-b.c.example"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", "localhost", "*.example", ".example", "a..b", "-a.b", "1.2.3.4", "a.b:443", "a/b.c"] {
            assert!(!is_domain(bad), "{bad}");
        }
        assert!(is_https_url("https://ca.example/dir") && is_https_url("https://127.0.0.1:14000/dir"));
        assert!(!is_https_url("http://ca.example/dir") && !is_https_url("https://u@ca/dir") && !is_https_url("https://ca/a b"));
        assert!(is_mail_address("a@b.example") && !is_mail_address("a.example") && !is_mail_address("a@b@c"));
    }

    #[test]
    fn keys_are_fetched_over_https_only_but_from_ones_own_machine() {
        for good in
            ["https://issuer.example/.well-known/jwks.json", "http://127.0.0.1:9/keys?a=b", "http://[::1]/", "https://a:1"]
        {
            assert!(is_key_url(good), "{good}");
        }
        for bad in
            ["http://issuer.example/keys", "https://", "ftp://a", "https://u:p@a/", "https://a b", "http://127.evil.example@b/"]
        {
            assert!(!is_key_url(bad), "{bad}");
        }
    }

    #[test]
    fn filters_are_what_tracing_takes() {
        assert!(is_log_filter("info,transport=debug"));
        assert!(!is_log_filter("info,transport=loud"));
        assert!(!is_log_filter(""));
    }
}
