//! Client access to the broker for programs built around it.
//!
//! [`doors`] is a typed client of the broker's two WebSocket endpoints. A program that speaks
//! another protocol to its own clients uses a door: it speaks envelopes to the broker, and the
//! broker knows nothing of the other protocol.

pub mod doors;
