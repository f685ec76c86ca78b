//! The connections, and the bytes that wait to be written to them.

use std::fmt;
use std::io::{self, Write};

use super::frame::{Opcode, put_client_frame};
use super::wire::Wire;

/// A write buffer that grew beyond this is freed once it is empty, in bytes.
const KEEP_CAPACITY: usize = 64 * 1024;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a Close frame with this code.
    Code(u16),
    /// The TCP connection was reset.
    Reset,
    /// The TCP connection ended without a Close frame.
    Eof,
}

impl fmt::Display for Ending {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(out, "code {code}"),
            Self::Reset => out.write_str("connection reset"),
            Self::Eof => out.write_str("end of stream without a close frame"),
        }
    }
}

/// The state of a connection. `Dialling -> Upgrading -> Open -> Ended`; any state may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// TCP is connecting; the upgrade request waits in `out`.
    Dialling,
    /// The upgrade request was sent.
    Upgrading,
    /// Frames flow.
    Open,
    /// The connection has ended.
    Ended(Ending),
}

/// One connection.
pub(super) struct Conn {
    pub stream: Wire,
    pub phase: Phase,
    /// Bytes to write. `written` of them are written.
    pub out: Vec<u8>,
    pub written: usize,
    /// The start of a frame whose end has not arrived.
    pub partial: Vec<u8>,
    /// The fragments of a message whose end has not arrived.
    pub fragments: Vec<u8>,
    /// Whether incoming bytes are left in the kernel: the connection plays a peer that does not
    /// read.
    pub stuck: bool,
    /// Whether the kernel reported the end of the connection while it was stuck.
    pub hung_up: bool,
    dirty: bool,
}

/// All connections of a run, by index.
#[derive(Default)]
pub struct Conns {
    list: Vec<Conn>,
    dirty: Vec<usize>,
    mask: u32,
}

impl Conns {
    pub(super) fn push(&mut self, stream: Wire, request: &[u8]) -> usize {
        self.list.push(Conn {
            stream,
            phase: Phase::Dialling,
            out: request.to_vec(),
            written: 0,
            partial: Vec::new(),
            fragments: Vec::new(),
            stuck: false,
            hung_up: false,
            dirty: false,
        });
        self.list.len() - 1
    }

    pub(super) fn get_mut(&mut self, conn: usize) -> Option<&mut Conn> {
        self.list.get_mut(conn)
    }

    pub(super) fn get(&self, conn: usize) -> Option<&Conn> {
        self.list.get(conn)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Conn> {
        self.list.iter_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether the kernel has reported the end of a stuck connection.
    pub fn hung_up(&self, conn: usize) -> bool {
        self.list.get(conn).is_some_and(|conn| conn.hung_up)
    }

    /// Queues one frame. It is written at the end of the turn.
    pub fn send(&mut self, conn: usize, opcode: Opcode, parts: &[&[u8]]) {
        // The mask only has to vary: no intermediary between the two ends could be confused by it.
        self.mask = self.mask.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
        let mask = self.mask.to_le_bytes();
        let Some(target) = self.list.get_mut(conn) else {
            return;
        };
        if matches!(target.phase, Phase::Ended(_)) {
            return;
        }
        put_client_frame(&mut target.out, opcode, mask, parts);
        if !target.dirty {
            target.dirty = true;
            self.dirty.push(conn);
        }
    }

    /// Writes the waiting bytes of every connection that something was queued for. What the kernel
    /// does not accept waits for its event.
    pub(super) fn flush(&mut self) {
        for conn in std::mem::take(&mut self.dirty) {
            if let Some(conn) = self.list.get_mut(conn) {
                conn.dirty = false;
                conn.flush();
            }
        }
    }
}

impl Conn {
    /// Writes as much as the kernel accepts. The reading side finds an error.
    pub fn flush(&mut self) {
        if !matches!(self.phase, Phase::Upgrading | Phase::Open) {
            return;
        }
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        // What TLS still has waits for the next event.
        let _ = self.stream.flush();
        self.written = 0;
        self.out.clear();
        if self.out.capacity() > KEEP_CAPACITY {
            self.out = Vec::new();
        }
    }
}
