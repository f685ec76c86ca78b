//! What a WebSocket handshake asks for: the one reading of it for every endpoint.
//!
//! RFC 6455, section 4.2.1; `Connection` and `Upgrade` are lists of tokens by RFC 9110, sections 7.6.1 and 7.8, in one header line
//! or several. That no header is there twice, and that the request has no body, was seen to before (`http1::head`).

use actix_http::{Method, RequestHead, Version, header};
use actix_web::http::header::HeaderMap;
use base64::{Engine, engine::general_purpose::STANDARD};
use common::error::{ClientError, ErrorCode};

/// The subprotocol a client may ask for.
pub const SUBPROTOCOL: &str = "agent-bridge.v1";
/// The version that is spoken.
pub const VERSION: &str = "13";
/// Bytes of a key.
const KEY_BYTES: usize = 16;

/// The request is no valid WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAHandshake {
    /// It asks for nothing of the kind. HTTP/1.0 cannot.
    #[error("this path speaks WebSocket version 13: send GET by HTTP/1.1 with Connection: Upgrade and Upgrade: websocket")]
    NotAsked,
    /// It asks for another version, or does not say which.
    #[error("this path speaks WebSocket version 13: send Sec-WebSocket-Version: 13")]
    Version,
    /// Its key is missing, or none.
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

/// A handshake that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The client's key.
    pub key: &'a str,
    /// The subprotocol to confirm.
    pub protocol: Option<&'static str>,
}

impl<'a> Handshake<'a> {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// See [`NotAHandshake`].
    pub fn read(head: &'a RequestHead) -> Result<Self, NotAHandshake> {
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
        let is_key = |key: &&str| STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES);
        let key = text(header::SEC_WEBSOCKET_KEY).filter(is_key).ok_or(NotAHandshake::Key)?;
        // Subprotocols are told apart by case.
        let protocol = tokens(headers, header::SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == SUBPROTOCOL);
        Ok(Self { key, protocol: protocol.then_some(SUBPROTOCOL) })
    }
}

/// The items of a list, of all lines of a header.
fn tokens(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// Reads a handshake that is good but for what is changed. Lines of a value are divided by `|`; without any, the header is left out.
    fn read(change: &[(&'static str, &'static str)], request: TestRequest) -> Result<Option<&'static str>, NotAHandshake> {
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
        Handshake::read(request.head()).map(|handshake| {
            assert_eq!(handshake.key, KEY);
            handshake.protocol
        })
    }

    #[test]
    fn what_the_rfcs_allow_is_read() {
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
            assert_eq!(read(&[change], TestRequest::get()), Ok(None), "{change:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_handshake_is_refused() {
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
    fn the_subprotocol_is_confirmed_wherever_it_is_offered() {
        for (offers, confirmed) in [
            ("agent-bridge.v1", true),
            ("chat, agent-bridge.v1", true),
            ("chat|agent-bridge.v1", true),
            ("bearer.token|agent-bridge.v1, chat", true),
            ("agent-bridge.v10", false),
            ("Agent-Bridge.v1", false),
            ("chat", false),
        ] {
            let protocol = read(&[("sec-websocket-protocol", offers)], TestRequest::get());
            assert_eq!(protocol, Ok(confirmed.then_some(SUBPROTOCOL)), "{offers:?}");
        }
    }
}
