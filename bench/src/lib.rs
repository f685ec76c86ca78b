//! Measures message servers: a load generator, a raw relay to compare with, and runs that compare
//! the servers in turns.
//!
//! Each case starts a fresh server on one core. One thread on another core drives it, with `mio`,
//! one shared read buffer and frames parsed in place, so that the generator costs much less than
//! the server that it measures. Every payload must arrive whole, once and in order, or the run
//! fails. The main figure is the server's processor time per delivery.
//!
//! Modules: `args` has the options, `plan` the cases, `protocol` the protocol of each server,
//! `scenario` the load, `report` the results.

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
