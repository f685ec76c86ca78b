//! What the broker has carried, and whom it has refused. `/stats` reads it, and it is kept over
//! restarts. No message passes through this module.

mod connections;
mod times;
mod totals;

use std::{sync::Arc, time::Instant};

use common::error::ErrorCode;
use parking_lot::Mutex;

pub use self::{
    connections::{ConnectionCounts, ConnectionStats, Depths},
    times::{Probe, SAMPLED, Times},
    totals::{Lifetime, Rates, Totals},
};
use crate::routing::{Counters, ErrorCounts};

/// The statistics of one broker.
#[derive(Debug)]
pub struct Statistics {
    /// When it started.
    pub started: Instant,
    /// Connections refused over HTTP, by code.
    pub refusals: ErrorCounts,
    /// How long things take.
    pub times: Times,
    /// What was carried in earlier lives.
    before: Lifetime,
    shards: Mutex<Vec<Arc<Counters>>>,
}

impl Statistics {
    /// For a broker that starts now. `before`: what it has carried before this start.
    pub fn new(before: Lifetime) -> Self {
        Self {
            started: Instant::now(),
            refusals: ErrorCounts::default(),
            times: Times::default(),
            before,
            shards: Mutex::new(Vec::new()),
        }
    }

    /// The counters of every shard.
    pub fn shards(&self) -> Vec<Arc<Counters>> {
        self.shards.lock().clone()
    }

    /// Adds the counters of one more shard.
    pub fn add_shard(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.shards.lock().push(Arc::clone(&counters));
        counters
    }

    /// How often an error was told to peers, or to those whose requests were refused.
    pub fn errors_told(&self, code: ErrorCode) -> u64 {
        self.shards().iter().map(|shard| shard.errors.of(code)).sum::<u64>() + self.refusals.of(code)
    }

    /// What was carried since the start.
    pub fn totals(&self) -> Totals {
        Totals::sum(self.shards().iter().flat_map(|shard| &shard.routes).map(Totals::read))
    }

    /// What was carried before and since this start. `connections`: how many were opened since this
    /// start.
    pub fn lifetime(&self, connections: u64) -> Lifetime {
        Lifetime {
            carried: Totals::sum([self.before.carried, self.totals()].into_iter()),
            connections: self.before.connections + connections,
        }
    }
}
