//! A request's body for handlers: read from the socket when a handler asks for it, and not before.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;

use super::wire::Wire;

/// See the module. It ends with its exchange, even if a handler keeps it.
pub(super) struct RequestBody {
    wire: Rc<RefCell<Wire>>,
    exchange: u64,
}

impl RequestBody {
    /// The body of the request that `wire` has just read the head of.
    pub(super) fn new(wire: &Rc<RefCell<Wire>>) -> Self {
        let exchange = wire.borrow().exchange();
        Self { wire: Rc::clone(wire), exchange }
    }
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.wire.borrow_mut().poll_body(self.exchange, task)
    }
}
