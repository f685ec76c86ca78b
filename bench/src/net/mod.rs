//! The generator's network: one thread, one epoll, one read buffer, frames parsed in place.
//!
//! [`Net`] owns the sockets and turns readiness into calls of a [`Sink`]; [`Conns`] is the half of
//! it that a sink may write to while it is called. Nothing here knows what the frames mean.

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
