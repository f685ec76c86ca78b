//! What failed logins cost: [`Penalties`], for addresses whose logins fail, to wait longer each time.
//!
//! Keeps no time. Times are durations since any moment the caller fixed, from a clock that never goes back.

mod penalties;
mod shared;

pub use penalties::{Penalties, PenaltySettings};
pub use shared::{GUESSABLE, SharedPenalties};
