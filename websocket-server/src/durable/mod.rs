//! Durable delivery: messages are in the store before they are confirmed. In inboxes they are
//! delivered until acknowledged; in the logs of topics and broadcasts every reader has a position.
//!
//! ```text
//!   sender ──▶ Channels::accept ──number, deliver live──▶ receivers that keep up
//!                    └──append──▶ store ──committed──▶ message:accepted to the sender
//!   receiver that is behind ──▶ catch-up: what is in the store, then the tail, then live
//! ```
//! Live delivery does not wait for the disk; the confirmation does. A [`ChannelMachine`] is the
//! pure machine of one channel; [`Channels`] holds those that are in use and talks to the store.
//! Called by the [`crate::shard::RouterActor`]s only.

mod acking;
mod active;
mod catch_up;
mod channel;
mod channels;
mod deaths;
mod expiry;
mod forgetting;
mod history;
mod kept;
mod numbers;
mod options;
mod owners;
mod position;
#[cfg(test)]
mod properties;
mod publish;
mod receipts;
mod recent;
mod redelivery;
mod untold;

pub use acking::{Acknowledged, Acknowledging};
pub use catch_up::{CatchUp, STORE_WAIT};
pub use channel::{CatchUpStep, ChannelMachine, OnItsWay};
pub use channels::{Channels, Remembered};
pub use forgetting::Forgetting;
pub use history::{StartingPoint, lost_records, start_after};
pub use numbers::Numbers;
pub use options::{OpenError, open_store};
pub use owners::{owner_key, refusal_of};
pub use position::{positioned, redelivered, retained};
pub use publish::{Accepted, Draft, Outcome, Outstanding, Refused};
pub use receipts::{Notice, Receipts, Wish};
pub use recent::Answer;
pub use redelivery::redeliver;
pub use untold::Died;
