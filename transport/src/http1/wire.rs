//! One connection's socket, codec and buffers. Everything is polled; nothing here uses a clock.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use actix_codec::{Decoder, Encoder};
use actix_http::{
    Request, Response, ServiceConfig,
    body::BodySize,
    error::PayloadError,
    h1::{Codec, Message, MessageType},
};
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::head::{self, HeadFault, MAX_HEAD};
use crate::{accept::Upgraded, stream::Stream};

/// Bytes of one read.
const READ_BYTES: usize = 8 * 1024;
/// Bytes of output at which encoding pauses.
const FULL: usize = 32 * 1024;

/// Why no request was read.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The client has gone, in order or not.
    Gone,
    /// What it sent is not a request.
    Fault(HeadFault),
}

/// What is still to come of the present request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Incoming {
    /// Nothing.
    Nothing,
    /// A body that the client sends after it is told to.
    Expected,
    /// A body.
    Body,
    /// A body that was cut off, or cannot be told from what follows.
    Broken,
}

/// See the module.
pub(super) struct Wire {
    stream: Stream,
    codec: Codec,
    input: BytesMut,
    output: BytesMut,
    incoming: Incoming,
    exchange: u64,
}

impl Wire {
    pub(super) fn new(stream: Stream, config: ServiceConfig) -> Self {
        Self {
            stream,
            codec: Codec::new(config),
            input: BytesMut::new(),
            output: BytesMut::new(),
            incoming: Incoming::Nothing,
            exchange: 0,
        }
    }

    /// The number of the present exchange.
    pub(super) const fn exchange(&self) -> u64 {
        self.exchange
    }

    /// Ready when bytes of the next request are here. `false`: there will be none.
    pub(super) fn poll_begin(&mut self, task: &mut Context<'_>) -> Poll<bool> {
        if !self.input.is_empty() {
            return Poll::Ready(true);
        }
        // An idle connection holds no buffer.
        (self.input, self.output) = (BytesMut::new(), BytesMut::new());
        Poll::Ready(matches!(ready!(self.poll_fill(task)), Ok(1..)))
    }

    /// Reads the head of a request.
    pub(super) fn poll_head(&mut self, task: &mut Context<'_>) -> Poll<Result<Request, NoRequest>> {
        let mut news = 0;
        loop {
            // A head ends with a line, so bytes that complete no line need not be parsed again.
            let has_line = self.input.get(news..).is_some_and(|fresh| fresh.contains(&b'\n'));
            let is_worth_a_look = news == 0 || has_line || self.input.len() >= MAX_HEAD;
            if is_worth_a_look && head::check(&self.input).map_err(NoRequest::Fault)? {
                return Poll::Ready(self.decode_head());
            }
            news = self.input.len();
            if !matches!(ready!(self.poll_fill(task)), Ok(1..)) {
                return Poll::Ready(Err(NoRequest::Gone));
            }
        }
    }

    fn decode_head(&mut self) -> Result<Request, NoRequest> {
        let Ok(Some(Message::Item(request))) = self.codec.decode(&mut self.input) else {
            return Err(NoRequest::Fault(HeadFault::Malformed("its length or its target cannot be read")));
        };
        self.exchange += 1;
        self.incoming = match self.codec.message_type() {
            MessageType::None => Incoming::Nothing,
            MessageType::Payload if request.head().expect() => Incoming::Expected,
            MessageType::Payload => Incoming::Body,
            // Whatever follows is for the requested protocol. Without an upgrade its meaning is
            // unknown.
            MessageType::Stream => Incoming::Broken,
        };
        Ok(request)
    }

    /// Whether the present request has a body to read.
    pub(super) const fn has_body(&self) -> bool {
        matches!(self.incoming, Incoming::Expected | Incoming::Body)
    }

    /// Whether the present request has been read to its end, so that another can follow.
    pub(super) const fn is_whole(&self) -> bool {
        matches!(self.incoming, Incoming::Nothing)
    }

