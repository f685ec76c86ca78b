//! Durable delivery: messages are in the store before they are confirmed. In inboxes they are
//! delivered until acknowledged; in the logs of topics and broadcasts every reader has a position.
//!
//! ```text
//!   sender ──▶ Channels::accept ──number, deliver live──▶ receivers that keep up
//!                    └──append──▶ store ──committed──▶ message:accepted to the sender
//!   receiver that is behind ──▶ catch-up: what is in the store, then the tail, then live
//! ```
//!
//! Live delivery does not wait for the disk; the confirmation does. A [`Channel`] is the pure state
//! machine of one channel. [`Channels`] holds those in use and talks to the store. Only the
//! [`crate::actors::RouterActor`]s call it.

mod acking;
mod active;
mod catch_up;
mod channel;
mod channels;
mod forgetting;
mod history;
mod kept;
mod marks;
mod numbers;
mod options;
mod owners;
mod position;
#[cfg(test)]
mod properties;
mod publish;
mod receipts;
mod recent;
mod untold;
mod window;

pub use acking::{Acknowledged, Acknowledging};
pub use catch_up::{CatchUp, STORE_WAIT, redeliver};
pub use channel::{Channel, OnItsWay, Step};
pub use channels::{Channels, Remembered};
pub use forgetting::Forgetting;
pub use history::{Place, lost_records, start_after};
pub use marks::{Given, Marks, mark_of, mark_text};
pub use numbers::Numbers;
pub use options::{OpenError, open_store};
pub use owners::{owner_key, refusal_of};
pub use position::{positioned, redelivered, retained};
pub use publish::{Accepted, Draft, Outcome, Refused, Retain, SettledMessage};
pub use receipts::{Notice, Receipts, Wish};
pub use recent::Answer;
pub use untold::Died;
pub use window::Window;
