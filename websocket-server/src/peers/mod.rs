//! Registered connections, as the routing core and the durable channels see them: who is at the
//! other end, what it may do, which requests it has open, and how many durable messages may be in
//! flight to it.
//!
//! This module knows neither the tables of the router nor the channels; both know peers.

mod hand;
mod handing;
mod marks;
mod pass;
mod peer;
mod requests;
mod window;

pub(crate) use self::peer::LoginNews;
pub use self::{
    marks::{Given, Marks, mark_of, mark_text},
    pass::{OPERATOR, Pass},
    peer::{ConnectionId, Peer, PeerKind, ReadPlace},
    requests::{OpenError, Requests},
    window::Window,
};
