//! The server's side of the handshake, in an actix-web handler.

use std::cell::RefCell;

use actix_web::{HttpRequest, HttpResponse};
use actix_web_actors::ws;
use bytes::BytesMut;
use common::error::ClientError;

use crate::{
    handshake::{self, NotAHandshake, SUBPROTOCOL, VERSION},
    pump::Socket,
    stream::Stream,
};

/// A socket after its handshake, and the bytes that came right behind it.
#[derive(Debug)]
pub struct Upgraded<S = Stream> {
    /// Bytes that were already read from it.
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
    /// The same, with the kind of the socket erased.
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

/// Answers a handshake. `start` gets the socket once the answer is sent, on the same worker thread;
/// it starts the connection's actor.
///
/// # Errors
/// The request is not a WebSocket handshake (RFC 6455, section 4.2.1). The error is for the client.
pub fn accept(request: &HttpRequest, start: impl FnOnce(Upgraded) + 'static) -> Result<HttpResponse, ClientError> {
    // The library's check is weaker than the RFC: it also accepts versions of drafts and bad keys.
    handshake::check(request.head())?;
    let answer = ws::handshake_with_protocols(request, &[SUBPROTOCOL]);
    let mut response = answer.map_err(|_| NotAHandshake::NotAsked)?.finish();
    response.extensions_mut().insert(Handover(RefCell::new(Some(Box::new(start)))));
    Ok(response)
}

/// The headers of an answer with status 426: the protocol to upgrade to (RFC 9110, section 15.5.22)
/// and its version (RFC 6455, section 4.4). The first implies `Connection: upgrade`.
pub const UPGRADE_REQUIRED: [(&str, &str); 2] = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)];
