//! Measurements: processor time, memory, latencies.

mod process;
mod span;

use std::time::Instant;

use serde::{Deserialize, Serialize};

pub use process::Process;
pub use span::{Cost, Span};

/// Nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Latencies of single messages, in nanoseconds (4 s at most).
#[derive(Debug, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, nanos: u64) {
        self.0.push(u32::try_from(nanos).unwrap_or(u32::MAX));
    }

    /// The quantile `share` (0 to 1), in microseconds; zero if there are no latencies.
    pub fn quantile(&mut self, share: f64) -> f64 {
        self.0.sort_unstable();
        let index = (share * self.0.len() as f64) as usize;
        self.0.get(index.min(self.0.len().saturating_sub(1))).map_or(0.0, |&nanos| f64::from(nanos) / 1e3)
    }
}

/// One figure of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Its value.
    pub value: f64,
}

impl Measure {
    /// A figure.
    pub fn new(name: &str, unit: &str, value: f64) -> Self {
        Self { name: name.into(), unit: unit.into(), value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_values() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), 0.0);
        for value in (1..=100).rev() {
            latencies.push(value * 1000);
        }
        assert_eq!((latencies.quantile(0.5), latencies.quantile(0.99), latencies.quantile(1.0)), (51.0, 100.0, 100.0));
    }
}
