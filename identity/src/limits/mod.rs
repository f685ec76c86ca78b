//! Penalties for failed logins: an address waits longer after each failure ([`Penalties`]).
//!
//! This module reads no clock. Callers pass the time as a duration since a fixed moment, from a
//! monotonic clock.

mod penalties;
mod shared;

pub use penalties::{Penalties, PenaltySettings};
pub use shared::{GUESSABLE, SharedPenalties};
