//! The server's side of the handshake, in an actix-web handler.

use std::cell::RefCell;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
};
use actix_web_actors::ws;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::BytesMut;

use crate::{pump::Socket, stream::Stream};

/// The subprotocol a client may ask for.
pub const SUBPROTOCOL: &str = "agent-bridge.v1";

/// A socket after its handshake, and the bytes that came right behind it.
#[derive(Debug)]
pub struct Upgraded<S = Stream> {
    /// The socket.
    pub socket: S,
    /// Bytes already read from it.
    pub leftover: BytesMut,
}

impl<S> Upgraded<S> {
    /// A socket that needed no handshake.
    pub fn without_handshake(socket: S) -> Self {
        Self { socket, leftover: BytesMut::new() }
    }
}

impl<S: Socket> Upgraded<S> {
    /// The same, where it does not matter which kind of socket it is.
    pub fn boxed(self) -> Upgraded<Box<dyn Socket>> {
        Upgraded { socket: Box::new(self.socket), leftover: self.leftover }
    }
}

type Start = Box<dyn FnOnce(Upgraded)>;

/// Travels in the response from the handler to the server's upgrade service.
pub(crate) struct Handover(RefCell<Option<Start>>);

impl Handover {
    pub(crate) fn start(&self, upgraded: Upgraded) {
        if let Some(start) = self.0.borrow_mut().take() {
            start(upgraded);
        }
    }
}

/// The request is no valid WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this path speaks WebSocket version 13: {0}")]
pub struct NotAHandshake(&'static str);

/// Answers a handshake. `start` gets the socket once the answer is out, on the same worker thread; it starts the connection's actor.
///
/// # Errors
/// The request is not a WebSocket handshake by RFC 6455 section 4.2.1.
pub fn accept(request: &HttpRequest, start: impl FnOnce(Upgraded) + 'static) -> Result<HttpResponse, NotAHandshake> {
    check(request.headers())?;
    let mut response = ws::handshake_with_protocols(request, &[SUBPROTOCOL])
        .map_err(|_| NotAHandshake("send GET with Upgrade: websocket and Connection: Upgrade"))?
        .finish();
    response.extensions_mut().insert(Handover(RefCell::new(Some(Box::new(start)))));
    Ok(response)
}

/// What actix lets pass and the RFC does not: older drafts' versions, and keys that are not 16 bytes of base64.
fn check(headers: &HeaderMap) -> Result<(), NotAHandshake> {
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(NotAHandshake("send Sec-WebSocket-Version: 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| STANDARD.decode(key.as_bytes()).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(NotAHandshake("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request(version: &str, key: &str) -> HttpRequest {
        TestRequest::get()
            .insert_header(("upgrade", "websocket"))
            .insert_header(("connection", "upgrade"))
            .insert_header(("sec-websocket-version", version))
            .insert_header(("sec-websocket-key", key))
            .to_http_request()
    }

    #[test]
    fn old_versions_and_bad_keys_are_refused() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        assert!(accept(&request("8", key), |_| ()).is_err());
        assert!(accept(&request("13", "c2hvcnQ="), |_| ()).is_err());
        assert!(accept(&request("13", "***"), |_| ()).is_err());
        assert!(accept(&TestRequest::get().to_http_request(), |_| ()).is_err());
    }
}
