//! Answers over HTTP that last: their body continues as long as there is something to send, such as
//! a stream of events.
//!
//! An ordinary request holds a place among the handshakes of its listener and of its address. A
//! long answer gives both back once its head is ready, as a WebSocket does. Its maker must
//! therefore count it among what it bounds itself, and must end it when the server drains.
//!
//! [`long_answer`] returns an answer and the [`AnswerWriter`] of its body. What the client has not
//! read yet waits in a buffer; [`AnswerWriter::poll_room`] tells whether there is room in it. A
//! client that reads too slowly is cut off by the rules for every answer. After a long answer the
//! connection is closed.

use std::{
    cell::RefCell,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_web::{
    HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
};
use bytes::{Bytes, BytesMut};

use crate::later_answer::Later;

/// Bytes in the buffer from which on its writer should pause.
const HIGH: usize = 64 * 1024;

/// Travels in the response to the loop that serves the connection.
pub(crate) struct LastsLong;

/// Whether [`long_answer`] or [`crate::answer_later`] made this response.
pub fn lasts_long<B>(response: &HttpResponse<B>) -> bool {
    let extensions = response.extensions();
    extensions.contains::<LastsLong>() || extensions.contains::<Later>()
}

/// The writing half of a long answer. Dropping it ends the answer, once what was written has been
/// read.
#[derive(Debug)]
pub struct AnswerWriter(Rc<RefCell<Buffer>>);

/// The body of a long answer. It is dropped when the answer is over, for whatever reason.
#[derive(Debug)]
struct AnswerBody(Rc<RefCell<Buffer>>);

#[derive(Debug, Default)]
struct Buffer {
    bytes: BytesMut,
    /// Nothing more will be written.
    is_ended: bool,
    /// Nothing more will be read.
    is_gone: bool,
    reader: Option<Waker>,
    /// Waits for room.
    writer: Option<Waker>,
    /// Waits for the reader's end.
    watcher: Option<Waker>,
}

/// An answer with this head. It lasts until its writer is dropped or its client goes.
pub fn long_answer(mut head: HttpResponseBuilder) -> (AnswerWriter, HttpResponse) {
    let buffer = Rc::<RefCell<Buffer>>::default();
    let mut response = head.body(AnswerBody(Rc::clone(&buffer)));
    response.extensions_mut().insert(LastsLong);
    (AnswerWriter(buffer), response)
}

impl AnswerWriter {
    /// Writes bytes, even if there is no room: see [`AnswerWriter::poll_room`]. Without a reader
    /// they are dropped.
    pub fn write(&self, bytes: &[u8]) {
        let mut buffer = self.0.borrow_mut();
        if !buffer.is_gone {
            buffer.bytes.extend_from_slice(bytes);
            wake(&mut buffer.reader);
        }
    }

    /// Ready while there is room, or if there is no reader any more.
    pub fn poll_room(&self, task: &mut Context<'_>) -> Poll<()> {
        let mut buffer = self.0.borrow_mut();
        if buffer.is_gone || buffer.bytes.len() < HIGH {
            return Poll::Ready(());
        }
        buffer.writer = Some(task.waker().clone());
        Poll::Pending
    }

    /// Ready when nothing more will be read: the client has gone or was cut off, or everything was
    /// sent.
    pub fn gone(&self) -> impl Future<Output = ()> + use<> {
        let buffer = Rc::clone(&self.0);
        poll_fn(move |task| {
            let mut buffer = buffer.borrow_mut();
            if buffer.is_gone {
                return Poll::Ready(());
            }
            buffer.watcher = Some(task.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for AnswerWriter {
    fn drop(&mut self) {
        let mut buffer = self.0.borrow_mut();
        buffer.is_ended = true;
        wake(&mut buffer.reader);
    }
}

impl MessageBody for AnswerBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        let mut buffer = self.0.borrow_mut();
        if !buffer.bytes.is_empty() {
            let bytes = std::mem::take(&mut buffer.bytes).freeze();
            wake(&mut buffer.writer);
            return Poll::Ready(Some(Ok(bytes)));
        }
        if buffer.is_ended {
            return Poll::Ready(None);
        }
        buffer.reader = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let mut buffer = self.0.borrow_mut();
        buffer.is_gone = true;
        buffer.bytes = BytesMut::new();
        let Buffer { writer, watcher, .. } = &mut *buffer;
        wake(writer);
        wake(watcher);
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    fn answer() -> (AnswerWriter, Pin<Box<AnswerBody>>) {
        let buffer = Rc::<RefCell<Buffer>>::default();
        (AnswerWriter(Rc::clone(&buffer)), Box::pin(AnswerBody(buffer)))
    }

    fn has_room(writer: &AnswerWriter) -> bool {
        writer.poll_room(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn read(body: &mut Pin<Box<AnswerBody>>) -> Poll<Option<Bytes>> {
        body.as_mut().poll_next(&mut Context::from_waker(Waker::noop())).map(|read| read.transpose().expect("infallible"))
    }

    #[test]
    fn the_reader_gets_all_bytes_and_then_the_end() {
        let (writer, mut body) = answer();
        assert_eq!(read(&mut body), Poll::Pending);
        writer.write(b"one ");
        writer.write(b"two");
        assert_eq!(read(&mut body), Poll::Ready(Some(Bytes::from_static(b"one two"))));
        writer.write(b"last");
        drop(writer);
        assert_eq!(read(&mut body), Poll::Ready(Some(Bytes::from_static(b"last"))));
        assert_eq!(read(&mut body), Poll::Ready(None));
    }

    #[test]
    fn a_full_buffer_has_no_room_until_it_is_read() {
        let (writer, mut body) = answer();
        writer.write(&[0; HIGH - 1]);
        assert!(has_room(&writer));
        writer.write(b"x");
        assert!(!has_room(&writer));
        assert!(read(&mut body).is_ready());
        assert!(has_room(&writer));
    }

    #[test]
    fn a_writer_hears_that_its_reader_has_gone_and_keeps_nothing_for_it() {
        let (writer, body) = answer();
        let mut gone = pin!(writer.gone());
        writer.write(&[0; 2 * HIGH]);
        assert!((&mut gone).now_or_never().is_none() && !has_room(&writer));
        drop(body);
        assert!(gone.now_or_never().is_some() && has_room(&writer));
        writer.write(b"more");
        assert!(writer.0.borrow().bytes.is_empty());
    }
}
