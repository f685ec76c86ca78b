//! Measures message servers: a load generator, a raw relay to compare with, and runs that compare
//! them in turns.
//!
//! Each case starts a fresh server on one core and drives it from one thread on another: `mio`, one
//! shared read buffer, frames parsed in place, so that the generator costs much less than what it
//! measures. Every payload is checked to arrive whole, once and in order; a run in which one does
//! not fails. What counts is the server's processor time per delivery.
//!
//! `args` says what to run, `plan` what that is in detail, `protocol` how each server is spoken to,
//! `scenario` what is done to it, `report` what came of it.

mod args;
mod error;
mod fault;
mod measure;
mod net;
mod payload;
mod plan;
mod protocol;
pub mod relay;
mod report;
mod runner;
mod scenario;
mod server;
mod session;

pub use args::{BenchArgs, PeerKind, Scenario};
pub use error::BenchError;
pub use fault::Fault;
pub use measure::Measure;
pub use report::{CaseReport, Report, Run};
pub use runner::run;
