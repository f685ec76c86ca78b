//! Turns readiness of sockets into frames.

use std::io::{self, Read};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};

use super::conns::{Conns, Ending, Phase};
use super::frame::{Header, Opcode, close_code, header};
use super::upgrade::{Dial, Upgrade, answer};
use super::wire::Wire;
use crate::fault::Fault;

/// The size of the read buffer that all connections share, in bytes.
const READ_BUFFER: usize = 256 * 1024;
/// The start of a frame up to this length is copied before the next read; a longer one is collected
/// in its connection, in bytes.
const CARRY: usize = 16 * 1024;

/// How many connections have the same source address. Beyond about half of the ephemeral ports the
/// kernel takes ever longer to find a free one.
const PER_SOURCE: usize = 8000;

/// Receives the events of the connections.
pub trait Sink {
    /// The upgrade succeeded.
    fn on_open(&mut self, conns: &mut Conns, conn: usize) -> Result<(), Fault>;
    /// A whole text or binary message arrived.
    fn on_message(&mut self, conns: &mut Conns, conn: usize, message: &[u8]) -> Result<(), Fault>;
    /// A connection has ended.
    fn on_end(&mut self, conns: &mut Conns, conn: usize, ending: Ending) -> Result<(), Fault>;
}

/// All sockets of a run.
pub struct Net {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// The connections.
    pub conns: Conns,
}

impl Net {
    /// A network without connections.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(4096),
            buffer: vec![0; READ_BUFFER],
            conns: Conns::default(),
        })
    }

    /// Starts to connect. Returns the index of the new connection.
    pub fn dial(&mut self, dial: &Dial) -> io::Result<usize> {
        let mut stream = connect(dial.addr, self.conns.len())?;
        stream.set_nodelay(true)?;
        let token = Token(self.conns.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(self.conns.push(Wire::new(stream, dial.tls.as_ref())?, &dial.request))
    }

    /// One turn: writes queued bytes, waits up to `timeout` for events, handles them, and writes
    /// what that queued.
    pub fn turn(&mut self, timeout: Option<Duration>, sink: &mut impl Sink) -> Result<(), Fault> {
        self.conns.flush();
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let events = mem::replace(&mut self.events, Events::with_capacity(0));
        let outcome = events.iter().try_for_each(|event| self.on_event(event, sink));
        self.events = events;
        self.conns.flush();
        outcome
    }

    /// Makes a connection stop reading (`true`) or read again. Bytes that have waited are read at
    /// once.
    pub fn set_stuck(&mut self, conn: usize, stuck: bool, sink: &mut impl Sink) -> Result<(), Fault> {
        if let Some(found) = self.conns.get_mut(conn) {
            found.stuck = stuck;
        }
        if stuck { Ok(()) } else { self.read(conn, true, sink) }
    }

    fn on_event(&mut self, event: &Event, sink: &mut impl Sink) -> Result<(), Fault> {
        let Token(conn) = event.token();
        let Some(found) = self.conns.get_mut(conn) else {
            return Ok(());
        };
        let over = event.is_read_closed() || event.is_error();
        if event.is_writable() {
            if found.phase == Phase::Dialling
                && found.stream.tcp().take_error()?.is_none()
                && found.stream.tcp().peer_addr().is_ok()
            {
                found.phase = Phase::Upgrading;
            }
            found.flush();
        }
        found.hung_up |= over;
        if event.is_readable() || over { self.read(conn, over, sink) } else { Ok(()) }
    }

    /// Reads until the kernel has no more bytes. A short read shows that, except when the end of
    /// the stream has to be found as well.
    fn read(&mut self, conn: usize, to_the_end: bool, sink: &mut impl Sink) -> Result<(), Fault> {
        loop {
            let Some(found) = self.conns.get_mut(conn) else {
                return Ok(());
            };
            if found.stuck || matches!(found.phase, Phase::Ended(_)) {
                return Ok(());
            }
            let mut partial = mem::take(&mut found.partial);
            // A short start is copied to the front of the shared buffer, so that no other bytes are
            // copied.
            let carried = if partial.len() <= CARRY { partial.len() } else { 0 };
            if let Some(front) = self.buffer.get_mut(..carried) {
                front.copy_from_slice(partial.get(..carried).unwrap_or_default());
            }
            let space = self.buffer.get_mut(carried..).unwrap_or_default();
            let room = space.len();
            let to_the_end = to_the_end || !found.stream.short_reads_end();
            let count = match found.stream.read(space) {
                Ok(0) => {
                    return self.end(conn, Ending::Eof, sink);
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    found.partial = partial;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    found.partial = partial;
                    continue;
                }
                Err(_) => return self.end(conn, Ending::Reset, sink),
            };
            if carried > 0 || partial.is_empty() {
                let filled = self.buffer.get(..carried + count).unwrap_or_default();
                let used = feed(&mut self.conns, conn, filled, sink)?;
                partial.clear();
                partial.extend_from_slice(filled.get(used..).unwrap_or_default());
            } else {
                let wanted = header(&partial).ok().flatten().map_or(0, |head| head.total());
                partial.reserve(wanted.saturating_sub(partial.len()).max(count));
                partial.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
                if partial.len() >= wanted {
                    let used = feed(&mut self.conns, conn, &partial, sink)?;
                    partial.drain(..used);
                }
            }
            if let Some(found) = self.conns.get_mut(conn) {
                found.partial = partial;
            }
            if count < room && !to_the_end {
                return Ok(());
            }
        }
    }

    fn end(&mut self, conn: usize, ending: Ending, sink: &mut impl Sink) -> Result<(), Fault> {
        if let Some(found) = self.conns.get_mut(conn) {
            if matches!(found.phase, Phase::Ended(_)) {
                return Ok(());
            }
            found.phase = Phase::Ended(ending);
        }
        sink.on_end(&mut self.conns, conn, ending)
    }
}

