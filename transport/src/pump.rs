//! Moves bytes between a socket and an actor: the future that every connection's actor runs.

use std::{
    cell::RefCell,
    io,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix::{Actor, ActorFuture};
use bytes::{Buf, Bytes, BytesMut};
use common::close::CloseCode;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

use crate::{
    frame::FrameError,
    link::{CloseMode, Link},
};

/// Bytes of one read, into a buffer that all connections of a thread share.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of small frames that are copied together for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// Reads of one turn, so that one busy peer does not starve the others of its thread.
const READS_PER_TURN: usize = 2;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
    static WRITE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(WRITE_BYTES));
}

/// Whether to continue with the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Continue.
    Continue,
    /// Keep the rest until [`Inbound::poll_ready`] says so.
    Pause,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The close code: ours if we closed first, else the peer's. [`CloseCode::NO_CODE`] or
    /// [`CloseCode::ABNORMAL`] without one.
    pub code: CloseCode,
    /// Why, for logs and notices.
    pub reason: String,
}

impl End {
    /// As the peer's close frame says; see [`crate::frame::read_close`].
    pub fn by_peer(close: Option<(CloseCode, &str)>) -> Self {
        let (code, reason) = close.unwrap_or((CloseCode::NO_CODE, ""));
        Self { code, reason: reason.to_owned() }
    }
}

/// What an actor does with the bytes of one of its sockets.
pub trait Inbound<A: Actor>: Unpin + 'static {
    /// Ready when the next bytes may be handled; otherwise registers the task to be woken. This is
    /// where senders pause.
    fn poll_ready(&mut self, actor: &mut A, task: &mut Context<'_>) -> Poll<()>;

    /// Handles bytes in place. Empty after a pause: continue with what was kept.
    ///
    /// # Errors
    /// The bytes break the protocol: the connection is closed with the code of the error.
    fn on_bytes(&mut self, actor: &mut A, bytes: &mut [u8], ctx: &mut A::Context) -> Result<Step, FrameError>;

    /// The connection has begun to close with this code. Nothing more is read for it, and nothing
    /// more can be sent. Called once.
    fn on_closing(&mut self, actor: &mut A, code: CloseCode, ctx: &mut A::Context);

    /// The peer has sent its close frame. Nothing more will be read.
    fn peer_close(&self) -> Option<End>;

    /// The connection is over. Called once, last.
    fn on_end(&mut self, actor: &mut A, end: End, ctx: &mut A::Context);
}

/// A socket the pump can drive.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Lets the kernel take a last close frame even if the peer does not read.
    fn lift_unsent_limit(&self);
}

impl Socket for TcpStream {
    fn lift_unsent_limit(&self) {
        // A close that cannot be sent is no worse than one that the peer does not read.
        let _ = socket2::SockRef::from(self).set_tcp_notsent_lowat(u32::MAX);
    }
}

/// The other end is in this process: there is no kernel between that holds anything.
impl Socket for DuplexStream {
    fn lift_unsent_limit(&self) {}
}

impl Socket for Box<dyn Socket> {
    fn lift_unsent_limit(&self) {
        (**self).lift_unsent_limit();
    }
}

/// What was handed to the socket and the kernel has not taken yet.
enum Unsent {
    Nothing,
    Bytes(Bytes),
}

/// The future: reads, hands over, writes, and finishes closing.
pub struct Pump<A, I, S> {
    socket: S,
    link: Arc<Link>,
    inbound: I,
    leftover: BytesMut,
    unsent: Unsent,
    /// Nothing of what was handed to the socket waits in the socket itself, as it may under TLS.
    flushed: bool,
    paused: bool,
    /// Whether the actor wants nothing more at present.
    held: bool,
    reading: bool,
    closing: Closing,
    actor: PhantomData<fn(A)>,
}

#[derive(PartialEq, Eq)]
enum Closing {
    No,
    Begun,
    HalfClosed,
}

impl<A: Actor, I: Inbound<A>, S: Socket> Pump<A, I, S> {
    /// A pump for `socket`; `leftover` came with the handshake and is handled first.
    pub fn new(socket: S, leftover: BytesMut, link: Arc<Link>, inbound: I) -> Self {
        let unsent = Unsent::Nothing;
        Self {
            socket,
            link,
            inbound,
            leftover,
            unsent,
            flushed: true,
            paused: false,
            held: false,
            reading: true,
            closing: Closing::No,
            actor: PhantomData,
        }
    }

    fn drive(&mut self, actor: &mut A, ctx: &mut A::Context, task: &mut Context<'_>) -> Poll<End> {
        if self.link.is_killed() {
            return Poll::Ready(self.ended_by_us("the socket was dropped"));
        }
        if let Err(end) = self.read(actor, ctx, task) {
            return Poll::Ready(end);
        }
        if self.closing == Closing::No
            && let Some(code) = self.link.closing()
        {
            self.socket.lift_unsent_limit();
            self.closing = Closing::Begun;
            self.inbound.on_closing(actor, code, ctx);
        }
        if let Err(error) = self.write(task) {
            return Poll::Ready(self.broken(&error));
        }
        self.finish(task)
    }