    /// The next bytes of the body of an exchange.
    pub(super) fn poll_body(&mut self, exchange: u64, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, PayloadError>>> {
        if exchange != self.exchange {
            return Poll::Ready(None);
        }
        if self.incoming == Incoming::Expected {
            self.incoming = Incoming::Body;
            self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        // These few bytes are sent at once. What does not fit goes before the answer.
        if !self.output.is_empty()
            && let Poll::Ready(Err(error)) = self.poll_flush(task)
        {
            return self.broken(PayloadError::Io(error));
        }
        loop {
            match self.incoming {
                Incoming::Nothing => return Poll::Ready(None),
                Incoming::Broken | Incoming::Expected => return self.broken(PayloadError::Incomplete(None)),
                Incoming::Body => {}
            }
            match self.codec.decode(&mut self.input) {
                Ok(Some(Message::Chunk(Some(bytes)))) => return Poll::Ready(Some(Ok(bytes))),
                Ok(Some(_)) => self.incoming = Incoming::Nothing,
                Ok(None) => match ready!(self.poll_fill(task)) {
                    Ok(1..) => {}
                    Ok(0) => return self.broken(PayloadError::Incomplete(None)),
                    Err(error) => return self.broken(PayloadError::Io(error)),
                },
                Err(_) => return self.broken(PayloadError::EncodingCorrupted),
            }
        }
    }

    fn broken(&mut self, error: PayloadError) -> Poll<Option<Result<Bytes, PayloadError>>> {
        self.incoming = Incoming::Broken;
        Poll::Ready(Some(Err(error)))
    }

    fn poll_fill(&mut self, task: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // The buffer doubles when it is full, up to a few heads.
        self.input.reserve(1);
        if self.input.capacity() < READ_BYTES {
            self.input.reserve(READ_BYTES - self.input.len());
        }
        pin!(self.stream.read_buf(&mut self.input)).poll(task)
    }

    /// Encodes the head of an answer.
    pub(super) fn encode_head(&mut self, response: Response<()>, size: BodySize) -> io::Result<()> {
        self.codec.encode(Message::Item((response, size)), &mut self.output)
    }

    /// Replaces the output with an answer to something that was not a request.
    pub(super) fn encode_refusal(&mut self, response: Response<()>, body: Bytes) -> io::Result<()> {
        // What the former request said about its answer does not apply to this one.
        self.codec = Codec::new(self.codec.config().clone());
        self.incoming = Incoming::Broken;
        self.encode_head(response, BodySize::Sized(body.len() as u64))?;
        self.encode_body(Some(body))?;
        self.encode_body(None)
    }

    /// Encodes bytes of an answer's body; `None`: its end.
    pub(super) fn encode_body(&mut self, bytes: Option<Bytes>) -> io::Result<()> {
        self.codec.encode(Message::Chunk(bytes), &mut self.output)
    }

    /// Whether the output must be written before more is encoded.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() >= FULL
    }

    /// Whether the client may send another request after this answer.
    pub(super) fn keeps_alive(&self) -> bool {
        self.codec.keep_alive()
    }

    /// Writes some of the output. Returns how many bytes; 0 if everything was written.
    pub(super) fn poll_write(&mut self, task: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.output.is_empty() {
            return Pin::new(&mut self.stream).poll_flush(task).map_ok(|()| 0);
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(task, &self.output))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.output.advance(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while ready!(self.poll_write(task))? > 0 {}
        Poll::Ready(Ok(()))
    }

    /// Ends the server's half of the connection.
    pub(super) fn poll_shutdown(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    /// Ready when the client has gone while it is being answered. If it sends more instead, it is
    /// not read any further; then a client that has gone is noticed when it does not take its
    /// answer.
    pub(super) fn poll_gone(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(task)) {
            Ok(1..) => Poll::Pending,
            Ok(0) | Err(_) => Poll::Ready(()),
        }
    }

    /// Reads and discards bytes. Ready when the client has ended.
    pub(super) fn poll_discard(&mut self, task: &mut Context<'_>) -> Poll<()> {
        let mut nowhere = [0; READ_BYTES];
        loop {
            let mut space = tokio::io::ReadBuf::new(&mut nowhere);
            let outcome = ready!(Pin::new(&mut self.stream).poll_read(task, &mut space));
            if outcome.is_err() || space.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }

    /// The bare socket.
    pub(super) fn into_upgraded(self) -> Upgraded {
        Upgraded { socket: self.stream, leftover: self.input }
    }
}
