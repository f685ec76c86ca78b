//! What every store must do. Each case runs on every backend; a new backend is one more line in
//! `harness`.
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
