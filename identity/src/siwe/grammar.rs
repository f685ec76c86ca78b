//! The pieces of grammar that EIP-4361 borrows: URIs (RFC 3986) and times (RFC 3339).
//!
//! Judges texts of printable ASCII; the caller has made sure of that. Takes no text apart.

use std::net::Ipv6Addr;
use std::time::SystemTime;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn is_sub_delimiter(byte: u8) -> bool {
    b"!$&'()*+,;=".contains(&byte)
}

/// Whether all is made of `allowed` characters, unreserved ones, delimiters and `%` with two digits.
fn is_made_of(text: &str, allowed: &[u8]) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let is_escape =
            byte == b'%' && [bytes.next(), bytes.next()].iter().all(|digit| digit.is_some_and(|it| it.is_ascii_hexdigit()));
        if !(is_escape || byte != b'%' && (is_unreserved(byte) || is_sub_delimiter(byte) || allowed.contains(&byte))) {
            return false;
        }
    }
    true
}

/// `*pchar`
pub(super) fn is_request_id(text: &str) -> bool {
    is_made_of(text, b":@")
}

/// One or more characters of URIs, and spaces.
pub(super) fn is_statement(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| is_unreserved(byte) || is_sub_delimiter(byte) || b" :/?#[]@".contains(&byte))
}

/// `scheme`
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// `[ userinfo "@" ] host [ ":" port ]`, the host not empty.
pub(super) fn is_authority(text: &str) -> bool {
    let (user, rest) = text.rsplit_once('@').map_or(("", text), |(user, rest)| (user, rest));
    if !is_made_of(user, b":") {
        return false;
    }
    let (host_is_good, port) = match rest.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((literal, port)) => (is_ip_literal(literal), port),
            None => return false,
        },
        None => {
            let (host, port) = rest.find(':').map_or((rest, ""), |colon| rest.split_at(colon));
            (!host.is_empty() && is_made_of(host, b""), port)
        }
    };
    let port_is_good =
        port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    host_is_good && port_is_good
}

fn is_ip_literal(text: &str) -> bool {
    let future = text.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.'));
    let is_future = future.is_some_and(|(version, rest)| {
        !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !rest.is_empty()
            && rest.bytes().all(|byte| is_unreserved(byte) || is_sub_delimiter(byte) || byte == b':')
    });
    is_future || text.parse::<Ipv6Addr>().is_ok()
}

/// `scheme ":" hier-part [ "?" query ] [ "#" fragment ]`
pub(super) fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (hierarchy, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority_is_good, path) = match hierarchy.strip_prefix("//") {
        None => (true, hierarchy),
        Some(rest) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
            // RFC 3986 allows no host at all (file:///x); a login's URI and resources may have one like it.
            (authority.is_empty() || is_authority(authority), path)
        }
    };
    is_scheme(scheme)
        && authority_is_good
        && is_made_of(path, b":@/")
        && is_made_of(query, b":@/?")
        && is_made_of(fragment, b":@/?")
}

/// A time of RFC 3339 in capitals: the moment it names.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    if text.len() > 40 || !text.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ+".contains(&byte)) {
        return None;
    }
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn authorities() {
        for good in ["a.example", "localhost:8080", "127.0.0.1", "u:p@h:1", "[::1]", "[::cafe]:80", "[v1.x:y]", "a%20b", "h:"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in ["", "#x", "a/b", "a b", "[::1", "[x]", "h:a", ":80", "u@", "a%2", "a%zz", "[::1]x", "h:1:2"] {
            assert!(!is_authority(bad), "{bad}");
        }
    }

    #[test]
    fn uris() {
        for good in ["https://a.example/x?y=z#f", "ipfs://Qme7/", "https://[::1]:80", "did:key:z6Mk", "urn:x", "file:///x", "a:"]
        {
            assert!(is_uri(good), "{good}");
        }
        for bad in ["", ":x", "1a:x", "https//x", "https://a b", "https://a/%", "https://[::1", "a:#x#y", "https://a/[", "a:b\\c"]
        {
            assert!(!is_uri(bad), "{bad}");
        }
    }

    #[test]
    fn times() {
        let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(moment("2026-01-01T12:00:00Z"), at(1_767_268_800));
        assert_eq!(moment("2026-01-01T12:00:00.000Z"), at(1_767_268_800));
        assert_eq!(moment("2026-01-01T10:00:00-02:00"), at(1_767_268_800));
        for bad in
            ["", "2026-02-31T12:00:00Z", "2026-01-01 12:00:00Z", "2026-01-01t12:00:00z", "2026-01-01T12:00:00", "1767268800"]
        {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,80}") {
            let _ = (is_authority(&text), is_uri(&text), is_request_id(&text), is_statement(&text), moment(&text));
        }

        #[test]
        fn nothing_time_like_makes_it_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})") {
            let _ = moment(&text);
        }
    }
}
