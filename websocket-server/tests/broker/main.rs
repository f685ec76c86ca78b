//! The broker over real sockets, driven by a WebSocket client that somebody else wrote.

mod harness;

mod connections;
mod operators;
mod overload;
mod requests;
mod routing;
mod topics;
