//! The generator's network: one thread, one epoll, one read buffer, frames parsed in place.
//!
//! [`Net`] owns the sockets and calls a [`Sink`] for their events. [`Conns`] is the part of it that
//! a sink may write to during such a call. This module does not know what the frames mean.

mod conns;
mod drive;
mod frame;
mod upgrade;
mod wire;

pub use conns::{Conns, Ending};
pub use drive::{Net, Sink};
#[cfg(test)]
pub use frame::put_client_frame;
pub use frame::{FrameError, Opcode, apply_mask, header, put_server_header};
pub use upgrade::Dial;
