//! Checks WebSocket handshakes, for every endpoint.
//!
//! RFC 6455, section 4.2.1; `Connection` and `Upgrade` are lists of tokens by RFC 9110, sections
//! 7.6.1 and 7.8, in one header line or several. `http1::head` has already refused repeated headers
//! and requests with a body.

use actix_http::{Method, RequestHead, Version, header};
use actix_web::http::header::{HeaderMap, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use common::error::{ClientError, ErrorCode};

/// The subprotocol that a client may offer.
pub const SUBPROTOCOL: &str = "agent-bridge.v1";
/// The supported version.
pub const VERSION: &str = "13";
/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// The request is not a valid WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHandshake {
    /// It does not ask for an upgrade. HTTP/1.0 cannot.
    #[error("this path speaks WebSocket version 13: send GET by HTTP/1.1 with Connection: Upgrade and Upgrade: websocket")]
    NotAsked,
    /// It asks for another version, or for none.
    #[error("this path speaks WebSocket version 13: send Sec-WebSocket-Version: 13")]
    Version,
    /// Its key is missing or invalid.
    #[error("Sec-WebSocket-Key must be 16 bytes in base64")]
    Key,
}

impl From<NotAHandshake> for ClientError {
    fn from(fault: NotAHandshake) -> Self {
        let code = match fault {
            NotAHandshake::NotAsked | NotAHandshake::Version => ErrorCode::UpgradeRequired,
            NotAHandshake::Key => ErrorCode::BadRequest,
        };
        Self::with_message(code, fault.to_string())
    }
}

/// Checks that a request is a valid handshake.
///
/// # Errors
/// See [`NotAHandshake`].
pub fn check(head: &RequestHead) -> Result<(), NotAHandshake> {
    let headers = &head.headers;
    let names = |name, token| tokens(headers, name).any(|named: &str| named.eq_ignore_ascii_case(token));
    let is_asked = names(header::CONNECTION, "upgrade") && names(header::UPGRADE, "websocket");
    if head.method != Method::GET || head.version != Version::HTTP_11 || !is_asked {
        return Err(NotAHandshake::NotAsked);
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if text(header::SEC_WEBSOCKET_VERSION) != Some(VERSION) {
        return Err(NotAHandshake::Version);
    }
    let is_key = |key: &str| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
    if !text(header::SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err(NotAHandshake::Key);
    }
    Ok(())
}

/// Joins the lines of a handshake's lists into one line each, which means the same (RFC 9110,
/// section 5.3). The library that answers handshakes reads only the first line.
pub(crate) fn join_lines(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_PROTOCOL] {
        if headers.get_all(&name).nth(1).is_none() {
            continue;
        }
        let lines: Vec<_> = headers.get_all(&name).map(HeaderValue::as_bytes).collect();
        if let Ok(line) = HeaderValue::from_bytes(&lines.join(&b", "[..])) {
            headers.insert(name, line);
        }
    }
}

/// The items of a list, from all lines of a header.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// Checks a valid handshake with some headers changed. `|` separates the lines of a value; with
    /// no lines, the header is left out.
    fn read(change: &[(&'static str, &'static str)], request: TestRequest) -> Result<(), NotAHandshake> {
        let good =
            [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13"), ("sec-websocket-key", KEY)];
        let unchanged = good.iter().filter(|(name, _)| change.iter().all(|(changed, _)| changed != name));
        let mut request = request;
        for (name, lines) in unchanged.chain(change) {
            for line in lines.split('|').filter(|line| !line.is_empty()) {
                request = request.append_header((*name, line));
            }
        }
        let request = request.to_http_request();
        check(request.head())
    }

    #[test]
    fn handshakes_that_the_rfcs_allow_are_accepted() {
        for change in [
            ("upgrade", "WebSocket"),
            ("upgrade", "h2c, websocket"),
            ("upgrade", "h2c|websocket"),
            ("upgrade", ",websocket ,"),
            ("connection", "keep-alive, Upgrade"),
            ("connection", "keep-alive|upgrade"),
            ("sec-websocket-version", " 13 "),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            assert_eq!(read(&[change], TestRequest::get()), Ok(()), "{change:?}");
        }
    }

    #[test]
    fn requests_that_only_resemble_a_handshake_are_refused() {
        use NotAHandshake::{Key, NotAsked, Version as VersionFault};
        for (change, fault) in [
            (("upgrade", ""), NotAsked),
            (("upgrade", "websockets"), NotAsked),
            (("upgrade", "websocket/13"), NotAsked),
            (("upgrade", "not websocket"), NotAsked),
            (("upgrade", "h2c; websocket"), NotAsked),
            (("connection", ""), NotAsked),
            (("connection", "keep-alive"), NotAsked),
            (("connection", "upgraded"), NotAsked),
            (("connection", "websocket"), NotAsked),
            (("sec-websocket-version", ""), VersionFault),
            (("sec-websocket-version", "8"), VersionFault),
            (("sec-websocket-version", "13, 8"), VersionFault),
            (("sec-websocket-version", "013"), VersionFault),
            (("sec-websocket-key", ""), Key),
            (("sec-websocket-key", "c2hvcnQ="), Key),
            (("sec-websocket-key", "***"), Key),
            (("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ"), Key),
            (("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"), Key),
        ] {
            assert_eq!(read(&[change], TestRequest::get()), Err(fault), "{change:?}");
        }
        assert_eq!(read(&[], TestRequest::post()), Err(NotAsked));
        assert_eq!(read(&[], TestRequest::get().version(Version::HTTP_10)), Err(NotAsked));
    }

    #[test]
    fn the_lines_of_a_list_are_joined() {
        let request = TestRequest::get()
            .append_header(("sec-websocket-protocol", "chat"))
            .append_header(("sec-websocket-protocol", "agent-bridge.v1, other"))
            .append_header(("x-other", "a"))
            .append_header(("x-other", "b"))
            .to_http_request();
        let mut headers = request.headers().clone();
        join_lines(&mut headers);
        let lines = |name| headers.get_all(name).filter_map(|line| line.to_str().ok()).collect::<Vec<_>>();
        assert_eq!(lines("sec-websocket-protocol"), ["chat, agent-bridge.v1, other"]);
        assert_eq!(lines("x-other"), ["a", "b"]);
    }
}
