//! Durable delivery: messages to an inbox that are in the store before they are confirmed, and delivered until acknowledged.
//!
//! ```text
//!   sender ──▶ Inboxes::accept ──number, deliver live──▶ receivers that keep up
//!                    └──append──▶ store ──committed──▶ message:accepted to the sender
//!   receiver that comes, or fell behind ──▶ catch-up: what is pending in the store, then the tail, then live
//! ```
//! Live delivery does not wait for the disk; the confirmation does. An [`Inbox`] is the pure machine of one channel; [`Inboxes`] holds
//! those that are in use and talks to the store. Called by the [`crate::actors::RouterActor`]s only.

mod catch_up;
mod inbox;
mod inboxes;
mod numbers;
mod options;
mod position;

pub use catch_up::{catch_up, redeliver};
pub use inbox::{Inbox, Step};
pub use inboxes::{Accepted, Confirm, Draft, Inboxes, Outcome, Refused, SettledMessage, unix_ms};
pub use numbers::Numbers;
pub use options::{OpenError, open_store};
pub use position::{positioned, redelivered};
