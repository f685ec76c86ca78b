//! The raw relay: the cost of fan-out and of request and reply with the least possible work.
//!
//! One thread with tokio, its own WebSocket framing, no JSON, no authentication, five bytes of
//! address ([`bench::relay::Op`]). The frames of one read are encoded once and written to each
//! receiver with one write; what the kernel does not accept waits in the receiver's buffer. A
//! receiver with more than 8 MiB waiting is reset. The relay is the lower bound in comparisons: a
//! server that routes messages cannot be much cheaper.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bench::relay::{Frames, Op, Received, put_server_header, upgrade_answer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// The size of the read buffer that all connections share, in bytes.
const READ_BUFFER: usize = 64 * 1024;
/// A receiver with more than this waiting is reset, in bytes.
const MAX_WAITING: usize = 8 * 1024 * 1024;
/// A write buffer that grew beyond this is freed once it is empty, in bytes.
const KEEP_CAPACITY: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8090".into());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(addr).await?;
        let hub = Rc::new(Hub::default());
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            spawn_local(serve(hub.clone(), Rc::new(Peer::new(stream))));
        }
    })
}

/// The state that all connections share.
#[derive(Default)]
struct Hub {
    names: RefCell<HashMap<u32, Rc<Peer>>>,
    channels: RefCell<HashMap<u32, Vec<Rc<Peer>>>>,
    scratch: RefCell<Scratch>,
}

/// Buffers for the current read.
#[derive(Default)]
struct Scratch {
    read: Vec<u8>,
    batch: Vec<u8>,
    touched: Vec<Rc<Peer>>,
}

