//! Answers over HTTP that come later, such as the answer of a peer that was asked.
//!
//! An ordinary request holds a place among the handshakes of its listener and of its address until
//! it is answered. A handler that waits for somebody else returns [`answer_later`]: the places are
//! given back, and the answer is sent when it is ready. Its maker must therefore count the request
//! among what it bounds itself, and must end it when the server drains. If the client goes before,
//! the future is dropped. After such an answer the connection is closed.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::HttpResponse;

/// Travels in the response to the loop that serves the connection.
pub(crate) struct Later(Pin<Box<dyn Future<Output = HttpResponse>>>);

impl fmt::Debug for Later {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Later")
    }
}

impl Future for Later {
    type Output = HttpResponse;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<HttpResponse> {
        self.0.as_mut().poll(task)
    }
}

/// A response that is replaced by `answer` when that is ready. The headers that middleware adds to
/// it are added to the answer, as far as the answer does not have them.
pub fn answer_later(answer: impl Future<Output = HttpResponse> + 'static) -> HttpResponse {
    let mut response = HttpResponse::Ok().finish();
    response.extensions_mut().insert(Later(Box::pin(answer)));
    response
}
