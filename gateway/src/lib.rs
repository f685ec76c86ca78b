//! Client access to the broker for programs built around it, and the dialects: protocols of other
//! systems, for their clients.
//!
//! [`doors`] is a typed client of the broker's two WebSocket endpoints. A program that speaks
//! another protocol to its own clients uses a door: it speaks envelopes to the broker, and the
//! broker knows nothing of the other protocol. [`dialects`] is what all dialects share, and each
//! has a folder of its own: [`hybrid`], [`supervisor`].

pub mod dialects;
pub mod doors;
pub mod hybrid;
pub mod supervisor;
