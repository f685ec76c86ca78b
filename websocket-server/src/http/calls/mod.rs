//! Messages and requests over HTTP, for callers that hold no socket: `POST /api/v1/messages`,
//! `POST /api/v1/request` and `GET /api/v1/channels/{channel}/events`.
//!
//! A [`Caller`] sends like a connection of its session or agent, with the same rights, limits and
//! rates, but is not registered: nobody hears that it comes or goes, and nothing is delivered to it
//! but the answers to what it sends.

mod body;
mod call;
mod caller;
mod events;
mod outcome;
mod publish;
mod request;
mod routes;
mod who;

pub use self::{
    call::{Call, CallKind, make_for_session},
    routes::{configure, is_call},
};
