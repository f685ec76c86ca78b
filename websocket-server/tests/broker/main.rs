//! The broker over real sockets, driven by a WebSocket client of another library.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "each suite uses its part")]
#[path = "../../../tests/suite/harness/chance.rs"]
mod chance;
mod harness;

mod acknowledging;
mod answers_in_order;
mod calls;
mod connections;
mod durable;
mod durable_topics;
mod expiry;
mod fairness;
mod forgotten;
mod hosts;
mod isolation;
mod keys;
mod lanes;
mod limits;
mod logins;
mod loops;
mod metrics;
mod operators;
mod overload;
mod past;
mod prefetch;
mod program;
mod quotas;
mod receipts;
mod requests;
mod resume;
mod revocations;
mod routing;
mod shares;
mod takeovers;
mod tls;
mod topics;
