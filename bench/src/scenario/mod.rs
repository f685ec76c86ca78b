//! The loads, and what is measured while they run.
//!
//! Each load is one file. None knows which server it drives. Ratios compare the first figure of a
//! load.

mod fanout;
mod idle;
mod pace;
mod replies;
mod stall;
mod store;
mod streams;

use std::io;

use crate::fault::Fault;
use crate::measure::{Cost, Measure};
use crate::plan::{Case, Load};
use crate::protocol::Protocol;
use crate::server::{Server, StartError};

/// Why a run has no figures.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server made an error.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// /proc or the operating system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The results of a run.
#[derive(Debug, Default)]
pub struct Findings {
    /// Figures. Ratios compare the first one.
    pub measures: Vec<Measure>,
    /// Findings that are not numbers.
    pub notes: Vec<String>,
}

impl Findings {
    fn add(&mut self, name: &str, unit: &str, value: f64) {
        self.measures.push(Measure::new(name, unit, value));
    }

    /// Adds how busy both sides were and how much they were disturbed. This shows whether the other
    /// figures are valid.
    fn add_loads(&mut self, what: &str, cost: &Cost, count: u64) {
        self.add("server_load", "%", cost.load());
        self.add("generator", &format!("us/{what}"), cost.own_per(count));
        self.add("disturbance", "%", cost.disturbance());
    }
}

/// Runs `case` against servers that `start` starts.
pub fn run<P: Protocol>(case: &Case, mut start: impl FnMut() -> Result<(Server, P), StartError>) -> Result<Findings, RunError> {
    match case.load {
        Load::FanOut { subscribers, window } => fanout::saturated(case, subscribers, window, start()?),
        Load::Paced { subscribers, rate } => fanout::paced(case, subscribers, rate, start()?),
        Load::Replies { pairs, rate } => replies::run(case, pairs, rate, start()?),
        Load::Streams { agents, rate } => streams::run(case, agents, rate, start()?),
        Load::Idle { connections } => idle::run(connections, start()?),
        Load::Store { senders, window, .. } => store::run(case, senders, window, start()?),
        Load::Stall { subscribers, window, bytes, closed_within } => {
            let stall = stall::Stall { subscribers, window, bytes, closed_within };
            stall::run(case, &stall, &mut start)
        }
    }
}