impl Drop for Net {
    /// Resets the sockets: thousands of connections in TIME_WAIT would disturb the next run.
    fn drop(&mut self) {
        for conn in self.conns.iter_mut() {
            SockRef::from(conn.stream.tcp()).set_linger(Some(Duration::ZERO)).ok();
        }
    }
}

/// Starts to connect connection `index`. On loopback the first ones come from 127.0.0.1, the next
/// from 127.0.0.2 and so on.
fn connect(addr: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let source = match (addr, u8::try_from(1 + index / PER_SOURCE)) {
        (SocketAddr::V4(addr), Ok(last @ 2..)) if addr.ip().is_loopback() => Ipv4Addr::new(127, 0, 0, last),
        _ => return TcpStream::connect(addr),
    };
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Handles the whole frames in `bytes`. Returns how many bytes they have.
fn feed(conns: &mut Conns, conn: usize, bytes: &[u8], sink: &mut impl Sink) -> Result<usize, Fault> {
    let mut used = 0;
    if conns.get(conn).is_some_and(|conn| conn.phase != Phase::Open) {
        match answer(bytes) {
            Upgrade::Incomplete => return Ok(0),
            Upgrade::Refused(answer) => return Err(Fault::Refused { conn, answer }),
            Upgrade::Done(head) => used = head,
        }
        if let Some(found) = conns.get_mut(conn) {
            found.phase = Phase::Open;
        }
        sink.on_open(conns, conn)?;
    }
    loop {
        let rest = bytes.get(used..).unwrap_or_default();
        let Some(head) = header(rest).map_err(|error| Fault::Frame { conn, error })? else {
            return Ok(used);
        };
        if head.mask.is_some() {
            return Err(Fault::Frame { conn, error: super::FrameError::Mask });
        }
        let Some(payload) = rest.get(head.head..head.total()) else {
            return Ok(used);
        };
        used += head.total();
        on_frame(conns, conn, head, payload, sink)?;
    }
}

fn on_frame(conns: &mut Conns, conn: usize, head: Header, payload: &[u8], sink: &mut impl Sink) -> Result<(), Fault> {
    match head.opcode {
        Opcode::Text | Opcode::Binary if head.fin => sink.on_message(conns, conn, payload),
        Opcode::Text | Opcode::Binary | Opcode::Continuation => {
            let Some(found) = conns.get_mut(conn) else {
                return Ok(());
            };
            found.fragments.extend_from_slice(payload);
            if !head.fin {
                return Ok(());
            }
            let message = mem::take(&mut found.fragments);
            sink.on_message(conns, conn, &message)
        }
        Opcode::Ping => {
            conns.send(conn, Opcode::Pong, &[payload]);
            Ok(())
        }
        Opcode::Pong => Ok(()),
        Opcode::Close => {
            let ending = Ending::Code(close_code(payload));
            if let Some(found) = conns.get_mut(conn) {
                found.phase = Phase::Ended(ending);
            }
            sink.on_end(conns, conn, ending)
        }
    }
}