    fn read(&mut self, actor: &mut A, ctx: &mut A::Context, task: &mut Context<'_>) -> Result<(), End> {
        let mut leftover = std::mem::take(&mut self.leftover);
        let mut reads = 0;
        loop {
            if self.reading {
                let held = self.inbound.poll_ready(actor, task).is_pending();
                if held != self.held {
                    self.held = held;
                    self.link.hold(held);
                }
                if held {
                    self.leftover = leftover;
                    return Ok(());
                }
            }
            if self.reading && (self.paused || !leftover.is_empty()) {
                self.handle(actor, &mut leftover, ctx);
                leftover = BytesMut::new();
                continue;
            }
            if reads == READS_PER_TURN {
                task.waker().wake_by_ref();
                return Ok(());
            }
            reads += 1;
            let outcome = READ.with_borrow_mut(|buffer| {
                let mut space = ReadBuf::new(buffer);
                match Pin::new(&mut self.socket).poll_read(task, &mut space) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    Poll::Ready(Ok(())) => {
                        let bytes = space.filled_mut();
                        // Once we have sent our close, later bytes are for nobody.
                        if self.reading && !bytes.is_empty() && self.link.closing().is_none() {
                            self.link
                                .policy()
                                .counts
                                .bytes_in
                                .fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
                            self.link.touch();
                            handle(&self.link, &mut self.inbound, &mut self.paused, &mut self.reading, actor, bytes, ctx);
                        }
                        Poll::Ready(Ok(bytes.len()))
                    }
                }
            });
            match outcome {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(self.at_end_of_stream()),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Err(self.broken(&error)),
            }
        }
    }

    fn handle(&mut self, actor: &mut A, bytes: &mut [u8], ctx: &mut A::Context) {
        handle(&self.link, &mut self.inbound, &mut self.paused, &mut self.reading, actor, bytes, ctx);
    }

    fn write(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        loop {
            if let Unsent::Bytes(bytes) = &mut self.unsent {
                self.flushed = false;
                let Poll::Ready(written) = Pin::new(&mut self.socket).poll_write(task, bytes) else { return Ok(()) };
                let written = none_is_an_error(written?)?;
                bytes.advance(written);
                if bytes.is_empty() {
                    self.unsent = Unsent::Nothing;
                }
                self.link.on_written(written);
                continue;
            }
            let wrote = WRITE.with_borrow_mut(|copy| {
                copy.clear();
                if let Some(big) = self.link.take(copy, WRITE_BYTES) {
                    self.unsent = Unsent::Bytes(big);
                    return Ok(true);
                }
                if copy.is_empty() {
                    return Ok(false);
                }
                self.flushed = false;
                let written = match Pin::new(&mut self.socket).poll_write(task, copy) {
                    Poll::Ready(written) => none_is_an_error(written?)?,
                    Poll::Pending => 0,
                };
                if written < copy.len() {
                    self.unsent = Unsent::Bytes(Bytes::copy_from_slice(&copy[written..]));
                }
                self.link.on_written(written);
                Ok::<_, io::Error>(true)
            })?;
            if !wrote {
                return self.flush(task);
            }
        }
    }

    fn flush(&mut self, task: &mut Context<'_>) -> io::Result<()> {
        if !self.flushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(task)
        {
            flushed?;
            self.flushed = true;
        }
        Ok(())
    }

    /// Half-closes once the close frame is sent, and waits for the peer to do the same.
    fn finish(&mut self, task: &mut Context<'_>) -> Poll<End> {
        if !self.link.is_close_written() {
            return Poll::Pending;
        }
        if self.closing != Closing::HalfClosed {
            // An error here means that the peer has already gone.
            let _ = ready!(Pin::new(&mut self.socket).poll_shutdown(task));
            self.closing = Closing::HalfClosed;
        }
        match self.inbound.peer_close() {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }

    fn at_end_of_stream(&self) -> End {
        match self.inbound.peer_close() {
            Some(end) => end,
            None => self.ended_by_us("the peer vanished without closing"),
        }
    }

    fn broken(&self, error: &io::Error) -> End {
        self.ended_by_us(&format!("the connection broke: {}", error.kind()))
    }

    fn ended_by_us(&self, otherwise: &str) -> End {
        match self.link.closing() {
            Some(code) => End { code, reason: "closed by the server".to_owned() },
            None => End { code: CloseCode::ABNORMAL, reason: otherwise.to_owned() },
        }
    }
}

/// Hands bytes to the actor. Separate from `Pump`, so that the thread's buffer can be borrowed
/// meanwhile.
fn handle<A: Actor, I: Inbound<A>>(
    link: &Link,
    inbound: &mut I,
    paused: &mut bool,
    reading: &mut bool,
    actor: &mut A,
    bytes: &mut [u8],
    ctx: &mut A::Context,
) {
    match inbound.on_bytes(actor, bytes, ctx) {
        Ok(step) => *paused = step == Step::Pause,
        Err(error) => {
            link.close(error.close_code(), &error.to_string(), CloseMode::Discard);
            *reading = false;
        }
    }
    if inbound.peer_close().is_some() {
        *reading = false;
    }
}

fn none_is_an_error(written: usize) -> io::Result<usize> {
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

impl<A: Actor, I: Inbound<A>, S: Socket> ActorFuture<A> for Pump<A, I, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, actor: &mut A, ctx: &mut A::Context, task: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.link.register_writer(task.waker());
        let end = ready!(this.drive(actor, ctx, task));
        this.link.end();
        this.inbound.on_end(actor, end, ctx);
        Poll::Ready(())
    }
}