/// One connection.
struct Peer {
    stream: TcpStream,
    address: Cell<u32>,
    /// Bytes that the kernel has not accepted yet.
    out: RefCell<Vec<u8>>,
    /// The start of a frame whose end has not arrived.
    partial: RefCell<Vec<u8>>,
    blocked: Cell<bool>,
    over: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

enum Ready {
    Read,
    Write,
    Over,
}

async fn serve(hub: Rc<Hub>, peer: Rc<Peer>) {
    let mut upgraded = false;
    loop {
        let outcome = match poll_fn(|context| peer.poll(context)).await {
            Ready::Over => break,
            Ready::Write => peer.flush(),
            Ready::Read => hub.on_readable(&peer, &mut upgraded),
        };
        if outcome.is_err() {
            break;
        }
    }
    hub.names.borrow_mut().retain(|_, other| !Rc::ptr_eq(other, &peer));
    for subscribers in hub.channels.borrow_mut().values_mut() {
        subscribers.retain(|other| !Rc::ptr_eq(other, &peer));
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            address: Cell::new(0),
            out: RefCell::default(),
            partial: RefCell::default(),
            blocked: Cell::new(false),
            over: Cell::new(false),
            waker: RefCell::default(),
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Ready> {
        if self.over.get() {
            return Poll::Ready(Ready::Over);
        }
        if self.blocked.get() && self.stream.poll_write_ready(context).is_ready() {
            return Poll::Ready(Ready::Write);
        }
        if self.stream.poll_read_ready(context).is_ready() {
            return Poll::Ready(Ready::Read);
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Writes `bytes`. What the kernel does not accept now waits.
    fn write(&self, bytes: &[u8]) {
        let taken = if self.out.borrow().is_empty() { self.stream.try_write(bytes).unwrap_or(0) } else { 0 };
        if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            self.out.borrow_mut().extend_from_slice(rest);
            self.block();
        }
    }

    /// Writes what waits.
    fn flush(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        match self.stream.try_write(&out) {
            Ok(taken) if taken == out.len() => {
                out.clear();
                if out.capacity() > KEEP_CAPACITY {
                    *out = Vec::new();
                }
                self.blocked.set(false);
            }
            Ok(taken) => {
                out.drain(..taken);
                self.blocked.set(true);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked.set(true),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Bytes wait: the connection's task must wait for writability, or end the connection if there
    /// are too many.
    fn block(&self) {
        if self.out.borrow().len() > MAX_WAITING {
            socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).ok();
            self.over.set(true);
        }
        if !self.blocked.replace(true) || self.over.get() {
            self.wake();
        }
    }
}

impl Hub {
    fn on_readable(&self, peer: &Rc<Peer>, upgraded: &mut bool) -> io::Result<()> {
        let mut scratch = self.scratch.borrow_mut();
        let Scratch { read, batch, touched } = &mut *scratch;
        read.resize(READ_BUFFER, 0);
        let count = match peer.stream.try_read(read) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut partial = peer.partial.take();
        let fresh = read.get_mut(..count).unwrap_or_default();
        if partial.is_empty() {
            let used = self.on_bytes(peer, fresh, upgraded, batch, touched)?;
            partial.extend_from_slice(fresh.get(used..).unwrap_or_default());
        } else {
            partial.extend_from_slice(fresh);
            let used = self.on_bytes(peer, &mut partial, upgraded, batch, touched)?;
            partial.drain(..used);
        }
        if !partial.is_empty() {
            peer.partial.replace(partial);
        }
        for receiver in touched.drain(..) {
            if !receiver.blocked.get() && !receiver.out.borrow().is_empty() {
                receiver.flush().ok();
                if receiver.blocked.get() {
                    receiver.wake();
                }
            }
        }
        Ok(())
    }

    /// Handles the whole frames in `bytes`. Returns how many bytes they have.
    fn on_bytes(
        &self,
        peer: &Rc<Peer>,
        bytes: &mut [u8],
        upgraded: &mut bool,
        batch: &mut Vec<u8>,
        touched: &mut Vec<Rc<Peer>>,
    ) -> io::Result<usize> {
        let mut used = 0;
        if !*upgraded {
            let Some((head, answer)) = upgrade_answer(bytes)? else {
                return Ok(0);
            };
            peer.write(answer.as_bytes());
            *upgraded = true;
            used = head;
        }
        Ok(used + self.on_frames(peer, bytes.get_mut(used..).unwrap_or_default(), batch, touched)?)
    }

    fn on_frames(
        &self,
        peer: &Rc<Peer>,
        bytes: &mut [u8],
        batch: &mut Vec<u8>,
        touched: &mut Vec<Rc<Peer>>,
    ) -> io::Result<usize> {
        let mut channel = 0;
        let mut frames = Frames::new(bytes);
        while let Some(received) = frames.next()? {
            let message = match received {
                Received::Message(message) => message,
                Received::Ping(payload) => {
                    let mut pong = Vec::new();
                    put_server_header(&mut pong, bench::relay::Opcode::Pong, payload.len());
                    pong.extend_from_slice(payload);
                    peer.write(&pong);
                    continue;
                }
                Received::Close => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            let (op, address, payload) = Op::parse(message).ok_or(io::ErrorKind::InvalidData)?;
            if !batch.is_empty() && (op != Op::Publish || address != channel) {
                self.publish(peer, channel, batch);
            }
            match op {
                Op::Publish => {
                    channel = address;
                    put_message(batch, &[message]);
                }
                Op::Send => {
                    if let Some(receiver) = self.names.borrow().get(&address) {
                        put_message(&mut receiver.out.borrow_mut(), &[&op.head(peer.address.get()), payload]);
                        touched.push(receiver.clone());
                    }
                }
                Op::Name => {
                    peer.address.set(address);
                    self.names.borrow_mut().insert(address, peer.clone());
                    acknowledge(peer, message);
                }
                Op::Subscribe => {
                    self.channels.borrow_mut().entry(address).or_default().push(peer.clone());
                    acknowledge(peer, message);
                }
            }
        }
        if !batch.is_empty() {
            self.publish(peer, channel, batch);
        }
        Ok(frames.used())
    }

    fn publish(&self, sender: &Rc<Peer>, channel: u32, batch: &mut Vec<u8>) {
        if let Some(subscribers) = self.channels.borrow().get(&channel) {
            for subscriber in subscribers.iter().filter(|subscriber| !Rc::ptr_eq(subscriber, sender)) {
                subscriber.write(batch);
            }
        }
        batch.clear();
    }
}

fn acknowledge(peer: &Peer, message: &[u8]) {
    let mut frame = Vec::with_capacity(16);
    put_message(&mut frame, &[message]);
    peer.write(&frame);
}

fn put_message(out: &mut Vec<u8>, parts: &[&[u8]]) {
    put_server_header(out, bench::relay::Opcode::Binary, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}
