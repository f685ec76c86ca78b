//! Listeners, dialers and certificate authorities over real sockets.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests say what they expect")]

mod acme;
mod clients;
mod harness;
mod pebble;
mod servers;
