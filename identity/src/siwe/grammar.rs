//! The grammar that EIP-4361 borrows: URIs (RFC 3986) and times (RFC 3339), as the crates
//! iri-string and time parse them.
//!
//! Callers pass printable ASCII only.

use std::time::SystemTime;

use iri_string::{spec::UriSpec, types::UriReferenceStr, validate};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// `*pchar`
pub(super) fn is_request_id(text: &str) -> bool {
    validate::path_segment::<UriSpec>(text).is_ok()
}

/// One or more of the characters `reserved / unreserved / " "`.
pub(super) fn is_statement(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;= :/?#[]@".contains(&byte))
}

/// `scheme`
pub(super) fn is_scheme(text: &str) -> bool {
    validate::scheme(text).is_ok()
}

/// `[ userinfo "@" ] host [ ":" port ]`, the host not empty.
pub(super) fn is_authority(text: &str) -> bool {
    let has_host = |reference: &str| {
        let parts = UriReferenceStr::new(reference).ok().and_then(UriReferenceStr::authority_components);
        parts.is_some_and(|parts| !parts.host().is_empty())
    };
    validate::authority::<UriSpec>(text).is_ok() && has_host(&format!("//{text}"))
}

/// `scheme ":" hier-part [ "?" query ] [ "#" fragment ]`
pub(super) fn is_uri(text: &str) -> bool {
    validate::iri::<UriSpec>(text).is_ok()
}

/// The moment of an RFC 3339 time in capitals.
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
