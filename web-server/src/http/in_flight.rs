//! Requests in progress: counted from their first handler to the last byte of their answer, so that
//! a draining edge knows when nobody waits any more. Idle keep-alive connections do not count, and
//! neither do long answers: those are among the open sockets.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use bytes::Bytes;
use transport::lasts_long;

/// Their number.
#[derive(Debug, Default)]
pub struct InFlight(AtomicUsize);

impl InFlight {
    /// The present number.
    pub fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// One request, while it lives.
struct Guard(Arc<InFlight>);

impl Guard {
    fn new(counter: Arc<InFlight>) -> Self {
        counter.0.fetch_add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A body that counts as in progress until it has been sent.
struct Counted {
    body: BoxBody,
    _guard: Guard,
}

impl MessageBody for Counted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(task)
    }
}

/// Middleware: counts the request until its answer has been sent.
///
/// # Errors
/// Those of the services inside.
pub async fn count_in_flight(
    counter: web::Data<InFlight>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let guard = Guard::new(counter.into_inner());
    let response = next.call(request).await?;
    if lasts_long(response.response()) {
        return Ok(response.map_into_boxed_body());
    }
    Ok(response.map_body(|_, body| Counted { body: body.boxed(), _guard: guard }.boxed()))
}
