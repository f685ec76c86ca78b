//! Checks the head of a request before anything acts on it: whether it is complete, and whether
//! everybody would read it in the same way.
//!
//! RFC 9110 and RFC 9112 leave much of what is refused here to the server. If two readers of one
//! request could come to different results (two hosts, two lengths, two sets of credentials),
//! neither is right.

use common::error::{ClientError, ErrorCode};

/// The longest head of a request in bytes, and so the most input that a connection holds.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most header lines of a request.
const MAX_LINES: usize = 96;

/// Headers that a request may have only once: their values are not lists, and each of them decides
/// something.
const SINGLE: [&str; 15] = [
    "authorization",
    "content-length",
    "content-type",
    "expect",
    "host",
    "if-modified-since",
    "if-range",
    "origin",
    "range",
    "referer",
    "sec-fetch-site",
    "sec-websocket-key",
    "sec-websocket-version",
    "transfer-encoding",
    "user-agent",
];

/// Why a request is refused because of its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadFault {
    /// It is no head of HTTP/1.
    #[error("the request is not HTTP/1.1: {0}")]
    Malformed(&'static str),
    /// It has more than [`MAX_HEAD`] bytes, or too many lines.
    #[error("the head of the request has more than {MAX_HEAD} bytes or {MAX_LINES} lines")]
    TooLong,
    /// A header that may occur only once is repeated.
    #[error("the request has more than one {0} header")]
    Repeated(&'static str),
    /// It asks for WebSocket and has a body, which would be taken for frames.
    #[error("a request that asks for WebSocket has no body: send neither Content-Length nor Transfer-Encoding")]
    BodyOfUpgrade,
}

impl From<HeadFault> for ClientError {
    fn from(fault: HeadFault) -> Self {
        let code = match fault {
            HeadFault::TooLong => ErrorCode::HeadTooLong,
            _ => ErrorCode::BadRequest,
        };
        Self::with_message(code, fault.to_string())
    }
}

/// Checks what has arrived of a request. `false`: its head is not complete yet.
///
/// # Errors
/// See [`HeadFault`]; as soon as the bytes show it.
pub fn check(bytes: &[u8]) -> Result<bool, HeadFault> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut request = httparse::Request::new(&mut lines);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => {}
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(false),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadFault::TooLong),
        Err(error) => return Err(HeadFault::Malformed(explain(error))),
    }
    for name in SINGLE {
        if of(request.headers, name).nth(1).is_some() {
            return Err(HeadFault::Repeated(name));
        }
    }
    let has_host = of(request.headers, "host").next().is_some();
    if !has_host && request.version == Some(1) {
        return Err(HeadFault::Malformed("it has no Host header"));
    }
    if asks_for_websocket(request.headers) && has_body(request.headers) {
        return Err(HeadFault::BodyOfUpgrade);
    }
    Ok(true)
}

fn of<'a>(lines: &'a [httparse::Header<'_>], name: &'static str) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
}

fn asks_for_websocket(lines: &[httparse::Header<'_>]) -> bool {
    of(lines, "upgrade")
        .flat_map(|value| value.split(|byte| *byte == b','))
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

fn has_body(lines: &[httparse::Header<'_>]) -> bool {
    let length = of(lines, "content-length").next().map(<[u8]>::trim_ascii);
    of(lines, "transfer-encoding").next().is_some() || length.is_some_and(|length| length.iter().any(|digit| *digit != b'0'))
}

const fn explain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "the name of a header has a character that it may not have",
        httparse::Error::HeaderValue => "the value of a header has a character that it may not have",
        httparse::Error::NewLine => "a line does not end with CR LF",
        httparse::Error::Token => "the request line has a character that it may not have",
        httparse::Error::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
        _ => "the head cannot be read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &str) -> Result<bool, HeadFault> {
        check(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes())
    }

    #[test]
    fn every_header_that_decides_something_is_there_once() {
        for name in SINGLE {
            let twice = format!("{name}: 1\r\n{}: 1\r\n", name.to_ascii_uppercase());
            assert_eq!(checked(&twice), Err(HeadFault::Repeated(name)), "{name}");
        }
        for list in ["accept", "cookie", "upgrade", "connection", "sec-websocket-protocol", "x-forwarded-for", "forwarded", "via"]
        {
            assert_eq!(checked(&format!("{list}: a\r\n{list}: b\r\n")), Ok(true), "{list}");
        }
    }

    #[test]
    fn an_upgrade_has_no_body() {
        let websocket = "Connection: Upgrade\r\nUpgrade: other, WebSocket\r\n";
        for (body, fits) in [
            ("", true),
            ("Content-Length: 0\r\n", true),
            ("Content-Length: 000\r\n", true),
            ("Content-Length: 5\r\n", false),
            ("Transfer-Encoding: chunked\r\n", false),
        ] {
            let expected = if fits { Ok(true) } else { Err(HeadFault::BodyOfUpgrade) };
            assert_eq!(checked(&format!("{websocket}{body}")), expected, "{body}");
            assert_eq!(checked(&format!("Upgrade: websockets\r\n{body}")), Ok(true), "{body}");
        }
    }

    #[test]
    fn heads_are_bounded_and_faults_are_found_early() {
        assert_eq!(check(b""), Ok(false));
        assert_eq!(check(b"GET / HTTP/1.1\r\nHost"), Ok(false));
        assert!(matches!(check(b"\x16\x03\x01\x02"), Err(HeadFault::Malformed(_))));
        assert!(matches!(check(b"GET / HTTP/3"), Err(HeadFault::Malformed(_))));
        assert!(matches!(check(b"GET / HTTP/1.1\r\n\r\n"), Err(HeadFault::Malformed(_))), "no host");
        assert_eq!(check(b"GET / HTTP/1.0\r\n\r\n"), Ok(true));
        assert_eq!(checked(&format!("X: {}\r\n", "x".repeat(MAX_HEAD))), Err(HeadFault::TooLong));
        assert_eq!(check(format!("GET /{}", "x".repeat(MAX_HEAD)).as_bytes()), Err(HeadFault::TooLong));
        assert_eq!(checked(&"X: y\r\n".repeat(MAX_LINES)), Err(HeadFault::TooLong));
        // What follows a complete head does not count.
        let behind = format!("GET / HTTP/1.1\r\nHost: a\r\n\r\n{}", "x".repeat(2 * MAX_HEAD));
        assert_eq!(check(behind.as_bytes()), Ok(true));
    }
}
