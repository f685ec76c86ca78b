//! The forms that textual settings must have.

use tracing_subscriber::EnvFilter;

/// `ws://host:port` or `ws://host`, nothing after it but one slash.
pub(super) fn is_ws_url(text: &str) -> bool {
    text.strip_prefix("ws://").map(|rest| rest.strip_suffix('/').unwrap_or(rest)).is_some_and(is_authority)
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

/// 1 to 128 characters of the set that ids of agents are made of.
pub(super) fn is_agent_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/@+".contains(&byte))
}

/// The name of a topic, or the beginning of one followed by `*`.
pub(super) fn is_topic_pattern(text: &str) -> bool {
    text == "*" || is_agent_id(text.strip_suffix('*').unwrap_or(text))
}

/// What tracing takes as a filter.
pub(super) fn is_log_filter(text: &str) -> bool {
    !text.is_empty() && EnvFilter::builder().parse(text).is_ok()
}

/// `host[:port]`; the host a name, an IPv4 address or an IPv6 address in brackets. No user, no password.
fn is_authority(text: &str) -> bool {
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
        for good in ["ws://127.0.0.1:8080", "ws://broker", "ws://[::1]:8080/", "ws://my_broker.internal:1/"] {
            assert!(is_ws_url(good), "{good}");
        }
        for bad in
            ["", "ws://", "wss://broker", "http://broker", "ws://u:p@broker", "ws://b/ws", "ws://b:0", "ws://b:x", "ws://[::1"]
        {
            assert!(!is_ws_url(bad), "{bad}");
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
    fn filters_are_what_tracing_takes() {
        assert!(is_log_filter("info,transport=debug"));
        assert!(!is_log_filter("info,transport=loud"));
        assert!(!is_log_filter(""));
    }
}
