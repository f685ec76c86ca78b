//! What every store must do. Each case runs on every backend. A new backend is a variant of
//! `harness::Backend`, a module in its macro, and an entry in the lists of `model` and `quotas`.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod append;
mod damage;
mod harness;
mod inbox;
mod keep;
mod leftovers;
mod model;
mod quotas;
mod read;
mod retention;
mod sequence;
